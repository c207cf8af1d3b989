/*
 * R12: a child forked at any moment has a working cache, on the forking thread and on threads that
 * it starts.
 *
 * The environment variable FORKS sets how many children the tests under load fork. The default is
 * 300.
 */

#define _GNU_SOURCE

#include "threads.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define CACHED "{\"cached\":true}"
#define LOADED "{\"loaded\":true}"

/* How many seconds a child may take. It needs milliseconds. */
#define PATIENCE 10

static int forks(void) {
    const char *number = getenv("FORKS");
    return number != NULL ? atoi(number) : 300;
}

/* Waits for a child. If the child hangs, its own alarm kills it. */
static void expect_success(pid_t child, int which) {
    int status = 0;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0) {
        fprintf(stderr, "child %d of this test ended with %s %d\n", which,
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    CHECK(status == 0);
}

static void *use_in_child(void *argument) {
    mc_cache *cache = (mc_cache *)argument;
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "new-%d", i % 10);
        CHECK(gives(cache, id, load_text, LOADED, LOADED));
        mc_clear(cache, id);
    }
    return NULL;
}

/* Every child does this: on several threads it hits, clears, and loads what the parent loaded. */
static void use_everything(mc_cache *cache) {
    alarm(PATIENCE);
    CHECK(gives(cache, "cached", load_never, NULL, CACHED));
    mc_string_free(mc_get(cache, "busy", load_text, LOADED, NULL));
    mc_string_free(mc_get(cache, "slow", load_text, LOADED, NULL));
    mc_clear(cache, "busy");
    CHECK(gives(cache, "busy", load_text, LOADED, LOADED));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        threads[i] = start(use_in_child, cache);
    }
    for (int i = 0; i < 4; i++) {
        finish(threads[i]);
    }
    mc_string_free(mc_stats(cache));
    CHECK(mc_clear(cache, NULL) >= 1);
    mc_cache *another = mc_new(MC_TTL_DEFAULT);
    CHECK(gives(another, "busy", load_text, LOADED, LOADED));
    mc_free(another);
    mc_free(cache);
}

/* What the parent's other threads share. Each thread runs one of the functions below. */
typedef struct {
    mc_cache *cache;
    atomic_bool over;
} load_on_parent;

static void load_slowly(const char *plugin_id, mc_load *load, void *user_data) {
    struct timespec a_moment = {0, 200000};
    nanosleep(&a_moment, NULL);
    load_text(plugin_id, load, user_data);
}

static void *hit(void *argument) {
    load_on_parent *work = (load_on_parent *)argument;
    while (!work->over) {
        mc_string_free(mc_get(work->cache, "cached", load_never, NULL, NULL));
    }
    return NULL;
}

static void *load_and_clear(void *argument) {
    load_on_parent *work = (load_on_parent *)argument;
    while (!work->over) {
        mc_string_free(mc_get(work->cache, "busy", load_text, (void *)CACHED, NULL));
        mc_clear(work->cache, "busy");
    }
    return NULL;
}

static void *load_and_wait(void *argument) {
    load_on_parent *work = (load_on_parent *)argument;
    while (!work->over) {
        mc_string_free(mc_get(work->cache, "slow", load_slowly, (void *)CACHED, NULL));
        mc_clear(work->cache, "slow");
    }
    return NULL;
}

static void *make_caches(void *argument) {
    load_on_parent *work = (load_on_parent *)argument;
    while (!work->over) {
        mc_free(mc_new(MC_TTL_DEFAULT));
    }
    return NULL;
}

static void *(*const work_of_threads[])(void *) = {
    hit, load_and_clear, load_and_clear, load_and_wait, load_and_wait, load_and_wait, make_caches};
enum { WORKERS = sizeof work_of_threads / sizeof work_of_threads[0] };

static void begin_load(load_on_parent *work, pthread_t workers[WORKERS]) {
    alarm((unsigned)(30 + forks() / 10));
    work->cache = mc_new(MC_TTL_FOREVER);
    work->over = 0;
    CHECK(gives(work->cache, "cached", load_text, CACHED, CACHED));
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = start(work_of_threads[i], work);
    }
}

static void end_load(load_on_parent *work, pthread_t workers[WORKERS]) {
    work->over = 1;
    for (int i = 0; i < WORKERS; i++) {
        finish(workers[i]);
    }
    mc_free(work->cache);
}

