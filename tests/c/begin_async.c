/* mc_begin_async(): a call that never waits, and the mc_done that is told the outcome later. */

#define _GNU_SOURCE

#include "loads.h"

#include <stdatomic.h>

TEST(a_wait_is_told_once_within_the_call_that_ends_the_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told it;
    mc_load *load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    CHECK(ends(load, SUN));
    CHECK(was_told(&it, SUN) && pthread_equal(it.thread, pthread_self()));
    CHECK(mc_stat(cache, MC_STAT_WAITS) == 1 && mc_stat(cache, MC_STAT_MISSES) == 1);
    mc_clear(cache, NULL);
    mc_purge(cache);
    mc_free(cache);
    CHECK(it.calls == 1);
}

TEST(a_wait_is_told_on_the_thread_that_ends_the_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told it;
    mc_load *load = begun(cache, "weather", MC_THREAD);
    pends(cache, "weather", NULL, &it);
    pthread_t thread = start(end_on_a_thread, load);
    finish(thread);
    CHECK(was_told(&it, SUN) && !pthread_equal(it.thread, pthread_self()));
    mc_free(cache);
}

static void load_and_pend(const char *plugin_id, mc_load *load, void *user_data) {
    call *it = user_data;
    hold(it);
    load_text(plugin_id, load, SUN);
}

TEST(a_wait_for_the_loader_of_a_get_is_told_before_that_get_returns) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading;
    told it;
    begin(&loading, cache, "weather", load_and_pend);
    pends(cache, "weather", NULL, &it);
    end(&loading);
    CHECK(was_told(&it, SUN) && pthread_equal(it.thread, loading.thread));
    mc_string_free(loading.manifest);
    mc_free(cache);
}

TEST(waits_are_told_in_the_order_in_which_they_began) {
    enum { MANY = 20 };
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told waits[MANY];
    mc_load *load = begun(cache, "weather", NULL);
    for (int n = 0; n < MANY; n++) {
        pends(cache, "weather", NULL, &waits[n]);
    }
    turns = 0;
    CHECK(ends(load, SUN));
    for (int n = 0; n < MANY; n++) {
        CHECK(was_told(&waits[n], SUN) && waits[n].turn == n);
    }
    mc_free(cache);
}

TEST(a_wait_shares_whatever_the_load_brings) {
    mc_cache *cache = mc_new(HOUR);
    told it;
    mc_load *load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    mc_load_not_found(load);
    CHECK(fails(load).status == MC_NOT_FOUND && was_refused(&it, MC_NOT_FOUND));

    load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    mc_load_fail(load, 7, "the disk is on fire");
    mc_error error = fails(load);
    CHECK(was_refused(&it, MC_LOAD_FAILED) && it.error.code == 7);
    CHECK(strcmp(it.error.message, error.message) == 0);

    load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    CHECK(mc_load_json(load, "{\n]", 3) == MC_INVALID_MANIFEST);
    CHECK(fails(load).status == MC_INVALID_MANIFEST);
    CHECK(was_refused(&it, MC_INVALID_MANIFEST) && it.error.line == 2);

    load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    CHECK(ends(load, "{}") && was_told(&it, "{}"));

    set(cache, MC_OPT_STALE_IF_ERROR_MS, HOUR);
    CHECK(put(cache, "weather", OLD) == MC_OK);
    mc_advance(cache, HOUR + 1000);
    load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    const char *manifest = mc_end(&load, &error);
    CHECK(manifest != NULL && error.status == MC_STALE);
    CHECK(it.calls == 1 && it.error.status == MC_STALE && strcmp(it.manifest, OLD) == 0);
    CHECK(strcmp(it.error.message, error.message) == 0);
    mc_string_free(manifest);
    mc_free(cache);
}

