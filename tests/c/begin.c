/* mc_begin() and mc_end(): loads that begin and end without a callback. The rules hold for them as
 * for mc_get(), and for all ways on one plugin. */

#define _GNU_SOURCE

#include "loads.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Each way to get a manifest, as a function that is called as mc_get() is. */
typedef const char *(*way)(mc_cache *, const char *, mc_loader, void *, mc_error *);

static const char *by_begin(mc_cache *cache, const char *plugin_id, mc_loader answer,
                            void *user_data, mc_error *error) {
    mc_load *load;
    const char *manifest;
    if (mc_begin(cache, plugin_id, NULL, &load, &manifest, error) == MC_BEGUN) {
        answer(plugin_id, load, user_data);
        manifest = mc_end(&load, error);
    }
    return manifest;
}

static const char *by_begin_async(mc_cache *cache, const char *plugin_id, mc_loader answer,
                                  void *user_data, mc_error *error) {
    mc_load *load;
    const char *manifest;
    mc_status status =
        mc_begin_async(cache, plugin_id, MC_THREAD, note, NULL, &load, &manifest, error);
    CHECK(status != MC_PENDING);
    if (status == MC_BEGUN) {
        answer(plugin_id, load, user_data);
        manifest = mc_end(&load, error);
    }
    return manifest;
}

typedef struct {
    const char *plugin_id;
    mc_loader answer;
    void *user_data;
    mc_load *load;
    const char *manifest;
    mc_error *error;
} errand;

static void *run_errand(void *argument) {
    errand *it = argument;
    it->answer(it->plugin_id, it->load, it->user_data);
    it->manifest = mc_end(&it->load, it->error);
    return NULL;
}

/* The load is answered and ended on another thread. */
static const char *by_another_thread(mc_cache *cache, const char *plugin_id, mc_loader answer,
                                     void *user_data, mc_error *error) {
    errand it = {plugin_id, answer, user_data, NULL, NULL, error};
    if (mc_begin(cache, plugin_id, MC_THREAD, &it.load, &it.manifest, error) == MC_BEGUN) {
        finish(start(run_errand, &it));
        CHECK(it.load == NULL);
    }
    return it.manifest;
}

static const way ways[] = {mc_get, by_begin, by_begin_async, by_another_thread};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* Runs a test for each way before each other way, and for each way twice. */
static void for_each_two_ways(void (*run)(way first, way second)) {
    for (int first = 0; first < WAYS; first++) {
        for (int second = 0; second < WAYS; second++) {
            run(ways[first], ways[second]);
        }
    }
}

/* Whether a way returns this text with this status, or with no text this error. */
static int got(way get, mc_cache *cache, mc_loader loader, void *user_data, mc_status status,
               const char *text) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    const char *manifest = get(cache, "weather", loader, user_data, &error);
    int same = error.status == status && (manifest == NULL) == (text == NULL) &&
               (manifest == NULL || strcmp(manifest, text) == 0);
    if (!same) {
        fprintf(stderr, "got %d, %s, %s\n", error.status, manifest, error.message);
    }
    mc_string_free(manifest);
    return same;
}

static void load_missing(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_not_found(load);
}

static void load_broken(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_json(load, "{]", 2) == MC_INVALID_MANIFEST);
}

static void a_manifest_is_shared_between(way first, way second) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(got(first, cache, load_text, SUN, MC_OK, SUN));
    CHECK(got(second, cache, load_never, NULL, MC_OK, SUN));
    CHECK(mc_stat(cache, MC_STAT_HITS) == 1 && mc_stat(cache, MC_STAT_MISSES) == 1);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 1 && mc_stat(cache, MC_STAT_WAITS) == 0);
    mc_free(cache);
}

TEST(r1_what_one_way_loads_is_a_hit_for_each_other) {
    for_each_two_ways(a_manifest_is_shared_between);
}

