/*
 * How values end (R18): each is destroyed exactly once in each process, wherever its last string or
 * its cache entry goes. Each test counts the values that were made and those that were destroyed.
 */

#define _GNU_SOURCE

#include "loads.h"

#include <stdatomic.h>
#include <sys/wait.h>

static const char TYPE;

typedef struct value {
    atomic_int ends;
    mc_cache *cache;
    void (*also)(struct value *value);
} value;

enum { VALUES = 100000 };

/* They are not freed, so that a value that is destroyed twice is noticed. */
static value values[VALUES];
static atomic_int made, destroyed;

static value *make(void) {
    int n = made++;
    CHECK(n < VALUES);
    return &values[n];
}

static void destroy(void *argument) {
    value *it = (value *)argument;
    CHECK(it->ends++ == 0);
    destroyed++;
    if (it->also != NULL) {
        it->also(it);
    }
}

/* How many values there are. */
static int alive(void) {
    return made - destroyed;
}

/* Answers with a manifest that has a value: that in user_data, or a new one. */
static void load_value(const char *plugin_id, mc_load *load, void *user_data) {
    load_text(plugin_id, load, (void *)SUN);
    CHECK(mc_load_value(load, &TYPE, user_data != NULL ? user_data : make(), destroy) == MC_OK);
}

static const char *get(mc_cache *cache, const char *plugin_id) {
    const char *manifest = mc_get(cache, plugin_id, load_value, NULL, NULL);
    CHECK(mc_string_value(manifest, &TYPE) != NULL);
    return manifest;
}

/* Stores a manifest with this value. */
static void store(mc_cache *cache, const char *plugin_id, value *it) {
    mc_string_free(mc_get(cache, plugin_id, load_value, it, NULL));
    CHECK(alive() > 0);
}

/* Attaches a value to a manifest that was put. */
static void put_value(mc_cache *cache, const char *plugin_id) {
    CHECK(put(cache, plugin_id, RAIN) == MC_OK);
    const char *manifest = mc_get(cache, plugin_id, load_value, NULL, NULL);
    CHECK(mc_string_attach(manifest, &TYPE, make(), destroy) != NULL);
    mc_string_free(manifest);
}

/* --- Threads --- */

static void *free_string(void *string) {
    mc_string_free((const char *)string);
    return NULL;
}

TEST(r18_a_value_ends_on_the_thread_that_frees_its_last_string) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *manifest = get(cache, "weather");
    mc_free(cache);
    CHECK(alive() == 1);
    finish(start(free_string, (void *)manifest));
    CHECK(alive() == 0);
}

typedef struct {
    mc_cache *cache;
    steps begun, released;
    void (*last)(mc_cache *cache);
    const char *string;
} idler;

/* Keeps "weather" in its stock, waits, and then makes one last call. */
static void *idle(void *argument) {
    idler *it = (idler *)argument;
    for (int n = 0; n < 10; n++) {
        mc_string_free(get(it->cache, "weather"));
    }
    step(&it->begun);
    await(&it->released, 1);
    if (it->last != NULL) {
        it->last(it->cache);
        CHECK(alive() == 0);
    }
    return NULL;
}

/* Begins a thread that keeps a manifest with a value which is then cleared. */
static pthread_t begin_idle(idler *it, mc_cache *cache, void (*last)(mc_cache *cache)) {
    idler fresh = {cache, STEPS, STEPS, last, NULL};
    *it = fresh;
    pthread_t thread = start(idle, it);
    await(&it->begun, 1);
    mc_clear(cache, "weather");
    CHECK(alive() == 1);
    return thread;
}

TEST(r18_a_thread_that_keeps_a_value_ends_it_when_it_ends) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    idler it;
    pthread_t thread = begin_idle(&it, cache, NULL);
    mc_purge(cache);
    CHECK(alive() == 1);
    step(&it.released);
    finish(thread);
    CHECK(alive() == 0);
    mc_free(cache);
}

static const char *other_string;