TEST(what_needs_no_wait_is_answered_at_once_and_done_is_never_called) {
    mc_cache *cache = mc_new(HOUR);
    mc_error error;
    mc_load *load = at_once(cache, "weather", NULL, MC_BEGUN, NULL, &error);
    CHECK(error.status == MC_OK && error.message[0] == '\0');
    at_once(cache, "weather", load, MC_LOAD_CYCLE, NULL, &error);
    CHECK(strstr(error.message, "weather -> weather") != NULL);
    CHECK(ends(load, SUN));
    at_once(cache, "weather", NULL, MC_OK, SUN, &error);
    CHECK(error.status == MC_OK);

    set(cache, MC_OPT_NEGATIVE_TTL_MS, HOUR);
    set(cache, MC_OPT_FAILURE_TTL_MS, HOUR);
    load = at_once(cache, "moon", NULL, MC_BEGUN, NULL, NULL);
    mc_load_not_found(load);
    fails(load);
    at_once(cache, "moon", NULL, MC_NOT_FOUND, NULL, &error);
    fails(at_once(cache, "tide", NULL, MC_BEGUN, NULL, NULL));
    at_once(cache, "tide", NULL, MC_LOAD_FAILED, NULL, &error);
    CHECK(error.status == MC_LOAD_FAILED && strstr(error.message, "tide") != NULL);

    set(cache, MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(cache, MC_OPT_RETRY_MS, HOUR);
    mc_advance(cache, HOUR + 1000);
    load = at_once(cache, "weather", NULL, MC_BEGUN, NULL, NULL);
    mc_string_free(mc_end(&load, &error));
    CHECK(error.status == MC_STALE);
    at_once(cache, "weather", NULL, MC_STALE, SUN, &error);
    CHECK(error.status == MC_STALE && error.message[0] != '\0');
    CHECK(mc_stat(cache, MC_STAT_WAITS) == 0);
    mc_free(cache);
}

TEST(r8_a_wait_for_a_load_that_a_clear_fences_gets_its_outcome_all_the_same) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told of_old, of_new;
    mc_load *old = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &of_old);
    mc_clear(cache, "weather");
    mc_load *second = at_once(cache, "weather", NULL, MC_BEGUN, NULL, NULL);
    pends(cache, "weather", NULL, &of_new);
    CHECK(ends(second, NEW) && of_old.calls == 0 && was_told(&of_new, NEW));
    CHECK(ends(old, OLD) && was_told(&of_old, OLD) && is_there(cache, "weather", NEW));
    mc_free(cache);
}

/* A cache in which waits last for an hour. */
static mc_cache *patient(void) {
    return cache_with(MC_OPT_WAIT_MS, HOUR);
}

TEST(r7_a_purge_ends_the_waits_whose_time_is_over_and_no_others) {
    mc_cache *cache = patient();
    told of_sun, of_moon, later;
    mc_load *sun = begun(cache, "sun", NULL), *moon = begun(cache, "moon", NULL);
    pends(cache, "sun", NULL, &of_sun);
    pends(cache, "moon", NULL, &of_moon);
    mc_advance(cache, HOUR / 2);
    pends(cache, "sun", NULL, &later);
    mc_purge(cache);
    CHECK(of_sun.calls == 0 && of_moon.calls == 0);
    mc_advance(cache, HOUR / 2);
    CHECK(of_sun.calls == 0); /* mc_advance() calls nobody */
    mc_purge(cache);
    CHECK(was_refused(&of_sun, MC_TIMEOUT) && strstr(of_sun.error.message, "sun") != NULL);
    CHECK(was_refused(&of_moon, MC_TIMEOUT) && later.calls == 0);
    CHECK(mc_stat(cache, MC_STAT_TIMEOUTS) == 2 && mc_stat(cache, MC_STAT_WAITS) == 3);
    CHECK(ends(sun, SUN) && ends(moon, RAIN));
    CHECK(of_sun.calls == 1 && of_moon.calls == 1 && was_told(&later, SUN));
    CHECK(is_there(cache, "sun", SUN)); /* a slow load is stored */
    mc_free(cache);
}

TEST(r7_the_next_get_that_misses_ends_the_waits_whose_time_is_over_and_begins_another_load) {
    mc_cache *cache = patient();
    told of_weather, of_moon;
    mc_load *slow = begun(cache, "weather", NULL), *moon = begun(cache, "moon", NULL);
    pends(cache, "weather", NULL, &of_weather);
    pends(cache, "moon", NULL, &of_moon);
    mc_advance(cache, HOUR);
    mc_load *second = begun(cache, "weather", NULL);
    CHECK(was_refused(&of_weather, MC_TIMEOUT) && of_moon.calls == 0);
    CHECK(ends(second, NEW) && ends(slow, OLD) && is_there(cache, "weather", NEW));
    CHECK(gives(cache, "moon", load_text, NEW, NEW) && was_refused(&of_moon, MC_TIMEOUT));
    CHECK(ends(moon, OLD) && is_there(cache, "moon", NEW));
    CHECK(of_weather.calls == 1 && of_moon.calls == 1);
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 2 && mc_stat(cache, MC_STAT_TIMEOUTS) == 2);
    mc_free(cache);
}

