/* R13: a string never changes and stays valid until mc_string_free(), on whatever thread. */

#include "threads.h"

static const char *get(mc_cache *cache, const char *plugin_id, const char *json) {
    const char *manifest = mc_get(cache, plugin_id, load_text, (void *)json, NULL);
    CHECK(manifest != NULL && strcmp(manifest, json) == 0);
    return manifest;
}

/* Allocates and frees strings, so that memory freed by mistake is overwritten. */
static void reuse_freed_memory(void) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16];
    for (int n = 0; n < 200; n++) {
        snprintf(id, sizeof id, "%d", n);
        mc_string_free(get(cache, id, RAIN));
    }
    mc_free(cache);
}

TEST(r13_a_string_survives_clear_and_free) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *one = get(cache, "weather", SUN), *two = get(cache, "tide", SUN);
    const char *stats = mc_stats(cache);
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(mc_clear(cache, NULL) == 1);
    CHECK(gives(cache, "weather", load_text, RAIN, RAIN));
    mc_free(cache);
    reuse_freed_memory();
    CHECK(strcmp(one, SUN) == 0 && strcmp(two, SUN) == 0);
    CHECK(mc_string_len(one) == strlen(SUN) && mc_string_len(stats) == strlen(stats));
    mc_string_free(one);
    mc_string_free(two);
    mc_string_free(stats);
}

TEST(r13_a_string_survives_expiry_and_reload) {
    mc_cache *cache = mc_new(1);
    source disk = {RAIN, 0};
    const char *old = get(cache, "weather", SUN);
    while (disk.calls == 0) {
        mc_string_free(mc_get(cache, "weather", load_source, &disk, NULL));
    }
    reuse_freed_memory();
    CHECK(strcmp(old, SUN) == 0 && mc_string_len(old) == strlen(SUN));
    mc_string_free(old);
    mc_free(cache);
}

TEST(r13_a_string_that_was_never_cached_stays_valid) {
    mc_cache *cache = mc_new(0);
    const char *uncached = get(cache, "weather", SUN), *empty = get(cache, "weather", "{}");
    mc_free(cache);
    reuse_freed_memory();
    CHECK(strcmp(uncached, SUN) == 0 && strcmp(empty, "{}") == 0);
    mc_string_free(uncached);
    mc_string_free(empty);
}

enum { REFERENCES = 1000 };

static const char *references[REFERENCES];

static void *free_half(void *user_data) {
    for (int n = 0; n < REFERENCES; n += 2) {
        mc_string_free(references[n]);
    }
    return user_data;
}

TEST(r13_each_reference_to_a_string_may_be_freed_on_any_thread) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < REFERENCES; n++) {
            references[n] = get(cache, "weather", SUN);
        }
        mc_clear(cache, NULL);
        finish(start(free_half, NULL));
        reuse_freed_memory();
        for (int n = 1; n < REFERENCES; n += 2) {
            CHECK(strcmp(references[n], SUN) == 0);
            mc_string_free(references[n]);
        }
    }
    mc_free(cache);
}

TEST(r13_strings_of_many_plugins_may_be_freed_in_any_order) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16], json[32];
    for (int n = 0; n < REFERENCES; n++) {
        snprintf(id, sizeof id, "%d", n % 50);
        snprintf(json, sizeof json, "{\"n\":%d}", n % 50);
        references[n] = get(cache, id, json);
    }
    mc_free(cache);
    for (int n = 0; n < REFERENCES; n++) {
        if (n % 100 == 0) {
            reuse_freed_memory();
        }
        int other = n * 7 % REFERENCES * 3 % REFERENCES;
        snprintf(json, sizeof json, "{\"n\":%d}", other % 50);
        CHECK(strcmp(references[other], json) == 0);
        mc_string_free(references[other]);
    }
}

TEST(r13_large_strings_stay_valid_too) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    enum { LARGE = 1000000 };
    char *json = malloc(LARGE + 1);
    memset(json, ' ', LARGE);
    memcpy(json, SUN, strlen(SUN));
    json[LARGE] = '\0';
    const char *one = get(cache, "weather", json), *two = get(cache, "weather", json);
    mc_clear(cache, NULL);
    mc_string_free(one);
    reuse_freed_memory();
    CHECK(strcmp(two, json) == 0 && mc_string_len(two) == LARGE);
    mc_string_free(two);
    mc_free(cache);
    free(json);
}

static pthread_key_t key;
static mc_cache *shared_cache;

static void *hold_until_the_thread_ends(void *user_data) {
    CHECK(pthread_setspecific(key, get(shared_cache, "weather", SUN)) == 0);
    mc_string_free(get(shared_cache, "weather", SUN));
    return user_data;
}

/* Runs threads that each call this destructor as they end. */
static void end_threads(void (*destructor)(void *)) {
    shared_cache = mc_new(MC_TTL_FOREVER);
    CHECK(pthread_key_create(&key, destructor) == 0);
    for (int n = 0; n < 3; n++) {
        finish(start(hold_until_the_thread_ends, NULL));
    }
}

static void free_at_thread_exit(void *string) {
    CHECK(strcmp(string, SUN) == 0);
    mc_string_free(string);
}

TEST(r13_a_destructor_at_thread_exit_may_free_a_string) {
    end_threads(free_at_thread_exit);
    const char *manifest = get(shared_cache, "weather", SUN);
    mc_free(shared_cache);
    reuse_freed_memory();
    CHECK(strcmp(manifest, SUN) == 0);
    mc_string_free(manifest);
}

static void call_every_function_at_thread_exit(void *string) {
    mc_string_free(get(shared_cache, "weather", string));
    mc_string_free(get(shared_cache, "tide", RAIN));
    CHECK(gives(shared_cache, "weather", load_never, NULL, string));
    CHECK(stat_of(shared_cache, "total_entries") == 2);
    CHECK(mc_clear(shared_cache, "tide") == 1);
    CHECK(mc_string_len(string) == strlen(SUN));
    mc_string_free(string);
}

TEST(r15_a_destructor_at_thread_exit_may_call_every_function) {
    end_threads(call_every_function_at_thread_exit);
    CHECK(stat_of(shared_cache, "hits") == 2 + 3 * 3 && stat_of(shared_cache, "loads") == 4);
    mc_free(shared_cache);
}

static const char *held_until_exit;

static void free_at_exit(void) {
    CHECK(strcmp(held_until_exit, SUN) == 0);
    mc_string_free(held_until_exit);
}

TEST(r13_an_exit_handler_may_free_a_string) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(atexit(free_at_exit) == 0);
    held_until_exit = get(cache, "weather", SUN);
    mc_free(cache);
}