static void errors_are_not_remembered(way first, way second) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(got(first, cache, load_missing, NULL, MC_NOT_FOUND, NULL));
    CHECK(got(second, cache, load_failure, NULL, MC_LOAD_FAILED, NULL));
    CHECK(got(first, cache, load_broken, NULL, MC_INVALID_MANIFEST, NULL));
    CHECK(got(second, cache, load_silently, NULL, MC_LOAD_FAILED, NULL));
    CHECK(got(first, cache, load_text, SUN, MC_OK, SUN));
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 5 && mc_stat(cache, MC_STAT_MISSES) == 5);
    CHECK(mc_stat(cache, MC_STAT_LOAD_FAILURES) == 3 && mc_stat(cache, MC_STAT_NOT_FOUND) == 1);
    mc_free(cache);
}

TEST(r10_no_way_remembers_an_error) {
    for_each_two_ways(errors_are_not_remembered);
}

static void an_empty_manifest_is_not_cached(way first, way second) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(got(first, cache, load_text, "{}", MC_OK, "{}"));
    CHECK(got(second, cache, load_text, SUN, MC_OK, SUN));
    mc_free(cache);
}

TEST(r5_an_empty_manifest_is_returned_but_not_cached_by_any_way) {
    for_each_two_ways(an_empty_manifest_is_not_cached);
}

static void not_found_is_remembered(way first, way second) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, HOUR);
    CHECK(got(first, cache, load_missing, NULL, MC_NOT_FOUND, NULL));
    CHECK(got(second, cache, load_never, NULL, MC_NOT_FOUND, NULL));
    CHECK(mc_stat(cache, MC_STAT_NEGATIVE_HITS) == 1);
    mc_advance(cache, HOUR + 1000);
    CHECK(got(second, cache, load_text, SUN, MC_OK, SUN));
    mc_free(cache);
}

TEST(not_found_is_remembered_for_each_way) {
    for_each_two_ways(not_found_is_remembered);
}

static void failures_are_remembered(way first, way second) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, HOUR);
    CHECK(got(first, cache, load_failure, NULL, MC_LOAD_FAILED, NULL));
    CHECK(got(second, cache, load_never, NULL, MC_LOAD_FAILED, NULL));
    CHECK(mc_stat(cache, MC_STAT_NEGATIVE_HITS) == 1);
    mc_advance(cache, HOUR + 1000);
    CHECK(got(second, cache, load_text, SUN, MC_OK, SUN));
    mc_free(cache);
}

TEST(failures_are_remembered_for_each_way) {
    for_each_two_ways(failures_are_remembered);
}