TEST(r7_with_a_limit_of_zero_a_wait_never_times_out) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 0);
    told it;
    mc_load *load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &it);
    mc_advance(cache, UINT64_C(1000000000));
    mc_purge(cache);
    CHECK(it.calls == 0 && ends(load, SUN) && was_told(&it, SUN));
    mc_free(cache);
}

TEST(a_free_tells_the_waits_that_the_load_failed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told waits[2];
    mc_load *load = begun(cache, "weather", NULL);
    pends(cache, "weather", NULL, &waits[0]);
    pends(cache, "weather", NULL, &waits[1]);
    turns = 0;
    mc_free(cache);
    for (int n = 0; n < 2; n++) {
        CHECK(was_refused(&waits[n], MC_LOAD_FAILED) && waits[n].turn == n);
        CHECK(strstr(waits[n].error.message, "weather") != NULL);
    }
    CHECK(ends(load, SUN) && waits[0].calls == 1 && waits[1].calls == 1);
}

/* What an mc_done does with the cache, and what it found. */
typedef struct {
    mc_cache *cache, *other;
    int calls;
    mc_status status;
    told of_its_own;
    mc_load *load;
} visit;

static void silent(mc_log_level level, const char *message, void *user_data) {
    (void)level, (void)message, (void)user_data;
}

/* Calls each function, which it could not if a lock were held: one would wait for ever. */
static void use_everything(mc_cache *cache) {
    mc_error error;
    mc_load *load = begun(cache, "a plugin of its own", NULL);
    told waiting;
    pends(cache, "a plugin of its own", NULL, &waiting);
    mc_load_ttl(load, HOUR);
    CHECK(mc_load_cached(load) == NULL);
    CHECK(ends(load, SUN) && was_told(&waiting, SUN));
    CHECK(gives(cache, "another", load_text, SUN, SUN));
    CHECK(mc_revision(cache, "another") != 0 && mc_clear(cache, "another") == 1);
    CHECK(mc_put(cache, "another", SUN, strlen(SUN), &error) == MC_OK);
    CHECK(mc_set_option(cache, MC_OPT_MAX_ENTRIES, 100) == MC_OK);
    mc_set_logger(cache, silent, NULL, MC_LOG_DEBUG);
    mc_set_logger(cache, NULL, NULL, MC_LOG_OFF);
    mc_string_free(mc_stats(cache));
    mc_string_free(mc_entries(cache));
    mc_advance(cache, 1);
    mc_purge(cache);
    CHECK(mc_clear(cache, "a plugin of its own") == 1);
    mc_free(mc_new(MC_TTL_FOREVER));
}

static void use_everything_when_done(const char *manifest, const mc_error *error, void *user_data) {
    visit *it = user_data;
    it->calls++;
    it->status = error->status;
    use_everything(it->cache);
    use_everything(it->other);
    CHECK((manifest != NULL) == (error->status == MC_OK));
    mc_string_free(manifest);
}

TEST(done_can_call_every_function_because_no_lock_is_held) {
    visit it = {.cache = mc_new(MC_TTL_FOREVER), .other = mc_new(MC_TTL_FOREVER)};
    set(it.cache, MC_OPT_WAIT_MS, HOUR);
    mc_load *load = begun(it.cache, "weather", MC_THREAD);
    pends_for(it.cache, "weather", NULL, use_everything_when_done, &it);
    CHECK(ends(load, SUN) && it.calls == 1 && it.status == MC_OK);

    load = begun(it.cache, "moon", NULL);
    pends_for(it.cache, "moon", NULL, use_everything_when_done, &it);
    mc_advance(it.cache, HOUR);
    mc_purge(it.cache);
    CHECK(it.calls == 2 && it.status == MC_TIMEOUT && ends(load, SUN));

    load = begun(it.cache, "tide", NULL);
    pends_for(it.cache, "tide", NULL, use_everything_when_done, &it);
    mc_advance(it.cache, HOUR);
    CHECK(gives(it.cache, "tide", load_text, NEW, NEW) && it.calls == 3 && ends(load, OLD));

    load = begun(it.other, "weather", NULL);
    pends_for(it.other, "weather", NULL, note, &it.of_its_own);
    mc_free(it.other);
    CHECK(was_refused(&it.of_its_own, MC_LOAD_FAILED) && ends(load, SUN));
    mc_free(it.cache);
}

