/*
 * Opens the library with dlopen(), uses it and closes it again. This program is not linked to the
 * library. The environment variable MC_LIBRARY is the library's path.
 */

#define _GNU_SOURCE

#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

typedef struct {
    void *handle;
    mc_cache *(*create)(uint64_t);
    void (*destroy)(mc_cache *);
    const char *(*get)(mc_cache *, const char *, mc_loader, void *, mc_error *);
    size_t (*clear)(mc_cache *, const char *);
    void (*free_string)(const char *);
    mc_status (*answer)(mc_load *, const char *, size_t);
} library;

static void find(const library *lib, const char *name, void *function) {
    void *symbol = dlsym(lib->handle, name);
    CHECK(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

static library load_library(void) {
    library lib = {0};
    lib.handle = dlopen(getenv("MC_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    if (lib.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    CHECK(lib.handle != NULL);
    find(&lib, "mc_new", &lib.create);
    find(&lib, "mc_free", &lib.destroy);
    find(&lib, "mc_get", &lib.get);
    find(&lib, "mc_clear", &lib.clear);
    find(&lib, "mc_string_free", &lib.free_string);
    find(&lib, "mc_load_json", &lib.answer);
    return lib;
}

static void unload(library *lib) {
    CHECK(dlclose(lib->handle) == 0);
}

static int is_mapped(void) {
    void *handle = dlopen(getenv("MC_LIBRARY"), RTLD_NOW | RTLD_NOLOAD);
    return handle != NULL && dlclose(handle) == 0;
}

static void load_sun(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id;
    CHECK(((library *)user_data)->answer(load, SUN, strlen(SUN)) == MC_OK);
}

static void *use(void *argument) {
    library *lib = (library *)argument;
    mc_cache *cache = lib->create(MC_TTL_DEFAULT);
    for (int n = 0; n < 20; n++) {
        char id[16];
        snprintf(id, sizeof id, "%d", n % 7);
        const char *manifest = lib->get(cache, id, load_sun, lib, NULL);
        CHECK(manifest != NULL && strcmp(manifest, SUN) == 0);
        lib->free_string(manifest);
        if (n == 10) {
            lib->clear(cache, NULL);
        }
    }
    lib->destroy(cache);
    return NULL;
}

enum { THREADS = 3 };

static void use_on_threads(library *lib) {
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++) {
        CHECK(pthread_create(&threads[n], NULL, use, lib) == 0);
    }
    for (int n = 0; n < THREADS; n++) {
        CHECK(pthread_join(threads[n], NULL) == 0);
    }
}

static void fork_and_wait(void) {
    int status = -1;
    const pid_t child = fork();
    if (child == 0) {
        _exit(EXIT_SUCCESS);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* The private resident memory of this process in KiB. */
static long resident(void) {
    long pages = 0, resident = 0, shared = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL);
    CHECK(fscanf(statm, "%ld %ld %ld", &pages, &resident, &shared) == 3);
    fclose(statm);
    return (resident - shared) * sysconf(_SC_PAGESIZE) / 1024;
}

TEST(a_library_used_only_on_threads_that_ended_is_unmapped_and_fork_still_works) {
    for (int n = 0; n < 10; n++) {
        library lib = load_library();
        use_on_threads(&lib);
        unload(&lib);
        CHECK(!is_mapped());
        fork_and_wait();
    }
}

TEST(a_library_used_on_a_running_thread_stays_mapped_and_can_be_opened_again) {
    for (int n = 0; n < 10; n++) {
        library lib = load_library();
        use(&lib);
        unload(&lib);
        CHECK(is_mapped());
        fork_and_wait();
    }
}

static void check_growth(void (*once)(library *), long allowed) {
    long before = 0;
    alarm(120);
    for (int n = 0; n < 1000; n++) {
        library lib = load_library();
        once(&lib);
        unload(&lib);
        if (n == 100) {
            before = resident();
        }
    }
    const long grown = resident() - before;
    fprintf(stderr, "grew by %ld KiB in 900 rounds\n", grown);
    CHECK(grown <= allowed);
}

/* docs/rules.md allows 1 KiB for each thread that used the library, each time. */
TEST(a_thousand_times_opened_and_unmapped_the_library_leaks_no_more_than_documented) {
    check_growth(use_on_threads, 900 * THREADS);
}

static void use_here_and_there(library *lib) {
    use(lib);
    use_on_threads(lib);
}

TEST(a_thousand_times_opened_and_closed_on_a_running_thread_the_process_does_not_grow) {
    /* Freed memory that malloc() keeps. */
    enum { NOISE = 256 };
    check_growth(use_here_and_there, NOISE);
}