static void call_get(mc_cache *cache) {
    other_string = mc_get(cache, "other", load_never, NULL, NULL);
}
static void call_get_that_misses(mc_cache *cache) {
    CHECK(mc_get(cache, "none", NULL, NULL, NULL) == NULL);
}
static void call_begin(mc_cache *cache) {
    mc_load *load;
    CHECK(mc_begin(cache, "other", NULL, &load, &other_string, NULL) == MC_OK);
}
static void call_begin_async(mc_cache *cache) {
    mc_load *load;
    CHECK(mc_begin_async(cache, "other", NULL, note, NULL, &load, &other_string, NULL) == MC_OK);
}
static void call_revision(mc_cache *cache) {
    CHECK(mc_revision(cache, "other") != 0);
}
static void call_string_free(mc_cache *cache) {
    (void)cache;
    mc_string_free(other_string);
    other_string = NULL;
}

TEST(r18_a_thread_lets_go_of_a_cleared_value_at_its_next_call_whichever_it_is) {
    void (*const calls[])(mc_cache *) = {call_get,         call_get_that_misses, call_begin,
                                         call_begin_async, call_revision,        call_string_free};
    for (size_t n = 0; n < sizeof calls / sizeof *calls; n++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        CHECK(put(cache, "other", RAIN) == MC_OK);
        other_string =
            calls[n] == call_string_free ? mc_get(cache, "other", load_never, NULL, NULL) : NULL;
        idler it;
        pthread_t thread = begin_idle(&it, cache, calls[n]);
        step(&it.released);
        finish(thread);
        mc_string_free(other_string);
        CHECK(alive() == 0);
        mc_free(cache);
    }
}

TEST(r18_a_thread_lets_go_of_the_values_of_a_cache_that_was_freed_too) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    CHECK(put(other, "other", RAIN) == MC_OK);
    idler it = {cache, STEPS, STEPS, NULL, NULL};
    pthread_t thread = start(idle, &it);
    await(&it.begun, 1);
    mc_free(cache);
    CHECK(alive() == 1);
    it.cache = other;
    it.last = call_revision;
    step(&it.released);
    finish(thread);
    mc_free(other);
}

TEST(r18_a_value_that_is_attached_after_the_clear_ends_with_its_last_string) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(put(cache, "weather", SUN) == MC_OK);
    for (int n = 0; n < 10; n++) {
        mc_string_free(mc_get(cache, "weather", load_never, NULL, NULL));
    }
    const char *manifest = mc_get(cache, "weather", load_never, NULL, NULL);
    mc_clear(cache, NULL);
    CHECK(mc_string_attach(manifest, &TYPE, make(), destroy) != NULL && alive() == 1);
    mc_string_free(manifest);
    CHECK(alive() == 0);
    mc_free(cache);
}

static pthread_key_t key;

static void free_at_exit(void *string) {
    mc_string_free((const char *)string);
}

static void *keep_until_exit(void *cache) {
    const char *manifest = get((mc_cache *)cache, "weather");
    CHECK(pthread_setspecific(key, manifest) == 0);
    mc_clear((mc_cache *)cache, NULL);
    CHECK(alive() == 1);
    return NULL;
}

TEST(r18_a_value_ends_in_a_destructor_that_runs_after_the_data_of_its_thread) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(pthread_key_create(&key, free_at_exit) == 0);
    finish(start(keep_until_exit, cache));
    CHECK(alive() == 0);
    mc_free(cache);
}

/* --- Races --- */

enum { THREADS = 4, ROUNDS = 4000 };

typedef struct {
    mc_cache *cache;
    unsigned random;
} racer;

static void *race(void *argument) {
    racer *it = (racer *)argument;
    for (int n = 0; n < ROUNDS; n++) {
        it->random = it->random * 1103515245u + 12345u;
        const char id[2] = {(char)('a' + (it->random >> 16) % 3), '\0'};
        switch ((it->random >> 20) % 16) {
        case 0:
            mc_clear(it->cache, id);
            break;
        case 1:
            mc_clear(it->cache, NULL);
            break;
        case 2:
            put_value(it->cache, id);
            break;
        case 3:
            mc_advance(it->cache, 600);
            break;
        case 4:
            mc_purge(it->cache);
            break;
        default: {
            mc_error error;
            const char *manifest = mc_get(it->cache, id, load_value, NULL, &error);
            CHECK(error.status == MC_OK);
            const value *found = (const value *)mc_string_value(manifest, &TYPE);
            CHECK(found == NULL || found->ends == 0);
            mc_string_free(manifest);
        }
        }
    }
    return NULL;
}

