/* R9: loaders may get other plugins, and a cycle of loads is an error, not a deadlock. */

#include "threads.h"

#include <stdatomic.h>

#define JSON "{\"a\":1}"

/*
 * A chain of plugins whose ids are one letter each. The loader of each plugin gets the next plugin
 * of the path.
 */
typedef struct {
    mc_cache *cache;
    const char *path;
    mc_error error; /* of the get that failed, if one did */
    int failures;
} chain;

static void load_next(const char *plugin_id, mc_load *load, void *user_data) {
    chain *chain = user_data;
    char next[] = {*++chain->path, '\0'};
    if (next[0] != '\0') {
        mc_error error;
        const char *manifest = mc_get(chain->cache, next, load_next, chain, &error);
        if (manifest == NULL) {
            chain->error = error;
            chain->failures++;
        }
        mc_string_free(manifest);
    }
    load_text(plugin_id, load, JSON);
}

static mc_error error_of_chain(const char *path) {
    chain chain = {.cache = mc_new(MC_TTL_FOREVER), .path = path};
    char first[] = {path[0], '\0'};
    CHECK(gives(chain.cache, first, load_next, &chain, JSON));
    CHECK(chain.failures <= 1);
    mc_free(chain.cache);
    return chain.error;
}

TEST(r9_a_loader_may_get_other_plugins) {
    CHECK(error_of_chain("abcdefghij").status == MC_OK);
}

TEST(r9_a_plugin_that_gets_itself_is_an_error_naming_the_chain) {
    mc_error error = error_of_chain("aa");
    CHECK(error.status == MC_LOAD_CYCLE);
    CHECK(strstr(error.message, "a -> a") != NULL);
}

TEST(r9_a_cycle_in_one_thread_is_an_error_naming_the_chain) {
    mc_error error = error_of_chain("xabca");
    CHECK(error.status == MC_LOAD_CYCLE);
    CHECK(strstr(error.message, "a -> b -> c -> a") != NULL);
    CHECK(strstr(error.message, "x ->") == NULL);
}

TEST(r9_only_the_call_that_closes_the_cycle_gets_the_error) {
    chain chain = {.cache = mc_new(MC_TTL_FOREVER), .path = "abca"};
    CHECK(gives(chain.cache, "a", load_next, &chain, JSON));
    CHECK(chain.failures == 1);
    CHECK(gives(chain.cache, "b", load_never, NULL, JSON));
    CHECK(gives(chain.cache, "c", load_never, NULL, JSON));
    CHECK(gives(chain.cache, "a", load_never, NULL, JSON));
    mc_free(chain.cache);
}

static void load_two(const char *plugin_id, mc_load *load, void *cache) {
    if (plugin_id[0] == 'a') {
        CHECK(gives(cache, "b", load_two, cache, JSON));
        CHECK(gives(cache, "c", load_two, cache, JSON));
    } else if (plugin_id[0] != 'd') {
        CHECK(gives(cache, "d", load_two, cache, JSON));
    }
    load_text(plugin_id, load, JSON);
}

TEST(r9_two_paths_to_the_same_plugin_are_not_a_cycle) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *uncached = mc_new(0);
    CHECK(gives(cache, "a", load_two, cache, JSON));
    CHECK(gives(uncached, "a", load_two, uncached, JSON));
    CHECK(stat_of(cache, "loads") == 4 && stat_of(uncached, "loads") == 5);
    mc_free(cache);
    mc_free(uncached);
}

typedef struct {
    mc_cache *one, *other;
    mc_error error;
} pair;

static void load_from_one(const char *plugin_id, mc_load *load, void *user_data);

static void load_from_other(const char *plugin_id, mc_load *load, void *user_data) {
    pair *pair = user_data;
    pair->error = refusal(pair->one, "a", load_from_one, pair);
    load_text(plugin_id, load, JSON);
}

static void load_from_one(const char *plugin_id, mc_load *load, void *user_data) {
    pair *pair = user_data;
    CHECK(gives(pair->other, "a", load_from_other, pair, JSON));
    load_text(plugin_id, load, JSON);
}

TEST(r9_a_cycle_through_two_caches_is_an_error_but_one_id_in_two_caches_is_not) {
    pair pair = {.one = mc_new(MC_TTL_FOREVER), .other = mc_new(MC_TTL_FOREVER)};
    CHECK(gives(pair.one, "a", load_from_one, &pair, JSON));
    CHECK(pair.error.status == MC_LOAD_CYCLE);
    CHECK(strstr(pair.error.message, "a -> a -> a") != NULL);
    mc_free(pair.one);
    mc_free(pair.other);
}

/* Each thread loads one plugin. When all are loading, each gets the plugin of the next thread. */
enum { MOST = 3 };

typedef struct {
    int threads, caches;
    mc_cache *cache[2];
    steps loading;
    atomic_int cycles;
    mc_error error;
} ring;

static const char *const names[MOST] = {"a", "b", "c"};
static ring the_ring = {.loading = STEPS};

static void load_in_the_ring(const char *plugin_id, mc_load *load, void *user_data) {
    ring *ring = user_data;
    int next = (plugin_id[0] - 'a' + 1) % ring->threads;
    mc_error error;
    meet(&ring->loading, ring->threads);
    const char *manifest =
        mc_get(ring->cache[next % ring->caches], names[next], load_never, NULL, &error);
    if (manifest == NULL) {
        ring->error = error;
        atomic_fetch_add(&ring->cycles, 1);
    }
    mc_string_free(manifest);
    load_text(plugin_id, load, JSON);
}

