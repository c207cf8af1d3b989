// R13 and R15: C++ destructors free strings at thread exit and process exit.

#include "check.h"

#include <memory>
#include <thread>

struct free_string {
    void operator()(const char *string) const {
        CHECK(strcmp(string, SUN) == 0);
        mc_string_free(string);
    }
};

typedef std::unique_ptr<const char, free_string> owned;

static owned get(mc_cache *cache) {
    return owned(mc_get(cache, "weather", load_text, (void *)SUN, NULL));
}

// Constructed before the library's own thread-locals, so destroyed after them.
static thread_local owned until_thread_exit;

// Constructed before this process first used the library.
static owned until_process_exit;

TEST(r13_a_thread_local_destructor_may_free_a_string) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < 3; n++) {
        std::thread([cache] {
            until_thread_exit.reset();
            get(cache);
            until_thread_exit = get(cache);
        }).join();
    }
    owned manifest = get(cache);
    mc_free(cache);
    CHECK(strcmp(manifest.get(), SUN) == 0);
}

TEST(r13_a_static_destructor_may_free_a_string) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    until_process_exit = get(cache);
    until_thread_exit = get(cache);
    mc_free(cache);
}