static void race_threads(mc_cache *cache) {
    set(cache, MC_OPT_WAIT_MS, 0); /* else waits time out when the time is advanced */
    racer racers[THREADS];
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++) {
        racers[n] = (racer){cache, (unsigned)n + 1};
        threads[n] = start(race, &racers[n]);
    }
    for (int n = 0; n < THREADS; n++) {
        finish(threads[n]);
    }
}

TEST(r18_clears_and_puts_that_race_with_hits_end_every_value_once) {
    mc_cache *cache = mc_new(1000);
    race_threads(cache);
    mc_clear(cache, NULL);
    CHECK(made > THREADS && alive() == 0);
    mc_free(cache);
}

TEST(r18_a_free_after_threads_have_raced_ends_every_value_that_is_left) {
    mc_cache *cache = mc_new(1000);
    set(cache, MC_OPT_MAX_ENTRIES, 2);
    race_threads(cache);
    for (const char *id = "0123456789"; *id != '\0'; id++) {
        const char name[2] = {*id, '\0'};
        mc_string_free(get(cache, name));
    }
    CHECK(alive() >= 2);
    mc_free(cache);
    CHECK(alive() == 0);
}

/* --- Loads --- */

static void load_and_refuse(const char *plugin_id, mc_load *load, void *user_data) {
    load_value(plugin_id, load, user_data);
    CHECK(strcmp(mc_load_text(load), SUN) == 0 && alive() == 1);
    mc_load_fail(load, 3, "the host does not like it");
    CHECK(alive() == 0);
}

static void load_empty(const char *plugin_id, mc_load *load, void *user_data) {
    (void)user_data;
    load_text(plugin_id, load, (void *)"{}");
    CHECK(mc_load_value(load, &TYPE, make(), destroy) == MC_OK);
}

static void load_for_once(const char *plugin_id, mc_load *load, void *user_data) {
    load_value(plugin_id, load, user_data);
    mc_load_ttl(load, 0);
}

TEST(r18_a_load_that_is_refused_or_not_stored_ends_its_value) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(mc_get(cache, "weather", load_and_refuse, NULL, NULL) == NULL && alive() == 0);
    const mc_loader loaders[] = {load_empty, load_for_once};
    for (size_t n = 0; n < sizeof loaders / sizeof *loaders; n++) {
        const char *manifest = mc_get(cache, "weather", loaders[n], NULL, NULL);
        CHECK(mc_string_value(manifest, &TYPE) != NULL && alive() == 1);
        mc_string_free(manifest);
        CHECK(alive() == 0);
    }
    mc_free(cache);
}

/* Each ends a load that brought a value in a way that stores nothing. */
static void fence_by_clear(mc_cache *cache) {
    mc_clear(cache, "weather");
}
static void fence_by_clearing_all(mc_cache *cache) {
    mc_clear(cache, NULL);
}
static void fence_by_put(mc_cache *cache) {
    CHECK(put(cache, "weather", RAIN) == MC_OK);
}
static void fence_by_free(mc_cache *cache) {
    mc_free(cache);
}

TEST(r18_a_load_that_was_fenced_ends_its_value_with_the_last_string) {
    void (*const fences[])(mc_cache *) = {fence_by_clear, fence_by_clearing_all, fence_by_put,
                                          fence_by_free};
    for (size_t n = 0; n < sizeof fences / sizeof *fences; n++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        mc_load *load = begun(cache, "weather", NULL);
        load_value("weather", load, NULL);
        fences[n](cache);
        const char *manifest = mc_end(&load, NULL);
        CHECK(mc_string_value(manifest, &TYPE) != NULL && alive() == 1);
        mc_string_free(manifest);
        CHECK(alive() == 0);
        if (fences[n] != fence_by_free) {
            mc_free(cache);
        }
    }
}

