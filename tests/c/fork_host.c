/*
 * R12 in hosts that have fork handlers of their own, that fork without the C library, and that fork
 * again while a child repairs the cache.
 */

#define _GNU_SOURCE

#include "threads.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LOADED "{\"loaded\":true}"

/* How long a child may take, in seconds; it needs milliseconds. */
#define PATIENCE 10

static void expect_success(pid_t child) {
    int status = 0;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

/* Forks; the child calls what(), which must end. */
static void fork_and(void (*what)(void)) {
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        what();
        _exit(EXIT_SUCCESS);
    }
    expect_success(child);
}

/* The functions of the library, linked or opened with dlopen(). */
static struct {
    mc_cache *(*new_cache)(uint64_t);
    const char *(*get)(mc_cache *, const char *, mc_loader, void *, mc_error *);
    mc_status (*load_json)(mc_load *, const char *, size_t);
    size_t (*clear)(mc_cache *, const char *);
    void (*string_free)(const char *);
} mc;

static void link_library(void) {
    mc.new_cache = mc_new;
    mc.get = mc_get;
    mc.load_json = mc_load_json;
    mc.clear = mc_clear;
    mc.string_free = mc_string_free;
}

static void open_function(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    CHECK(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

/* A copy of its own, beside the one that this program is linked to. */
static void open_library(void) {
    void *library = dlmopen(LM_ID_NEWLM, getenv("MC_LIBRARY"), RTLD_NOW);
    CHECK(library != NULL);
    open_function(library, "mc_new", &mc.new_cache);
    open_function(library, "mc_get", &mc.get);
    open_function(library, "mc_load_json", &mc.load_json);
    open_function(library, "mc_clear", &mc.clear);
    open_function(library, "mc_string_free", &mc.string_free);
}

static mc_cache *cache;

static void load(const char *plugin_id, mc_load *answer, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc.load_json(answer, LOADED, strlen(LOADED));
}

static void get_and_clear(void) {
    mc.string_free(mc.get(cache, "a", load, NULL, NULL));
    CHECK(mc.clear(cache, NULL) == 1);
}

static void do_nothing(void) {
}

/* A host whose child drops what the cache holds. */
static void get_and_clear_if_there_is_a_cache(void) {
    if (cache != NULL) {
        get_and_clear();
    }
}

static void test_child_handler(int registered_first) {
    if (registered_first) {
        pthread_atfork(NULL, NULL, get_and_clear_if_there_is_a_cache);
    }
    cache = mc.new_cache(MC_TTL_FOREVER);
    if (!registered_first) {
        pthread_atfork(NULL, NULL, get_and_clear_if_there_is_a_cache);
    }
    mc.string_free(mc.get(cache, "a", load, NULL, NULL));
    fork_and(do_nothing);
    get_and_clear();
}

TEST(r12_a_child_handler_registered_before_the_first_cache_may_use_it) {
    link_library();
    test_child_handler(1);
}

TEST(r12_a_child_handler_registered_after_the_first_cache_may_use_it) {
    link_library();
    test_child_handler(0);
}

TEST(r12_a_child_handler_may_use_a_library_opened_later) {
    open_library();
    test_child_handler(1);
}

TEST(r12_a_child_handler_may_use_a_library_opened_before) {
    open_library();
    test_child_handler(0);
}

/* A host that takes a lock of its own around fork, and calls the cache while it holds that lock. */
static pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool over;

static void lock_host(void) {
    pthread_mutex_lock(&host_lock);
}

static void unlock_host(void) {
    pthread_mutex_unlock(&host_lock);
}

static void *use_under_host_lock(void *unused) {
    while (!over) {
        lock_host();
        get_and_clear();
        unlock_host();
    }
    return unused;
}

static void test_locking_handlers(int registered_first) {
    if (registered_first) {
        pthread_atfork(lock_host, unlock_host, unlock_host);
    }
    cache = mc.new_cache(MC_TTL_FOREVER);
    if (!registered_first) {
        pthread_atfork(lock_host, unlock_host, unlock_host);
    }
    pthread_t busy = start(use_under_host_lock, NULL);
    for (int n = 0; n < 500; n++) {
        fork_and(get_and_clear);
    }
    over = 1;
    finish(busy);
}

TEST(r12_handlers_that_lock_registered_before_the_first_cache_do_not_deadlock) {
    link_library();
    test_locking_handlers(1);
}

TEST(r12_handlers_that_lock_registered_after_the_first_cache_do_not_deadlock) {
    link_library();
    test_locking_handlers(0);
}

TEST(r12_handlers_that_lock_do_not_deadlock_with_a_library_opened_later) {
    open_library();
    test_locking_handlers(1);
}

/* A child made by the system call alone, for which the C library runs no handlers. */
TEST(r12_a_child_of_a_raw_clone_has_a_working_cache) {
    link_library();
    cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < 100; n++) {
        get_and_clear();
        pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0) {
            get_and_clear();
            CHECK(gives(cache, "a", load_text, LOADED, LOADED));
            _exit(EXIT_SUCCESS);
        }
        expect_success(child);
    }
    mc_free(cache);
}