static void stale_if_error(way first, way second) {
    mc_cache *cache = mc_new(HOUR);
    set(cache, MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(cache, MC_OPT_RETRY_MS, HOUR / 4);
    CHECK(got(first, cache, load_text, OLD, MC_OK, OLD));
    mc_advance(cache, HOUR + 1000);
    CHECK(got(first, cache, load_failure, NULL, MC_STALE, OLD));
    CHECK(got(second, cache, load_never, NULL, MC_STALE, OLD));
    CHECK(mc_stat(cache, MC_STAT_STALE_HITS) == 1 && mc_stat(cache, MC_STAT_LOADS) == 2);
    mc_advance(cache, HOUR / 4 + 1000);
    CHECK(got(second, cache, load_unchanged, NULL, MC_OK, OLD));
    CHECK(got(first, cache, load_never, NULL, MC_OK, OLD));
    mc_advance(cache, 2 * HOUR + 1000);
    CHECK(got(second, cache, load_failure, NULL, MC_LOAD_FAILED, NULL));
    mc_free(cache);
}

TEST(stale_if_error_holds_for_each_way) {
    for_each_two_ways(stale_if_error);
}

static void load_cached_for_a_while(const char *plugin_id, mc_load *load, void *user_data) {
    CHECK(strcmp(mc_load_cached(load), OLD) == 0 && mc_string_revision(mc_load_cached(load)) != 0);
    mc_load_ttl(load, 2 * HOUR);
    load_text(plugin_id, load, user_data);
}

static void a_load_sees_what_it_replaces(way first, way second) {
    mc_cache *cache = mc_new(HOUR);
    CHECK(got(first, cache, load_text, OLD, MC_OK, OLD));
    mc_advance(cache, HOUR + 1000);
    CHECK(got(second, cache, load_cached_for_a_while, NEW, MC_OK, NEW));
    mc_advance(cache, HOUR + 1000);
    CHECK(got(first, cache, load_never, NULL, MC_OK, NEW));
    mc_free(cache);
}

TEST(a_load_sees_the_manifest_it_replaces_and_sets_a_time_to_live_in_each_way) {
    for_each_two_ways(a_load_sees_what_it_replaces);
}

/* A cache in which an expired manifest is being reloaded by a load that has begun. */
static mc_cache *reloading(mc_load **load) {
    mc_cache *cache = mc_new(HOUR);
    CHECK(gives(cache, "weather", load_text, OLD, OLD));
    set(cache, MC_OPT_STALE_WHILE_REVALIDATE_MS, HOUR);
    mc_advance(cache, HOUR + 1000);
    *load = begun(cache, "weather", NULL);
    return cache;
}

TEST(stale_while_revalidate_answers_each_way_while_a_begun_load_goes_on) {
    mc_load *load;
    mc_cache *cache = reloading(&load);
    for (int n = 0; n < WAYS; n++) {
        CHECK(got(ways[n], cache, load_never, NULL, MC_OK, OLD));
    }
    CHECK(mc_stat(cache, MC_STAT_STALE_HITS) == WAYS && mc_stat(cache, MC_STAT_WAITS) == 0);
    CHECK(ends(load, NEW) && is_there(cache, "weather", NEW));
    mc_free(cache);
}

static void get_while_revalidating(const char *plugin_id, mc_load *load, void *cache) {
    CHECK(is_there(cache, "weather", OLD));
    at_once(cache, "weather", NULL, MC_OK, OLD, NULL);
    load_text(plugin_id, load, NEW);
}

TEST(stale_while_revalidate_answers_begin_while_a_loader_runs) {
    mc_load *load;
    mc_cache *cache = reloading(&load);
    mc_clear(cache, NULL);
    CHECK(ends(load, SUN) && gives(cache, "weather", load_text, OLD, OLD));
    mc_advance(cache, HOUR + 1000);
    CHECK(gives(cache, "weather", get_while_revalidating, cache, NEW));
    mc_free(cache);
}

static void nothing_is_kept_with_a_ttl_of_zero(way first, way second) {
    mc_cache *cache = mc_new(0);
    CHECK(got(first, cache, load_text, SUN, MC_OK, SUN));
    CHECK(got(second, cache, load_text, RAIN, MC_OK, RAIN));
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 2 && mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(with_a_time_to_live_of_zero_no_way_caches_anything) {
    for_each_two_ways(nothing_is_kept_with_a_ttl_of_zero);
}

/* The statistics after one of everything, without the time that loads took. */
static void statistics_of(way get, char text[512]) {
    mc_cache *cache = mc_new(HOUR);
    got(get, cache, load_missing, NULL, MC_NOT_FOUND, NULL);
    got(get, cache, load_failure, NULL, MC_LOAD_FAILED, NULL);
    got(get, cache, load_text, SUN, MC_OK, SUN);
    got(get, cache, load_never, NULL, MC_OK, SUN);
    mc_advance(cache, HOUR + 1000);
    got(get, cache, load_unchanged, NULL, MC_OK, SUN);
    mc_clear(cache, NULL);
    set(cache, MC_OPT_FAILURE_TTL_MS, HOUR);
    got(get, cache, load_broken, NULL, MC_INVALID_MANIFEST, NULL);
    got(get, cache, load_never, NULL, MC_INVALID_MANIFEST, NULL);
    const char *stats = mc_stats(cache);
    const char *time = strstr(stats, "\"load_time_ms\":");
    int before = (int)(time - stats);
    snprintf(text, 512, "%.*s%s", before, stats, strchr(time, ','));
    mc_string_free(stats);
    mc_free(cache);
}

TEST(each_way_is_counted_alike) {
    char expected[512], counted[512];
    statistics_of(mc_get, expected);
    CHECK(strstr(expected, "\"misses\":5") != NULL);
    for (int n = 1; n < WAYS; n++) {
        statistics_of(ways[n], counted);
        CHECK(strcmp(counted, expected) == 0);
    }
}

/* A thread that gets a plugin another caller is loading. */
typedef struct {
    mc_cache *cache;
    way get;
    mc_error error;
    char manifest[64];
    steps begun;
} waiter;

static void *get_and_note(void *argument) {
    waiter *it = argument;
    step(&it->begun);
    const char *manifest = it->get(it->cache, "weather", load_too_late, NULL, &it->error);
    snprintf(it->manifest, sizeof it->manifest, "%s", manifest != NULL ? manifest : "");
    mc_string_free(manifest);
    return NULL;
}

/*
 * Ends a load with this answer while another thread waits for it, if that thread is quick enough:
 * see shared(). The caller begins another load if it was not.
 */
static int waited_for(mc_load *load, mc_loader answer, waiter *other) {
    static int tries = 0;
    CHECK(++tries <= 400);
    uint64_t waits = mc_stat(other->cache, MC_STAT_WAITS);
    pthread_t thread = start(get_and_note, other);
    await(&other->begun, 1);
    pause_ms(20);
    answer("weather", load, SUN);
    mc_string_free(mc_end(&load, NULL));
    finish(thread);
    other->begun.count = 0;
    if (mc_stat(other->cache, MC_STAT_WAITS) == waits) {
        mc_clear(other->cache, NULL);
        return 0;
    }
    return 1;
}

static void share(way get, mc_loader answer, waiter *other) {
    waiter fresh = {mc_new(MC_TTL_FOREVER), get, {0, 0, 0, 0, ""}, "", STEPS};
    *other = fresh;
    while (!waited_for(begun(other->cache, "weather", NULL), answer, other)) {
    }
    mc_free(other->cache);
}

TEST(r7_a_thread_waits_for_a_load_that_has_begun_and_shares_whatever_it_brings) {
    const way waiting[] = {mc_get, by_begin};
    for (int n = 0; n < 2; n++) {
        waiter other;
        share(waiting[n], load_text, &other);
        CHECK(other.error.status == MC_OK && strcmp(other.manifest, SUN) == 0);
        share(waiting[n], load_failure, &other);
        CHECK(other.error.status == MC_LOAD_FAILED && other.error.code == 7);
        share(waiting[n], load_silently, &other);
        CHECK(other.error.status == MC_LOAD_FAILED);
        CHECK(strstr(other.error.message, "weather") != NULL);
    }
}

static void *begin_and_note(void *argument) {
    call *it = argument;
    mc_load *load;
    step(&it->begun);
    mc_status status = mc_begin(it->cache, it->plugin_id, NULL, &load, &it->manifest, &it->error);
    CHECK(status == it->error.status && load == NULL);
    return NULL;
}

TEST(r7_begin_waits_for_the_loader_of_a_get) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading, waiting;
    begin(&loading, cache, "weather", hold_then_new);
    begin_on(begin_and_note, &waiting, cache, "weather", NULL);
    await(&waiting.begun, 1);
    pause_ms(20); /* if it is later than that, it gets a hit */
    end(&loading);
    finish(waiting.thread);
    CHECK(strcmp(loading.manifest, NEW) == 0 && strcmp(waiting.manifest, NEW) == 0);
    CHECK(mc_stat(cache, MC_STAT_WAITS) + mc_stat(cache, MC_STAT_HITS) == 1);
    mc_string_free(loading.manifest);
    mc_string_free(waiting.manifest);
    mc_free(cache);
}

TEST(r7_loads_of_different_plugins_go_on_at_the_same_time_on_one_thread) {
    enum { MANY = 10 };
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *loads[MANY];
    for (int n = 0; n < MANY; n++) {
        char id[] = {(char)('a' + n), '\0'};
        loads[n] = begun(cache, id, NULL);
    }
    for (int n = MANY; n-- > 0;) {
        CHECK(ends(loads[n], SUN));
    }
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == MANY);
    mc_free(cache);
}