TEST(r18_those_who_wait_for_a_load_share_its_value_and_the_last_one_ends_it) {
    mc_cache *cache = mc_new(0);
    told first, second;
    mc_load *load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &first);
    pends(cache, "weather", NULL, &second);
    load_value("weather", load, NULL);
    const char *manifest = mc_end(&load, NULL);
    CHECK(was_told(&first, SUN) && was_told(&second, SUN) && alive() == 1);
    mc_string_free(manifest);
    CHECK(alive() == 0);
    mc_free(cache);
}

/* --- What a destroy may do --- */

static mc_cache *unrelated;
static const char *unrelated_string;

static void clear_in_destroy(value *it) {
    mc_clear(it->cache, NULL);
}
static void get_in_destroy(value *it) {
    mc_string_free(get(it->cache, "from destroy"));
}
static void free_string_in_destroy(value *it) {
    (void)it;
    mc_string_free(unrelated_string);
    unrelated_string = NULL;
}
static void free_another_cache_in_destroy(value *it) {
    (void)it;
    mc_free(unrelated);
    unrelated = NULL;
}

static void wait_for(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void fork_in_destroy(value *it) {
    pid_t child = fork();
    if (child == 0) {
        get_in_destroy(it);
        mc_clear(it->cache, NULL);
        CHECK(put(it->cache, "weather", RAIN) == MC_OK);
        _exit(0);
    }
    wait_for(child);
}

/* Each ends the value of "weather" in another call. */
static void end_by_clear(mc_cache *cache) {
    mc_clear(cache, "weather");
}
static void end_by_string_free(mc_cache *cache) {
    const char *manifest = get(cache, "weather");
    mc_clear(cache, NULL);
    mc_string_free(manifest);
}
static void end_by_put(mc_cache *cache) {
    CHECK(put(cache, "weather", RAIN) == MC_OK);
}
static void end_by_load(mc_cache *cache) {
    mc_advance(cache, HOUR);
    CHECK(gives(cache, "weather", load_text, (void *)RAIN, RAIN));
}
static void end_by_failure(mc_cache *cache) {
    mc_advance(cache, HOUR);
    CHECK(mc_get(cache, "weather", load_failure, NULL, NULL) == NULL);
}
static void end_by_purge(mc_cache *cache) {
    mc_advance(cache, HOUR);
    CHECK(mc_purge(cache) == 1);
}
static void end_by_bound(mc_cache *cache) {
    set(cache, MC_OPT_MAX_BYTES, 1);
    set(cache, MC_OPT_MAX_BYTES, 0);
}
static void *clear_everything(void *cache) {
    mc_clear((mc_cache *)cache, NULL);
    return NULL;
}
static void end_by_revision(mc_cache *cache) {
    finish(start(clear_everything, cache));
    CHECK(mc_revision(cache, "weather") == 0);
}
static void *keep_and_clear(void *cache) {
    mc_string_free(get((mc_cache *)cache, "weather"));
    const char *manifest = get((mc_cache *)cache, "weather");
    finish(start(clear_everything, cache));
    CHECK(pthread_setspecific(key, manifest) == 0);
    return NULL;
}
static void end_by_thread_exit(mc_cache *cache) {
    CHECK(pthread_key_create(&key, free_at_exit) == 0);
    finish(start(keep_and_clear, cache));
    mc_clear(cache, NULL);
    CHECK(mc_revision(cache, "weather") == 0);
}

TEST(r18_a_destroy_may_call_every_function_and_fork_wherever_the_value_ends) {
    void (*const alsos[])(value *) = {clear_in_destroy, get_in_destroy, free_string_in_destroy,
                                      free_another_cache_in_destroy, fork_in_destroy};
    void (*const ends[])(mc_cache *) = {end_by_clear, end_by_string_free, end_by_put,
                                        end_by_load,  end_by_failure,     end_by_purge,
                                        end_by_bound, end_by_revision,    end_by_thread_exit};
    for (size_t n = 0; n < sizeof alsos / sizeof *alsos; n++) {
        for (size_t m = 0; m < sizeof ends / sizeof *ends; m++) {
            mc_cache *cache = mc_new(1000);
            unrelated = mc_new(MC_TTL_FOREVER);
            unrelated_string = get(unrelated, "unrelated");
            value *it = make();
            it->cache = cache;
            it->also = alsos[n];
            store(cache, "weather", it);
            ends[m](cache);
            CHECK(it->ends == 1);
            mc_free(cache);
            mc_free(unrelated);
            mc_string_free(unrelated_string);
            CHECK(alive() == 0);
        }
    }
}

TEST(r18_a_destroy_may_use_the_cache_when_its_value_is_not_attached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *manifest = get(cache, "weather");
    value *late = make();
    late->cache = cache;
    late->also = clear_in_destroy;
    CHECK(mc_string_attach(manifest, &TYPE, late, destroy) != late);
    CHECK(late->ends == 1 && alive() == 1);
    mc_load *load = begun(cache, "weather", NULL);
    value *replaced = make();
    replaced->cache = cache;
    replaced->also = get_in_destroy;
    load_value("weather", load, replaced);
    mc_load_not_found(load);
    CHECK(replaced->ends == 1);
    CHECK(fails(load).status == MC_NOT_FOUND);
    mc_string_free(manifest);
    mc_free(cache);
    CHECK(alive() == 0);
}

TEST(r18_a_destroy_may_use_the_cache_when_another_manifest_takes_its_place_in_the_stock) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < 5000; n++) {
        char id[16];
        snprintf(id, sizeof id, "%d", n);
        value *it = make();
        it->cache = cache;
        it->also = n % 2 == 0 ? clear_in_destroy : get_in_destroy;
        store(cache, id, it);
        mc_string_free(mc_get(cache, id, load_never, NULL, NULL));
        if (n % 3 == 0) {
            mc_clear(cache, id);
        }
    }
    mc_clear(cache, NULL);
    mc_free(cache);
    CHECK(alive() == 0);
}

