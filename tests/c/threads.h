/* For tests with threads: counters to wait for, and calls of mc_get() on other threads. */

#ifndef THREADS_H
#define THREADS_H

#include "check.h"

#include <pthread.h>

/* A counter that some threads increase and others wait for. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t raised;
    int count;
} steps;

#define STEPS {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void step(steps *steps) {
    pthread_mutex_lock(&steps->lock);
    steps->count++;
    pthread_cond_broadcast(&steps->raised);
    pthread_mutex_unlock(&steps->lock);
}

static inline void await(steps *steps, int count) {
    pthread_mutex_lock(&steps->lock);
    while (steps->count < count) {
        pthread_cond_wait(&steps->raised, &steps->lock);
    }
    pthread_mutex_unlock(&steps->lock);
}

/* Waits until so many threads have called this. */
static inline void meet(steps *steps, int count) {
    step(steps);
    await(steps, count);
}

static inline pthread_t start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

static inline void finish(pthread_t thread) {
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A call of mc_get() on a thread of its own, and what it returned. */
typedef struct {
    mc_cache *cache;
    const char *plugin_id;
    mc_loader loader;
    steps begun, released;
    pthread_t thread;
    const char *manifest;
    mc_error error;
} call;

static inline void *make_call(void *argument) {
    call *it = (call *)argument;
    step(&it->begun);
    it->manifest = mc_get(it->cache, it->plugin_id, it->loader, it, &it->error);
    return NULL;
}

/* Waits in a loader until end(). The call is the loader's user_data. */
static inline void hold(void *user_data) {
    call *it = (call *)user_data;
    step(&it->begun);
    await(&it->released, 1);
}

/* Begins a call on a new thread that runs make_call() or a similar function. */
static inline void begin_on(void *(*run)(void *), call *it, mc_cache *cache, const char *plugin_id,
                            mc_loader loader) {
    memset(it, 0, sizeof *it);
    it->cache = cache;
    it->plugin_id = plugin_id;
    it->loader = loader;
    pthread_mutex_init(&it->begun.lock, NULL);
    pthread_cond_init(&it->begun.raised, NULL);
    pthread_mutex_init(&it->released.lock, NULL);
    pthread_cond_init(&it->released.raised, NULL);
    it->thread = start(run, it);
}

/* Begins a call whose loader calls hold(), and returns when the loader is there. */
static inline void begin(call *it, mc_cache *cache, const char *plugin_id, mc_loader loader) {
    begin_on(make_call, it, cache, plugin_id, loader);
    await(&it->begun, 2);
}

static inline void end(call *it) {
    step(&it->released);
    finish(it->thread);
}

static inline void hold_then_old(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, (void *)OLD);
}

static inline void hold_then_new(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, (void *)NEW);
}

static inline void hold_then_not_found(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id;
    hold(user_data);
    mc_load_not_found(load);
}

static inline void hold_then_fail(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_failure(plugin_id, load, user_data);
}

static inline void load_too_late(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_not_found(load);
}

/*
 * Gets the held call's plugin on another thread, then ends the held call. Returns 1 if the other
 * thread waited for the held call's load. What it got is in other.
 *
 * A test cannot see that a thread waits inside mc_get(), so the thread has 20 ms to get there. On
 * a busy machine it may be later than that. Then this returns 0, and the caller tries again.
 */
static inline int shared(call *held, call *other) {
    static int tries = 0;
    CHECK(++tries <= 100);
    uint64_t waits = stat_of(held->cache, "waits");
    begin_on(make_call, other, held->cache, held->plugin_id, load_too_late);
    await(&other->begun, 1);
    pause_ms(20);
    end(held);
    finish(other->thread);
    if (stat_of(held->cache, "waits") > waits) {
        return 1;
    }
    mc_string_free(held->manifest);
    mc_string_free(other->manifest);
    mc_clear(held->cache, NULL);
    return 0;
}

#endif