static atomic_int has_returned;

static void *await_time_out(void *argument) {
    waiter *it = argument;
    get_and_note(it);
    atomic_store(&has_returned, 1);
    return NULL;
}

TEST(
    r7_a_wait_for_a_begun_load_times_out_but_its_outcome_is_stored_unless_a_later_load_ends_first) {
    const way waiting[] = {mc_get, by_begin};
    for (int n = 0; n < 2; n++) {
        waiter other = {cache_with(MC_OPT_WAIT_MS, HOUR), waiting[n], {0, 0, 0, 0, ""}, "", STEPS};
        mc_load *slow = begun(other.cache, "weather", NULL);
        atomic_store(&has_returned, 0);
        pthread_t thread = start(await_time_out, &other);
        while (!atomic_load(&has_returned)) {
            mc_advance(other.cache, HOUR);
            pause_ms(1);
        }
        finish(thread);
        CHECK(other.error.status == MC_TIMEOUT && mc_stat(other.cache, MC_STAT_TIMEOUTS) == 1);
        mc_load *second = begun(other.cache, "weather", NULL);
        if (n == 0) {
            CHECK(ends(slow, OLD) && is_there(other.cache, "weather", OLD));
            CHECK(ends(second, NEW) && is_there(other.cache, "weather", NEW));
        } else {
            CHECK(ends(second, NEW) && ends(slow, OLD) && is_there(other.cache, "weather", NEW));
            CHECK(mc_stat(other.cache, MC_STAT_DISCARDED) == 1);
        }
        mc_free(other.cache);
    }
}