/* --- Processes --- */

TEST(r18_a_child_ends_its_own_copies) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *manifest = get(cache, "weather");
    mc_string_free(get(cache, "other"));
    pid_t child = fork();
    if (child == 0) {
        mc_clear(cache, NULL);
        CHECK(alive() == 1);
        mc_string_free(manifest);
        CHECK(alive() == 0);
        mc_string_free(get(cache, "weather"));
        mc_free(cache);
        CHECK(alive() == 0);
        _exit(0);
    }
    wait_for(child);
    CHECK(alive() == 2);
    mc_free(cache);
    CHECK(alive() == 1);
    mc_string_free(manifest);
    CHECK(alive() == 0);
}

TEST(r12_a_child_forked_while_another_thread_keeps_values_ends_what_it_has_itself) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    idler it = {cache, STEPS, STEPS, NULL, NULL};
    pthread_t thread = start(idle, &it);
    await(&it.begun, 1);
    mc_string_free(get(cache, "mine"));
    pid_t child = fork();
    if (child == 0) {
        mc_free(cache);
        /* The other thread is not there to let go of its own. */
        CHECK(alive() == 1);
        _exit(0);
    }
    wait_for(child);
    CHECK(alive() == 2);
    step(&it.released);
    finish(thread);
    mc_free(cache);
    CHECK(alive() == 0);
}

static mc_cache *cache_at_exit;
static const char *string_at_exit;

static void end_at_exit(void) {
    mc_string_free(get(cache_at_exit, "at exit"));
    mc_clear(cache_at_exit, "weather");
    mc_free(cache_at_exit);
    CHECK(alive() == 1);
    mc_string_free(string_at_exit);
    _exit(alive() == 0 ? 0 : 1);
}

TEST(r18_values_end_once_in_functions_that_run_at_process_exit) {
    pid_t child = fork();
    if (child == 0) {
        CHECK(atexit(end_at_exit) == 0);
        cache_at_exit = mc_new(MC_TTL_FOREVER);
        string_at_exit = get(cache_at_exit, "kept");
        mc_string_free(get(cache_at_exit, "weather"));
        mc_string_free(get(cache_at_exit, "weather"));
        exit(1);
    }
    wait_for(child);
}
