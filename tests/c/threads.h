/*
 * For tests with threads: steps to wait for, and calls of mc_get() on threads of their own.
 */

#ifndef THREADS_H
#define THREADS_H

#include "check.h"

#include <pthread.h>

/* A count that threads raise and others wait for. */
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

/* Lets nobody through until so many have come. */
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

/* A call of mc_get() on a thread of its own, what its loader waits for, what it returned. */
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

/* For the loaders of calls, which have the call as their user_data: waits until end(). */
static inline void hold(void *user_data) {
    call *it = (call *)user_data;
    step(&it->begun);
    await(&it->released, 1);
}

/* Begins a call, on a thread that runs make_call() or another such function. */
static inline void begin_on(void *(*run)(void *), call *it, mc_cache *cache,
                            const char *plugin_id, mc_loader loader) {
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

/* Begins a call whose loader does hold(), and returns once it does. */
static inline void begin(call *it, mc_cache *cache, const char *plugin_id, mc_loader loader) {
    begin_on(make_call, it, cache, plugin_id, loader);
    await(&it->begun, 2);
}

static inline void end(call *it) {
    step(&it->released);
    finish(it->thread);
}

static inline void load_too_late(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_not_found(load);
}

/*
 * While a call is held in its loader, another thread asks for the same plugin; then the held
 * call ends. Whether the other one waited for it; what it was given is in other.
 *
 * Nothing tells from outside that a thread waits inside mc_get(), so it is given 20 ms to get
 * there. On a busy machine it may be late all the same: then this is 0, to be tried again.
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