static void clear_all(mc_cache *cache) {
    mc_clear(cache, NULL);
}

static void clear_one(mc_cache *cache) {
    mc_clear(cache, "weather");
}

TEST(r8_a_clear_fences_a_begun_load) {
    void (*const clears[])(mc_cache *) = {clear_one, clear_all};
    for (int n = 0; n < 2; n++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        mc_load *old = begun(cache, "weather", NULL);
        clears[n](cache);
        mc_load *second = begun(cache, "weather", NULL);
        CHECK(ends(old, OLD) && mc_stat(cache, MC_STAT_DISCARDED) == 1);
        CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
        CHECK(ends(second, NEW) && is_there(cache, "weather", NEW));
        mc_free(cache);
    }
}

TEST(r8_after_a_clear_each_way_loads_again_although_a_begun_load_goes_on) {
    for (int n = 0; n < WAYS; n++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        mc_load *old = begun(cache, "weather", NULL);
        mc_clear(cache, "weather");
        CHECK(got(ways[n], cache, load_text, NEW, MC_OK, NEW));
        CHECK(ends(old, OLD) && is_there(cache, "weather", NEW));
        mc_free(cache);
    }
}

TEST(r8_a_put_is_newer_than_a_begun_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *old = begun(cache, "weather", NULL);
    CHECK(put(cache, "weather", NEW) == MC_OK);
    CHECK(is_there(cache, "weather", NEW));
    CHECK(ends(old, OLD) && is_there(cache, "weather", NEW));
    mc_free(cache);
}

TEST(a_load_without_an_answer_fails_with_a_message_that_says_so) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = fails(begun(cache, "weather", NULL));
    CHECK(error.status == MC_LOAD_FAILED && strstr(error.message, "weather") != NULL);
    CHECK(strstr(error.message, "answer") != NULL);
    mc_free(cache);
}

TEST(the_last_answer_counts) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *load = begun(cache, "weather", NULL);
    mc_load_fail(load, 5, "no sun today");
    CHECK(mc_load_directory(load, "no/such/directory") == MC_NOT_FOUND);
    CHECK(mc_load_unchanged(load) == MC_INVALID_ARGUMENT && mc_load_cached(load) == NULL);
    CHECK(ends(load, SUN));
    mc_free(cache);
}

TEST(an_error_is_optional) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *load;
    const char *manifest;
    CHECK(mc_begin(cache, "weather", NULL, &load, &manifest, NULL) == MC_BEGUN);
    CHECK(mc_end(&load, NULL) == NULL && load == NULL);
    CHECK(mc_begin(cache, "weather", NULL, &load, &manifest, NULL) == MC_BEGUN);
    CHECK(ends(load, SUN));
    CHECK(mc_begin(cache, "weather", NULL, &load, &manifest, NULL) == MC_OK);
    mc_string_free(manifest);
    mc_free(cache);
}

static void refuses(mc_status status, const mc_error *error, mc_load *load, const char *manifest) {
    CHECK(status == MC_INVALID_ARGUMENT && error->status == MC_INVALID_ARGUMENT);
    CHECK(error->message[0] != '\0' && load == NULL && manifest == NULL);
}