/* Threads that hold the cache's lock for long, so that many children find it held. */
static void *clear_all(void *unused) {
    while (!over) {
        char id[16];
        for (int n = 0; n < 200; n++) {
            snprintf(id, sizeof id, "more-%d", n);
            mc_put(cache, id, LOADED, strlen(LOADED), NULL);
        }
        mc_clear(cache, NULL);
    }
    return unused;
}

static void *set_bounds(void *unused) {
    while (!over) {
        set(cache, MC_OPT_MAX_ENTRIES, 1000000);
        set(cache, MC_OPT_MAX_ENTRIES, 0);
    }
    return unused;
}

static void fill(int entries) {
    char id[16];
    cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < entries; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(mc_put(cache, id, LOADED, strlen(LOADED), NULL) == MC_OK);
    }
}

static void *use(void *unused) {
    CHECK(gives(cache, "child", load_text, LOADED, LOADED));
    return unused;
}

/* Entries and their number agree, whatever the lock guarded when it was torn. */
static void check_that_the_account_is_right(void) {
    use(NULL);
    uint64_t held = mc_stat(cache, MC_STAT_TOTAL_ENTRIES);
    uint64_t bytes = mc_stat(cache, MC_STAT_BYTES);
    CHECK(held > 0 && bytes > 0);
    CHECK(mc_clear(cache, NULL) == held);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0 && mc_stat(cache, MC_STAT_BYTES) == 0);
    set(cache, MC_OPT_MAX_ENTRIES, 1);
    use(NULL);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 1);
    mc_free(cache);
}

/* One thread begins to repair the cache while another one forks. */
static void fork_within_the_repair(void) {
    pthread_t first = start(use, NULL);
    pid_t grandchild = fork();
    if (grandchild == 0) {
        alarm(PATIENCE);
        check_that_the_account_is_right();
        _exit(EXIT_SUCCESS);
    }
    expect_success(grandchild);
    finish(first);
    check_that_the_account_is_right();
}

static void fork_beside(void *(*busy)(void *), void (*what)(void)) {
    fill(2000);
    pthread_t thread = start(busy, NULL);
    for (int n = 0; n < 200; n++) {
        fork_and(what);
    }
    over = 1;
    finish(thread);
    mc_free(cache);
}

TEST(r12_a_child_forked_beside_clears_of_all_has_a_right_account) {
    fork_beside(clear_all, check_that_the_account_is_right);
}

TEST(r12_a_child_forked_beside_bounds_being_set_has_a_right_account) {
    fork_beside(set_bounds, check_that_the_account_is_right);
}

TEST(r12_a_child_forked_within_a_repair_repairs_anew) {
    fork_beside(set_bounds, fork_within_the_repair);
}

enum { CHILDREN = 31 };

/* How long the first miss took in each child, in nanoseconds, in memory that they share. */
static int64_t *took;

/* Time of the processor, so that a busy machine does not count. */
static int64_t processor_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000 * MS + now.tv_nsec;
}

static void measure_first_miss(void) {
    int64_t before = processor_ns();
    use(NULL);
    *took = processor_ns() - before;
}

static int compare(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

TEST(r12_a_child_of_100_000_entries_answers_its_first_miss_within_20_ms) {
    int64_t *all = mmap(NULL, CHILDREN * sizeof *all, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(all != MAP_FAILED);
    fill(100000);
    pthread_t busy = start(set_bounds, NULL);
    for (took = all; took < all + CHILDREN; took++) {
        fork_and(measure_first_miss);
    }
    over = 1;
    finish(busy);
    qsort(all, CHILDREN, sizeof *all, compare);
    printf("the first miss took %.2f ms, from %.2f to %.2f\n", (double)all[CHILDREN / 2] / 1e6,
           (double)all[0] / 1e6, (double)all[CHILDREN - 1] / 1e6);
    CHECK(all[CHILDREN / 2] < 20 * MS);
    mc_free(cache);
}