static void look_when_done(const char *manifest, const mc_error *error, void *user_data) {
    visit *it = user_data;
    it->calls++;
    CHECK(error->status == MC_OK && is_there(it->cache, "weather", manifest));
    CHECK(mc_revision(it->cache, "weather") == mc_string_revision(manifest));
    mc_string_free(manifest);
}

TEST(the_outcome_is_stored_before_done_is_called) {
    visit it = {.cache = mc_new(MC_TTL_FOREVER)};
    mc_load *load = begun(it.cache, "weather", NULL);
    pends_for(it.cache, "weather", NULL, look_when_done, &it);
    CHECK(ends(load, SUN) && it.calls == 1);
    mc_free(it.cache);
}

static void begin_again_when_done(const char *manifest, const mc_error *error, void *user_data) {
    visit *it = user_data;
    it->calls++;
    it->status = error->status;
    mc_string_free(manifest);
    it->load = begun(it->cache, "weather", NULL);
    pends(it->cache, "weather", NULL, &it->of_its_own);
}

TEST(done_can_begin_a_load_of_the_same_plugin_and_others_can_wait_for_that) {
    visit it = {.cache = mc_new(0)};
    told second;
    mc_load *load = begun(it.cache, "weather", NULL);
    pends_for(it.cache, "weather", NULL, begin_again_when_done, &it);
    pends(it.cache, "weather", NULL, &second);
    CHECK(ends(load, OLD) && it.calls == 1 && it.status == MC_OK && was_told(&second, OLD));
    CHECK(it.of_its_own.calls == 0 && ends(it.load, NEW) && was_told(&it.of_its_own, NEW));
    mc_free(it.cache);
}

static void get_when_done(const char *manifest, const mc_error *error, void *user_data) {
    visit *it = user_data;
    it->calls++;
    it->status = error->status;
    CHECK(manifest == NULL && gives(it->cache, "weather", load_text, NEW, NEW));
}

/* Otherwise the thread would wait for itself. */
TEST(a_get_that_ends_the_waits_of_others_begins_its_load_after_that) {
    visit it = {.cache = patient()};
    mc_load *load = begun(it.cache, "weather", NULL);
    pends_for(it.cache, "weather", NULL, get_when_done, &it);
    mc_advance(it.cache, HOUR);
    CHECK(is_there(it.cache, "weather", NEW) && it.calls == 1 && it.status == MC_TIMEOUT);
    CHECK(ends(load, OLD) && is_there(it.cache, "weather", NEW));
    mc_free(it.cache);
}

static void end_when_done(const char *manifest, const mc_error *error, void *user_data) {
    visit *it = user_data;
    it->calls++;
    it->status = error->status;
    mc_string_free(manifest);
    CHECK(ends(it->load, RAIN));
}

TEST(done_can_end_another_load_and_that_tells_its_waits) {
    visit it = {.cache = mc_new(MC_TTL_FOREVER)};
    mc_load *sun = begun(it.cache, "sun", NULL);
    it.load = begun(it.cache, "weather", NULL);
    pends_for(it.cache, "sun", it.load, end_when_done, &it);
    pends(it.cache, "weather", NULL, &it.of_its_own);
    CHECK(ends(sun, SUN) && it.calls == 1 && was_told(&it.of_its_own, RAIN));
    mc_free(it.cache);
}

TEST(a_wait_whose_time_is_over_is_in_no_cycle) {
    mc_cache *cache = patient();
    told it, other;
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", NULL);
    pends(cache, "b", a, &it);
    CHECK(refused(cache, "a", b).status == MC_LOAD_CYCLE);
    mc_advance(cache, HOUR);
    mc_purge(cache);
    CHECK(was_refused(&it, MC_TIMEOUT));
    pends(cache, "a", b, &other);
    CHECK(ends(a, SUN) && was_told(&other, SUN) && ends(b, SUN));
    mc_free(cache);
}