TEST(null_and_an_id_that_is_not_utf8_are_invalid_arguments) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_cache *const caches[] = {NULL, cache, cache};
    const char *const ids[] = {"a", NULL, "\xff"};
    for (int n = 0; n < 3; n++) {
        mc_load *load = (mc_load *)&load;
        const char *manifest = SUN;
        mc_error error;
        mc_status status = mc_begin(caches[n], ids[n], NULL, &load, &manifest, &error);
        refuses(status, &error, load, manifest);
        load = (mc_load *)&load;
        manifest = SUN;
        status = mc_begin_async(caches[n], ids[n], NULL, note, NULL, &load, &manifest, &error);
        refuses(status, &error, load, manifest);
    }
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 0 && mc_stat(cache, MC_STAT_MISSES) == 0);
    mc_free(cache);
}

/* Which of the arguments that it needs a call is given. */
static void call_without(mc_cache *cache, int no_load, int no_manifest, mc_done done) {
    mc_load *load = (mc_load *)&load, **where_load = no_load ? NULL : &load;
    const char *manifest = SUN, **where_manifest = no_manifest ? NULL : &manifest;
    mc_error error;
    mc_status status =
        mc_begin_async(cache, "a", NULL, done, NULL, where_load, where_manifest, &error);
    refuses(status, &error, no_load ? NULL : load, no_manifest ? NULL : manifest);
    if (no_load || no_manifest) {
        load = (mc_load *)&load;
        manifest = SUN;
        status = mc_begin(cache, "a", NULL, where_load, where_manifest, &error);
        refuses(status, &error, no_load ? NULL : load, no_manifest ? NULL : manifest);
    }
}

TEST(null_for_a_result_or_for_done_is_an_invalid_argument_even_on_a_hit) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int is_hit = 0; is_hit < 2; is_hit++) {
        call_without(cache, 1, 0, note);
        call_without(cache, 0, 1, note);
        call_without(cache, 1, 1, note);
        call_without(cache, 0, 0, NULL);
        CHECK(mc_stat(cache, MC_STAT_LOADS) == 0 && mc_stat(cache, MC_STAT_HITS) == 0);
        CHECK(put(cache, "a", SUN) == MC_OK);
    }
    mc_free(cache);
}

TEST(to_end_no_load_is_an_invalid_argument) {
    mc_error error;
    mc_load *none = NULL;
    CHECK(mc_end(NULL, &error) == NULL && error.status == MC_INVALID_ARGUMENT);
    CHECK(mc_end(&none, &error) == NULL && error.status == MC_INVALID_ARGUMENT);
    CHECK(mc_end(&none, NULL) == NULL);
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *load = begun(cache, "a", NULL);
    CHECK(mc_end(&load, NULL) == NULL);
    CHECK(mc_end(&load, &error) == NULL && error.status == MC_INVALID_ARGUMENT);
    mc_free(cache);
}

static void end_its_own_load(const char *plugin_id, mc_load *load, void *user_data) {
    mc_load *same = load;
    mc_error error;
    (void)user_data;
    CHECK(mc_end(&same, &error) == NULL && error.status == MC_INVALID_ARGUMENT);
    CHECK(same == load && strstr(error.message, "mc_get") != NULL);
    load_text(plugin_id, load, SUN);
}

TEST(a_loader_cannot_end_its_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", end_its_own_load, NULL, SUN));
    mc_free(cache);
}

#if DEBUG_LIBRARY
/* Uses of a load after its end, each of which is an error of the caller. */
static void answer_it(mc_cache *cache, mc_load *ended) {
    (void)cache;
    mc_load_json(ended, SUN, strlen(SUN));
}

static void end_it(mc_cache *cache, mc_load *ended) {
    (void)cache;
    mc_end(&ended, NULL);
}

static void begin_within_it(mc_cache *cache, mc_load *ended) {
    mc_load *load;
    const char *manifest;
    mc_begin(cache, "b", ended, &load, &manifest, NULL);
}

static void read_it(mc_cache *cache, mc_load *ended) {
    (void)cache;
    mc_load_cached(ended);
}