TEST(r12_a_child_forked_under_load_has_a_working_cache) {
    load_on_parent work;
    pthread_t workers[WORKERS];
    begin_load(&work, workers);
    for (int i = 0; i < forks(); i++) {
        pid_t child = fork();
        if (child == 0) {
            use_everything(work.cache);
            _exit(EXIT_SUCCESS);
        }
        expect_success(child, i);
    }
    end_load(&work, workers);
}

/* Forks inside the loader. Parent and child both return from it. */
static void load_and_fork(const char *plugin_id, mc_load *load, void *child) {
    *(pid_t *)child = fork();
    if (*(pid_t *)child == 0) {
        alarm(PATIENCE);
        load_text(plugin_id, load, (void *)"{\"by\":\"child\"}");
    } else {
        load_text(plugin_id, load, (void *)"{\"by\":\"parent\"}");
    }
}

TEST(r12_a_child_forked_inside_a_loader_ends_that_load_itself) {
    load_on_parent work;
    pthread_t workers[WORKERS];
    begin_load(&work, workers);
    for (int i = 0; i < forks() / 3; i++) {
        pid_t child = -1;
        mc_clear(work.cache, "forked");
        const char *manifest = mc_get(work.cache, "forked", load_and_fork, &child, NULL);
        CHECK(manifest != NULL);
        const char *expected = child == 0 ? "{\"by\":\"child\"}" : "{\"by\":\"parent\"}";
        CHECK(strcmp(manifest, expected) == 0);
        mc_string_free(manifest);
        /* In the child the load stored nothing, as it began in the parent. */
        CHECK(gives(work.cache, "forked", child == 0 ? load_text : load_never, (void *)expected,
                    expected));
        if (child == 0) {
            use_everything(work.cache);
            _exit(EXIT_SUCCESS);
        }
        expect_success(child, i);
    }
    end_load(&work, workers);
}

static void load_when_released(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, (void *)CACHED);
}

/* A new thread may get the stack, and so the id, of a thread that the fork did not copy. */
static void *load_held(void *cache) {
    CHECK(gives((mc_cache *)cache, "held", load_text, LOADED, LOADED));
    mc_clear((mc_cache *)cache, "held");
    return NULL;
}

TEST(r12_a_load_of_a_thread_that_is_not_in_the_child_is_abandoned) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call held;
    begin(&held, cache, "held", load_when_released);
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        for (int n = 0; n < 4; n++) {
            finish(start(load_held, cache));
        }
        load_held(cache);
        _exit(EXIT_SUCCESS);
    }
    expect_success(child, 0);
    end(&held);
    CHECK(strcmp(held.manifest, CACHED) == 0);
    mc_string_free(held.manifest);
    mc_free(cache);
}

/* In the parent a -> b -> a is a cycle. In the child, the thread that loaded b is missing. */
static void load_b_in_child(const char *plugin_id, mc_load *load, void *user_data) {
    call *other = (call *)user_data;
    /* Only now, else the other thread would load a itself. It has 20 ms to begin its wait. */
    step(&other->released);
    pause_ms(20);
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        CHECK(gives(other->cache, "b", load_text, LOADED, LOADED));
        load_text(plugin_id, load, (void *)LOADED);
        return;
    }
    expect_success(child, 0);
    load_text(plugin_id, load, (void *)CACHED);
}

static void load_b_through_a(const char *plugin_id, mc_load *load, void *user_data) {
    call *it = (call *)user_data;
    hold(user_data);
    mc_string_free(mc_get(it->cache, "a", load_never, NULL, NULL));
    load_text(plugin_id, load, (void *)CACHED);
}

TEST(r12_a_cycle_that_the_fork_breaks_is_not_a_cycle_in_the_child) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    pid_t parent = getpid();
    call b;
    begin(&b, cache, "b", load_b_through_a);
    const char *a = mc_get(cache, "a", load_b_in_child, &b, NULL);
    CHECK(a != NULL);
    mc_string_free(a);
    if (getpid() != parent) {
        _exit(EXIT_SUCCESS);
    }
    finish(b.thread);
    CHECK(b.manifest != NULL);
    mc_string_free(b.manifest);
    mc_free(cache);
}