/* A load that another thread ends, while this one does something that ends the wait for it. */
typedef struct {
    mc_load *load;
    steps ready;
} race;

static void *end_in_the_race(void *argument) {
    race *it = argument;
    meet(&it->ready, 2);
    CHECK(ends(it->load, SUN));
    return NULL;
}

/* Whether the wait was told once, in each of so many races: of the end, or of this error. */
static void race_with_the_end(void (*other)(mc_cache *), mc_status status) {
    for (int n = 0; n < 500; n++) {
        mc_cache *cache = patient();
        race it = {begun(cache, "weather", NULL), STEPS};
        told waiting;
        pends(cache, "weather", NULL, &waiting);
        mc_advance(cache, HOUR);
        pthread_t thread = start(end_in_the_race, &it);
        meet(&it.ready, 2);
        other(cache);
        finish(thread);
        CHECK(was_told(&waiting, SUN) || was_refused(&waiting, status));
        if (other != mc_free) {
            mc_free(cache);
        }
    }
}

static void purge(mc_cache *cache) {
    mc_purge(cache);
}

TEST(a_time_out_and_an_end_at_the_same_time_tell_a_wait_once) {
    race_with_the_end(purge, MC_TIMEOUT);
}

TEST(a_free_and_an_end_at_the_same_time_tell_a_wait_once) {
    race_with_the_end(mc_free, MC_LOAD_FAILED);
}

/* Threads that begin, wait and end. Each wait is told once. */
enum { THREADS = 4, ROUNDS = 2000 };

static mc_cache *crowded;
static atomic_int pending, done_calls;

static void count_done(const char *manifest, const mc_error *error, void *user_data) {
    CHECK(atomic_fetch_add((atomic_int *)user_data, 1) == 0);
    CHECK((manifest != NULL) == (error->status == MC_OK));
    CHECK(manifest != NULL || error->status == MC_TIMEOUT);
    mc_string_free(manifest);
    atomic_fetch_add(&done_calls, 1);
}

static atomic_int told_calls[THREADS][ROUNDS];

static void *begin_and_end(void *argument) {
    atomic_int *calls = argument;
    for (int n = 0; n < ROUNDS; n++) {
        mc_load *load;
        const char *manifest;
        mc_status status = mc_begin_async(crowded, n % 2 ? "odd" : "even", NULL, count_done,
                                          &calls[n], &load, &manifest, NULL);
        CHECK(status == MC_OK || status == MC_BEGUN || status == MC_PENDING);
        if (status == MC_BEGUN) {
            CHECK(ends(load, SUN));
        } else if (status == MC_PENDING) {
            atomic_fetch_add(&pending, 1);
        }
        CHECK(status == MC_PENDING || atomic_load(&calls[n]) == 0);
        mc_string_free(manifest);
        if (n % 16 == 0) {
            mc_advance(crowded, 2);
            mc_purge(crowded);
        }
    }
    return NULL;
}

TEST(r15_each_wait_is_told_exactly_once_on_whichever_thread) {
    pthread_t threads[THREADS];
    crowded = mc_new(0);
    set(crowded, MC_OPT_WAIT_MS, 1);
    /* A load that only a time-out ends the waits for, so that there are waits on any machine. */
    mc_load *slow = begun(crowded, "even", NULL);
    for (int n = 0; n < THREADS; n++) {
        threads[n] = start(begin_and_end, told_calls[n]);
    }
    for (int n = 0; n < THREADS; n++) {
        finish(threads[n]);
    }
    CHECK(ends(slow, SUN));
    CHECK(atomic_load(&pending) > 0 && atomic_load(&pending) == atomic_load(&done_calls));
    /* A call can find that the load it is to wait for has just ended. */
    CHECK(mc_stat(crowded, MC_STAT_WAITS) >= (uint64_t)atomic_load(&pending));
    CHECK(mc_stat(crowded, MC_STAT_WAITS) + mc_stat(crowded, MC_STAT_MISSES) ==
          THREADS * ROUNDS + 1);
    mc_free(crowded);
}