TEST(a_debug_library_ends_the_process_that_uses_a_load_after_its_end) {
    void (*const uses[])(mc_cache *, mc_load *) = {answer_it, end_it, begin_within_it, read_it};
    for (int n = 0; n < 4; n++) {
        pid_t child = fork();
        if (child == 0) {
            const struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            mc_cache *cache = mc_new(MC_TTL_FOREVER);
            mc_load *load = begun(cache, "a", NULL), *ended = load;
            CHECK(ends(load, SUN));
            CHECK(freopen("said", "w", stderr) != NULL);
            uses[n](cache, ended);
            _exit(0);
        }
        int status;
        char said[256] = "";
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        FILE *file = fopen("said", "r");
        CHECK(file != NULL && fgets(said, sizeof said, file) != NULL);
        CHECK(strstr(said, "used after mc_end()") != NULL);
        fclose(file);
    }
}

#endif

TEST(a_begun_load_can_end_after_its_cache_was_freed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", a),
            *c = begun(cache, "c", MC_THREAD);
    told of_a;
    pends(cache, "a", NULL, &of_a);
    mc_free(cache);
    CHECK(was_refused(&of_a, MC_LOAD_FAILED) && strstr(of_a.error.message, "freed") != NULL);
    CHECK(ends(b, SUN));
    CHECK(mc_load_file(a, "no/such/file") == MC_NOT_FOUND);
    CHECK(fails(a).status == MC_NOT_FOUND);
    finish(start(end_on_a_thread, c));
    CHECK(of_a.calls == 1);
}

/* Ends a load in a child and expects this text of it, which the child's cache does not store. */
static void end_in_child(mc_cache *cache, mc_load *load, const told *waiting) {
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        CHECK(ends(load, OLD) && waiting->calls == 0);
        CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
        CHECK(ends(begun(cache, "weather", NULL), NEW) && is_there(cache, "weather", NEW));
        mc_free(cache);
        CHECK(waiting->calls == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

TEST(r12_in_a_child_the_loads_of_the_parent_end_but_store_nothing_and_no_wait_is_told) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *load = begun(cache, "weather", MC_THREAD);
    told waiting;
    pends(cache, "weather", NULL, &waiting);
    end_in_child(cache, load, &waiting);
    CHECK(waiting.calls == 0);
    CHECK(ends(load, SUN) && was_told(&waiting, SUN) && is_there(cache, "weather", SUN));
    mc_free(cache);
}

static mc_load *of_the_parent;

static void fork_before_the_end(const char *plugin_id, mc_load *load, void *cache) {
    end_in_child(cache, of_the_parent, &(const told){0});
    load_text(plugin_id, load, SUN);
}

TEST(r12_the_same_in_a_child_that_is_forked_in_a_loader) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    of_the_parent = begun(cache, "weather", NULL);
    CHECK(gives(cache, "moon", fork_before_the_end, cache, SUN));
    CHECK(ends(of_the_parent, SUN) && is_there(cache, "weather", SUN));
    mc_free(cache);
}

/* Threads that load a few plugins in all ways, while one clears them. */
enum { PLUGINS = 3, ROUNDS = 300 };

static void *use_all_ways(void *argument) {
    mc_cache *cache = argument;
    static const way mixed[] = {mc_get, by_begin, by_another_thread};
    for (int n = 0; n < ROUNDS; n++) {
        char id[] = {(char)('a' + n % PLUGINS), '\0'};
        const char *manifest = mixed[n / PLUGINS % 3](cache, id, load_text, SUN, NULL);
        CHECK(manifest != NULL && strcmp(manifest, SUN) == 0);
        mc_string_free(manifest);
        if (n % 5 == 0) {
            mc_clear(cache, id);
        }
    }
    return NULL;
}

TEST(r15_threads_use_all_ways_on_the_same_plugins) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    pthread_t threads[4];
    for (int n = 0; n < 4; n++) {
        threads[n] = start(use_all_ways, cache);
    }
    for (int n = 0; n < 4; n++) {
        finish(threads[n]);
    }
    uint64_t counted = mc_stat(cache, MC_STAT_HITS) + mc_stat(cache, MC_STAT_MISSES) +
                       mc_stat(cache, MC_STAT_WAITS);
    CHECK(counted == 4 * ROUNDS);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == mc_stat(cache, MC_STAT_MISSES));
    mc_free(cache);
}