static void *get_in_the_ring(void *name) {
    ring *ring = &the_ring;
    int n = ((char *)name)[0] - 'a';
    CHECK(gives(ring->cache[n % ring->caches], name, load_in_the_ring, ring, JSON));
    return NULL;
}

static const char *message_of_a_ring(int threads, int caches) {
    pthread_t thread[MOST];
    the_ring.threads = threads;
    the_ring.caches = caches;
    for (int n = 0; n < caches; n++) {
        the_ring.cache[n] = mc_new(MC_TTL_FOREVER);
    }
    for (int n = 0; n < threads; n++) {
        thread[n] = start(get_in_the_ring, (void *)names[n]);
    }
    for (int n = 0; n < threads; n++) {
        finish(thread[n]);
    }
    CHECK(atomic_load(&the_ring.cycles) == 1);
    CHECK(the_ring.error.status == MC_LOAD_CYCLE);
    uint64_t misses = 0, waits = 0;
    for (int n = 0; n < caches; n++) {
        misses += stat_of(the_ring.cache[n], "misses");
        waits += stat_of(the_ring.cache[n], "waits");
        mc_free(the_ring.cache[n]);
    }
    CHECK(misses == (uint64_t)threads + 1 && waits == (uint64_t)threads - 1);
    return the_ring.error.message;
}

TEST(r9_a_cycle_across_two_threads_is_an_error_naming_the_chain) {
    const char *message = message_of_a_ring(2, 1);
    CHECK(strstr(message, "a -> b -> a") != NULL || strstr(message, "b -> a -> b") != NULL);
}

TEST(r9_a_cycle_across_three_threads_is_an_error_naming_the_chain) {
    const char *message = message_of_a_ring(3, 1);
    CHECK(strstr(message, "a -> b -> c -> a") != NULL ||
          strstr(message, "b -> c -> a -> b") != NULL ||
          strstr(message, "c -> a -> b -> c") != NULL);
}

TEST(r9_a_cycle_across_two_threads_and_two_caches_is_an_error_naming_the_chain) {
    const char *message = message_of_a_ring(2, 2);
    CHECK(strstr(message, "a -> b -> a") != NULL || strstr(message, "b -> a -> b") != NULL);
}

static void clear_and_get_again(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear(cache, plugin_id);
    mc_error error = refusal(cache, plugin_id, load_never, NULL);
    CHECK(error.status == MC_LOAD_CYCLE && strstr(error.message, "a -> a") != NULL);
    load_text(plugin_id, load, JSON);
}

TEST(r9_getting_a_plugin_that_the_same_thread_is_loading_is_a_cycle_even_after_a_clear) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "a", clear_and_get_again, cache, JSON));
    mc_free(cache);
}

static void hold_then_load(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, JSON);
}

static void let_another_load_and_get_again(const char *plugin_id, mc_load *load, void *cache) {
    call other;
    mc_clear(cache, plugin_id);
    begin(&other, cache, plugin_id, hold_then_load);
    CHECK(refusal(cache, plugin_id, load_never, NULL).status == MC_LOAD_CYCLE);
    end(&other);
    mc_string_free(other.manifest);
    load_text(plugin_id, load, JSON);
}

TEST(r9_it_is_a_cycle_even_if_another_thread_began_a_newer_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "a", let_another_load_and_get_again, cache, JSON));
    mc_free(cache);
}

static void fail_after_a_cycle(const char *plugin_id, mc_load *load, void *cache) {
    mc_error error = refusal(cache, plugin_id, load_never, NULL);
    mc_load_fail(load, error.status, error.message);
}

TEST(r9_after_a_cycle_the_plugin_can_be_loaded_again) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, "a", fail_after_a_cycle, cache);
    CHECK(error.status == MC_LOAD_FAILED && error.code == MC_LOAD_CYCLE);
    CHECK(strstr(error.message, "a -> a") != NULL);
    CHECK(gives(cache, "a", load_text, JSON, JSON));
    mc_free(cache);
}

/* A destructor of a thread that exits. The library has dropped the thread's data before. */
static void get_in_a_cycle(void *user_data) {
    chain *chain = user_data;
    CHECK(gives(chain->cache, "a", load_next, chain, JSON));
}

static pthread_key_t at_exit;

static void *use_the_cache_and_exit(void *user_data) {
    chain *chain = user_data;
    CHECK(gives(chain->cache, "other", load_text, JSON, JSON));
    CHECK(pthread_setspecific(at_exit, chain) == 0);
    return NULL;
}

TEST(r9_a_cycle_in_a_destructor_at_thread_exit_is_found) {
    chain chain = {.cache = cache_with(MC_OPT_WAIT_MS, 1), .path = "aba"};
    CHECK(pthread_key_create(&at_exit, get_in_a_cycle) == 0);
    finish(start(use_the_cache_and_exit, &chain));
    CHECK(chain.failures == 1 && chain.error.status == MC_LOAD_CYCLE);
    CHECK(strstr(chain.error.message, ": a -> b -> a;") != NULL);
    CHECK(pthread_key_delete(at_exit) == 0);
    mc_free(chain.cache);
}
