/*
 * What a host may set, and the functions that go with it: mc_set_option(), mc_put(),
 * mc_revision(), mc_stat(), mc_entries(), mc_purge() and what loaders say about time.
 */

#include "threads.h"

#include <stdatomic.h>

#define OLD "{\"weather\":\"old\"}"
#define NEW "{\"weather\":\"new\"}"

enum { HOUR = 3600000 };

static mc_cache *cache_with(int32_t option, uint64_t value) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, option, value);
    return cache;
}

static mc_status put(mc_cache *cache, const char *plugin_id, const char *json) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    mc_status status = mc_put(cache, plugin_id, json, strlen(json), &error);
    CHECK(error.status == status && (error.message[0] == '\0') == (status == MC_OK));
    return status;
}

static void fail(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_fail(load, 7, "the disk is on fire");
}

static void load_silently(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)load, (void)user_data;
}

/* The error of an mc_get() that must return this expired manifest. */
static mc_error stale(mc_cache *cache, mc_loader loader, void *user_data, const char *text) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    const char *manifest = mc_get(cache, "weather", loader, user_data, &error);
    CHECK(manifest != NULL && strcmp(manifest, text) == 0);
    CHECK(error.status == MC_STALE);
    mc_string_free(manifest);
    return error;
}

/* Options. */

TEST(an_option_takes_every_value_that_can_be) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int32_t option = MC_OPT_TTL_MS; option <= MC_OPT_WAIT_MS; option++) {
        set(cache, option, 1);
        set(cache, option, UINT32_MAX);
        if (option != MC_OPT_MAX_MANIFEST_BYTES) {
            set(cache, option, 0);
            set(cache, option, UINT64_MAX);
        }
    }
    mc_free(cache);
}

TEST(an_option_there_is_not_is_an_invalid_argument) {
    const int32_t options[] = {0, -1, MC_OPT_WAIT_MS + 1, 100, INT32_MIN, INT32_MAX};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof options / sizeof *options; n++) {
        CHECK(mc_set_option(cache, options[n], 1) == MC_INVALID_ARGUMENT);
    }
    CHECK(mc_stat(cache, MC_STAT_TTL_MS) == MC_TTL_FOREVER);
    mc_free(cache);
}

TEST(a_value_that_cannot_be_is_an_invalid_argument_and_changes_nothing) {
    mc_cache *cache = cache_with(MC_OPT_MAX_MANIFEST_BYTES, strlen(OLD) - 1);
    CHECK(mc_set_option(cache, MC_OPT_MAX_MANIFEST_BYTES, 0) == MC_INVALID_ARGUMENT);
    CHECK(put(cache, "weather", OLD) == MC_INVALID_MANIFEST);
    CHECK(put(cache, "weather", "{\"a\":1}") == MC_OK);
    mc_free(cache);
}

TEST(the_time_to_live_that_is_set_is_that_of_what_is_stored_from_then_on) {
    mc_cache *cache = mc_new(HOUR);
    CHECK(gives(cache, "before", load_text, OLD, OLD));
    put_expired(cache, "meanwhile", OLD);
    set(cache, MC_OPT_TTL_MS, 0);
    CHECK(mc_stat(cache, MC_STAT_TTL_MS) == 0);
    CHECK(gives(cache, "none", load_text, OLD, OLD));
    CHECK(put(cache, "none", OLD) == MC_OK);
    CHECK(mc_revision(cache, "none") == 0);
    set(cache, MC_OPT_TTL_MS, MC_TTL_FOREVER);
    CHECK(put(cache, "after", OLD) == MC_OK);
    CHECK(gives(cache, "before", load_never, NULL, OLD));
    CHECK(gives(cache, "after", load_never, NULL, OLD));
    CHECK(mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 1);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 3);
    mc_free(cache);
}

/* Stale manifests. */

TEST(without_a_stale_policy_a_failure_is_a_failure) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    put_expired(cache, "weather", OLD);
    CHECK(refusal(cache, "weather", fail, NULL).status == MC_LOAD_FAILED);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(stale_if_error_gives_the_expired_manifest_and_says_why) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(cache, MC_OPT_RETRY_MS, 0);
    put_expired(cache, "weather", OLD);
    mc_error error = stale(cache, fail, NULL, OLD);
    CHECK(error.code == 7 && error.line == 0 && error.column == 0);
    CHECK(strcmp(error.message,
                 "plugin \"weather\": the loader failed with code 7: the disk is on fire; "
                 "this is the expired manifest") == 0);
    error = stale(cache, load_text, "{\n\"a\" 1}", OLD);
    CHECK(error.code == 0 && error.line == 2 && error.column == 5);
    error = stale(cache, load_silently, NULL, OLD);
    CHECK(strstr(error.message, "no answer") != NULL);
    CHECK(mc_get(cache, "tide", fail, NULL, NULL) == NULL);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 4 && mc_stat(cache, MC_STAT_LOAD_FAILURES) == 4);
    CHECK(mc_stat(cache, MC_STAT_MISSES) == 4 && mc_stat(cache, MC_STAT_STALE_HITS) == 0);
    CHECK(mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 1);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_free(cache);
}

TEST(stale_if_error_needs_no_error_to_fill) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, HOUR);
    put_expired(cache, "weather", OLD);
    for (int n = 0; n < 2; n++) {
        const char *manifest = mc_get(cache, "weather", fail, NULL, NULL);
        CHECK(strcmp(manifest, OLD) == 0);
        mc_string_free(manifest);
    }
    mc_free(cache);
}

TEST(stale_if_error_takes_not_found_for_an_answer) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    source missing = {NULL, 0};
    put_expired(cache, "weather", OLD);
    CHECK(refusal(cache, "weather", load_source, &missing).status == MC_NOT_FOUND);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(stale_if_error_ends_with_its_time) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, 1);
    put_expired(cache, "weather", OLD);
    pause_ms(2);
    CHECK(refusal(cache, "weather", fail, NULL).status == MC_LOAD_FAILED);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(after_a_failure_the_loader_is_left_alone_for_the_retry_time) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    set(cache, MC_OPT_RETRY_MS, HOUR);
    put_expired(cache, "weather", OLD);
    mc_error first = stale(cache, fail, NULL, OLD);
    mc_error again = stale(cache, load_never, NULL, OLD);
    CHECK(memcmp(&first, &again, sizeof first) == 0);
    CHECK(mc_stat(cache, MC_STAT_STALE_HITS) == 1 && mc_stat(cache, MC_STAT_LOADS) == 1);
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    CHECK(mc_revision(cache, "weather") == 0);
    mc_clear(cache, "weather");
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

TEST(after_the_retry_time_the_loader_is_asked_again) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    set(cache, MC_OPT_RETRY_MS, 1);
    put_expired(cache, "weather", OLD);
    stale(cache, fail, NULL, OLD);
    pause_ms(2);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

static void hold_then_new(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, NEW);
}

static void hold_then_old(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, OLD);
}

static void hold_then_not_found(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id;
    hold(user_data);
    mc_load_not_found(load);
}

TEST(stale_while_revalidate_has_nobody_wait_but_the_one_who_loads) {
    mc_cache *cache = cache_with(MC_OPT_STALE_WHILE_REVALIDATE_MS, HOUR);
    call loading;
    put_expired(cache, "weather", OLD);
    begin(&loading, cache, "weather", hold_then_new);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    CHECK(mc_stat(cache, MC_STAT_STALE_HITS) == 1 && mc_stat(cache, MC_STAT_WAITS) == 0);
    end(&loading);
    CHECK(strcmp(loading.manifest, NEW) == 0 && loading.error.status == MC_OK);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_string_free(loading.manifest);
    mc_free(cache);
}

TEST(stale_while_revalidate_gives_nobody_what_was_cleared) {
    mc_cache *cache = cache_with(MC_OPT_STALE_WHILE_REVALIDATE_MS, HOUR);
    call loading;
    put_expired(cache, "weather", OLD);
    begin(&loading, cache, "weather", hold_then_old);
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    end(&loading);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_string_free(loading.manifest);
    mc_free(cache);
}

/* Remembered "not found"s. */

TEST(a_remembered_not_found_spares_the_loader_until_it_is_cleared) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, HOUR);
    source disk = {NULL, 0};
    for (int n = 0; n < 3; n++) {
        mc_error error = refusal(cache, "weather", load_source, &disk);
        CHECK(error.status == MC_NOT_FOUND && strstr(error.message, "weather") != NULL);
    }
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    CHECK(disk.calls == 1 && mc_stat(cache, MC_STAT_NOT_FOUND) == 1);
    CHECK(mc_stat(cache, MC_STAT_NEGATIVE_HITS) == 3 && mc_stat(cache, MC_STAT_MISSES) == 1);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 1 && mc_stat(cache, MC_STAT_BYTES) == 0);
    CHECK(mc_revision(cache, "weather") == 0);
    disk.json = NEW;
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(gives(cache, "weather", load_source, &disk, NEW));
    mc_free(cache);
}

TEST(a_remembered_not_found_is_forgotten_after_its_time) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, 1);
    source disk = {NULL, 0};
    CHECK(refusal(cache, "weather", load_source, &disk).status == MC_NOT_FOUND);
    while (mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0) {
        pause_ms(1);
    }
    disk.json = NEW;
    CHECK(gives(cache, "weather", load_source, &disk, NEW));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 1);
    mc_free(cache);
}

TEST(a_put_replaces_a_remembered_not_found) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, MC_TTL_FOREVER);
    source missing = {NULL, 0};
    refusal(cache, "weather", load_source, &missing);
    CHECK(put(cache, "weather", NEW) == MC_OK);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 1);
    mc_free(cache);
}

TEST(a_not_found_that_a_clear_came_before_is_not_remembered) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, MC_TTL_FOREVER);
    call loading;
    begin(&loading, cache, "weather", hold_then_not_found);
    mc_clear(cache, "weather");
    end(&loading);
    CHECK(loading.error.status == MC_NOT_FOUND);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

/* Bounds. */

TEST(a_bound_on_entries_holds_and_what_is_used_stays) {
    mc_cache *cache = cache_with(MC_OPT_MAX_ENTRIES, 3);
    char id[16];
    CHECK(put(cache, "used", OLD) == MC_OK);
    for (int n = 0; n < 100; n++) {
        CHECK(gives(cache, "used", load_never, NULL, OLD));
        snprintf(id, sizeof id, "%d", n);
        CHECK(gives(cache, id, load_text, NEW, NEW));
        CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) <= 3);
    }
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 3);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 98);
    mc_free(cache);
}

TEST(a_revision_that_was_asked_for_is_a_use) {
    mc_cache *cache = cache_with(MC_OPT_MAX_ENTRIES, 3);
    char id[16];
    CHECK(put(cache, "used", OLD) == MC_OK);
    for (int n = 0; n < 100; n++) {
        CHECK(mc_revision(cache, "used") != 0);
        snprintf(id, sizeof id, "%d", n);
        CHECK(put(cache, id, NEW) == MC_OK);
    }
    CHECK(mc_stat(cache, MC_STAT_HITS) == 100);
    mc_free(cache);
}

TEST(a_bound_on_bytes_holds_and_what_is_longer_is_given_but_not_stored) {
    mc_cache *cache = cache_with(MC_OPT_MAX_BYTES, 2 * strlen(OLD));
    char id[16];
    for (int n = 0; n < 10; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(gives(cache, id, load_text, NEW, NEW));
        CHECK(mc_stat(cache, MC_STAT_BYTES) <= 2 * strlen(OLD));
    }
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 2);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 8);
    set(cache, MC_OPT_MAX_BYTES, strlen(OLD) - 1);
    CHECK(gives(cache, "9", load_text, NEW, NEW));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0 && mc_stat(cache, MC_STAT_BYTES) == 0);
    mc_free(cache);
}

TEST(a_bound_holds_as_soon_as_it_is_set_and_no_longer_than_that) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16];
    for (int n = 0; n < 20; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(put(cache, id, OLD) == MC_OK);
    }
    set(cache, MC_OPT_MAX_ENTRIES, 7);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 7);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 13);
    set(cache, MC_OPT_MAX_BYTES, 3 * strlen(OLD) + 1);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 3);
    CHECK(mc_stat(cache, MC_STAT_BYTES) == 3 * strlen(OLD));
    set(cache, MC_OPT_MAX_ENTRIES, 0);
    set(cache, MC_OPT_MAX_BYTES, 0);
    for (int n = 0; n < 20; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(put(cache, id, OLD) == MC_OK);
    }
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 20);
    mc_free(cache);
}

TEST(what_has_expired_goes_before_what_has_not) {
    mc_cache *cache = cache_with(MC_OPT_MAX_ENTRIES, 3);
    CHECK(put(cache, "a", NEW) == MC_OK && put(cache, "b", NEW) == MC_OK);
    put_expired(cache, "expired", OLD);
    CHECK(put(cache, "c", NEW) == MC_OK);
    CHECK(mc_revision(cache, "a") != 0 && mc_revision(cache, "b") != 0);
    CHECK(mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 1);
    mc_free(cache);
}

TEST(a_remembered_not_found_is_an_entry_to_the_bound) {
    mc_cache *cache = cache_with(MC_OPT_MAX_ENTRIES, 2);
    source missing = {NULL, 0};
    set(cache, MC_OPT_NEGATIVE_TTL_MS, MC_TTL_FOREVER);
    refusal(cache, "a", load_source, &missing);
    refusal(cache, "b", load_source, &missing);
    CHECK(put(cache, "weather", OLD) == MC_OK);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 2 && mc_stat(cache, MC_STAT_EVICTIONS) == 1);
    mc_free(cache);
}

enum { THREADS = 8, STEPS_EACH = 1000, MOST = 5, MOST_BYTES = 4 * sizeof NEW };

/* What the threads of the next test share. */
static mc_cache *bounded;
static atomic_ullong gets;

static void load_by_turns(const char *plugin_id, mc_load *load, void *turn) {
    switch (*(int *)turn % 4) {
    case 0:
        mc_load_not_found(load);
        break;
    case 1:
        fail(plugin_id, load, NULL);
        break;
    default:
        load_text(plugin_id, load, *(int *)turn % 3 == 0 ? "{\"a\":1}" : NEW);
        /* If there is nothing to be unchanged, this is a failure. */
        if (mc_load_cached(load) != NULL) {
            CHECK(mc_load_unchanged(load) == MC_OK);
        }
    }
}

static void *fill(void *seed) {
    char id[16];
    for (int n = 0; n < STEPS_EACH; n++) {
        int turn = n + *(int *)seed;
        snprintf(id, sizeof id, "%d", turn * 7 % 12);
        if (turn % 5 == 0) {
            CHECK(put(bounded, id, turn % 2 == 0 ? OLD : "{\"a\":1}") == MC_OK);
        } else {
            mc_string_free(mc_get(bounded, id, load_by_turns, &turn, NULL));
            atomic_fetch_add(&gets, 1);
        }
        CHECK(mc_stat(bounded, MC_STAT_TOTAL_ENTRIES) <= MOST);
        CHECK(mc_stat(bounded, MC_STAT_BYTES) <= MOST_BYTES);
    }
    return NULL;
}

TEST(bounds_hold_at_every_step_of_eight_threads_and_each_get_is_counted_once) {
    pthread_t threads[THREADS];
    int seeds[THREADS];
    bounded = mc_new(2);
    set(bounded, MC_OPT_MAX_ENTRIES, MOST);
    set(bounded, MC_OPT_MAX_BYTES, MOST_BYTES);
    set(bounded, MC_OPT_NEGATIVE_TTL_MS, 2);
    set(bounded, MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(bounded, MC_OPT_STALE_WHILE_REVALIDATE_MS, HOUR);
    for (int n = 0; n < THREADS; n++) {
        seeds[n] = n * 31;
        threads[n] = start(fill, &seeds[n]);
    }
    for (int n = 0; n < THREADS; n++) {
        finish(threads[n]);
    }
    CHECK(mc_stat(bounded, MC_STAT_HITS) + mc_stat(bounded, MC_STAT_STALE_HITS) +
              mc_stat(bounded, MC_STAT_NEGATIVE_HITS) + mc_stat(bounded, MC_STAT_WAITS) +
              mc_stat(bounded, MC_STAT_MISSES) ==
          atomic_load(&gets));
    CHECK(mc_stat(bounded, MC_STAT_EVICTIONS) > 0);
    mc_free(bounded);
}

TEST(a_longer_manifest_than_allowed_is_invalid) {
    mc_cache *cache = cache_with(MC_OPT_MAX_MANIFEST_BYTES, strlen(NEW));
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    CHECK(put(cache, "weather", OLD) == MC_OK);
    mc_error error = refusal(cache, "tide", load_text, NEW " ");
    CHECK(error.status == MC_INVALID_MANIFEST && error.line == 0 && error.column == 0);
    CHECK(put(cache, "weather", NEW " ") == MC_INVALID_MANIFEST);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    mc_free(cache);
}

/* MC_OPT_WAIT_MS. */

TEST(who_waits_too_long_gets_a_timeout_and_who_asks_next_loads_anew) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 50);
    call held;
    begin(&held, cache, "weather", hold_then_old);
    int64_t began = now_ns();
    mc_error error = refusal(cache, "weather", load_never, NULL);
    CHECK(error.status == MC_TIMEOUT && strstr(error.message, "weather") != NULL);
    CHECK(now_ns() - began >= 50 * MS);
    CHECK(mc_stat(cache, MC_STAT_TIMEOUTS) == 1 && mc_stat(cache, MC_STAT_WAITS) == 1);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    end(&held);
    CHECK(held.error.status == MC_OK && strcmp(held.manifest, OLD) == 0);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 2 && mc_stat(cache, MC_STAT_MISSES) == 2);
    mc_string_free(held.manifest);
    mc_free(cache);
}

TEST(a_load_that_was_given_up_stores_nothing_even_if_nobody_asked_again) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 1);
    call held;
    begin(&held, cache, "weather", hold_then_old);
    CHECK(refusal(cache, "weather", load_never, NULL).status == MC_TIMEOUT);
    end(&held);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    mc_string_free(held.manifest);
    mc_free(cache);
}

TEST(to_wait_for_ever_is_no_timeout) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 0);
    call held, other;
    do {
        begin(&held, cache, "weather", hold_then_new);
    } while (!shared(&held, &other));
    CHECK(other.error.status == MC_OK && strcmp(other.manifest, NEW) == 0);
    CHECK(mc_stat(cache, MC_STAT_TIMEOUTS) == 0 && mc_stat(cache, MC_STAT_WAITS) > 0);
    mc_string_free(held.manifest);
    mc_string_free(other.manifest);
    mc_free(cache);
}

/* mc_put(). */

TEST(what_was_put_is_there_byte_for_byte_and_needs_no_nul) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char text[] = " {\"a\" : 1}\n?";
    CHECK(mc_put(cache, "weather", text, strlen(text) - 1, NULL) == MC_OK);
    memset(text, 'x', sizeof text);
    CHECK(gives(cache, "weather", load_never, NULL, " {\"a\" : 1}\n"));
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 0);
    mc_free(cache);
}

TEST(what_cannot_be_put_changes_nothing_and_says_where) {
    const struct {
        const char *json;
        uint32_t line, column;
    } cases[] = {{"[]", 1, 1}, {"", 1, 1}, {"{\n\"a\" 1}", 2, 5}, {"{\"a\":\"\xFF\"}", 1, 7}};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading;
    CHECK(put(cache, "weather", OLD) == MC_OK);
    begin(&loading, cache, "tide", hold_then_new);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        mc_error error;
        const char *json = cases[n].json;
        CHECK(mc_put(cache, "weather", json, strlen(json), &error) == MC_INVALID_MANIFEST);
        CHECK(error.status == MC_INVALID_MANIFEST && strstr(error.message, "weather") != NULL);
        CHECK(error.line == cases[n].line && error.column == cases[n].column);
        CHECK(put(cache, "tide", json) == MC_INVALID_MANIFEST);
    }
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    end(&loading);
    CHECK(gives(cache, "tide", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 0);
    mc_string_free(loading.manifest);
    mc_free(cache);
}

TEST(a_put_is_newer_than_any_load_in_progress) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading;
    begin(&loading, cache, "weather", hold_then_old);
    CHECK(put(cache, "weather", NEW) == MC_OK);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    end(&loading);
    CHECK(strcmp(loading.manifest, OLD) == 0);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    mc_string_free(loading.manifest);
    mc_free(cache);
}

TEST(to_put_an_object_without_members_clears) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading;
    CHECK(put(cache, "weather", OLD) == MC_OK);
    CHECK(put(cache, "weather", "{ }") == MC_OK);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    begin(&loading, cache, "weather", hold_then_old);
    CHECK(put(cache, "weather", "{}") == MC_OK);
    end(&loading);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_string_free(loading.manifest);
    mc_free(cache);
}

/* Revisions. */

TEST(a_revision_is_that_of_the_manifest_and_of_no_other) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    CHECK(mc_revision(cache, "weather") == 0);
    CHECK(put(cache, "weather", OLD) == MC_OK && put(other, "weather", OLD) == MC_OK);
    uint64_t revision = mc_revision(cache, "weather");
    CHECK(revision != 0 && mc_revision(other, "weather") != revision);
    const char *manifest = mc_get(cache, "weather", load_never, NULL, NULL);
    CHECK(mc_string_revision(manifest) == revision);
    CHECK(put(cache, "weather", OLD) == MC_OK);
    CHECK(mc_revision(cache, "weather") != revision && mc_revision(cache, "weather") != 0);
    mc_clear(cache, "weather");
    CHECK(mc_revision(cache, "weather") == 0);
    mc_free(cache);
    CHECK(mc_string_revision(manifest) == revision);
    mc_string_free(manifest);
    mc_free(other);
}

TEST(a_revision_that_is_there_is_a_hit_and_else_nothing_is_counted) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(mc_revision(cache, "weather") == 0);
    put_expired(cache, "weather", OLD);
    CHECK(mc_revision(cache, "weather") == 0);
    CHECK(mc_stat(cache, MC_STAT_HITS) == 0 && mc_stat(cache, MC_STAT_MISSES) == 0);
    CHECK(put(cache, "weather", NEW) == MC_OK);
    CHECK(mc_revision(cache, "weather") == mc_revision(cache, "weather"));
    CHECK(mc_stat(cache, MC_STAT_HITS) == 2);
    mc_free(cache);
}

TEST(what_is_handed_out_but_not_kept_has_a_revision_and_a_report_has_none) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *manifest = mc_get(cache, "weather", load_text, "{}", NULL);
    CHECK(mc_string_revision(manifest) != 0);
    mc_string_free(manifest);
    const char *stats = mc_stats(cache), *entries = mc_entries(cache);
    CHECK(mc_string_revision(stats) == 0 && mc_string_revision(entries) == 0);
    mc_string_free(stats);
    mc_string_free(entries);
    mc_free(cache);
}

/* mc_stat(). */

static const char *const names[] = {
    [MC_STAT_TOTAL_ENTRIES] = "total_entries", [MC_STAT_EXPIRED_ENTRIES] = "expired_entries",
    [MC_STAT_TTL_MS] = "ttl_seconds",          [MC_STAT_HITS] = "hits",
    [MC_STAT_MISSES] = "misses",               [MC_STAT_LOADS] = "loads",
    [MC_STAT_LOAD_FAILURES] = "load_failures", [MC_STAT_NOT_FOUND] = "not_found",
    [MC_STAT_WAITS] = "waits",                 [MC_STAT_DISCARDED] = "discarded",
    [MC_STAT_LOAD_TIME_MS] = "load_time_ms",   [MC_STAT_BYTES] = "bytes",
    [MC_STAT_STALE_HITS] = "stale_hits",       [MC_STAT_NEGATIVE_HITS] = "negative_hits",
    [MC_STAT_UNCHANGED] = "unchanged",         [MC_STAT_EVICTIONS] = "evictions",
    [MC_STAT_TIMEOUTS] = "timeouts",
};

enum { FIGURES = sizeof names / sizeof *names };

static void say_unchanged(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_unchanged(load) == MC_OK);
}

static void clear_and_fail(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear((mc_cache *)cache, plugin_id);
    fail(plugin_id, load, NULL);
}

TEST(each_statistic_has_its_number) {
    mc_cache *cache = mc_new(HOUR);
    source missing = {NULL, 0};
    call held;
    set(cache, MC_OPT_NEGATIVE_TTL_MS, HOUR);
    set(cache, MC_OPT_STALE_WHILE_REVALIDATE_MS, HOUR);
    set(cache, MC_OPT_WAIT_MS, 1);
    /* Everything happens a different number of times, so that no two can be mistaken. */
    for (int n = 0; n < 2; n++) {
        begin(&held, cache, "held", hold_then_old);
        CHECK(refusal(cache, "held", load_never, NULL).status == MC_TIMEOUT);
        end(&held);
        mc_string_free(held.manifest);
    }
    for (int n = 0; n < 5; n++) {
        refusal(cache, "failing", n == 0 ? clear_and_fail : fail, cache);
    }
    for (int n = 0; n < 6; n++) {
        mc_clear(cache, "missing");
        refusal(cache, "missing", load_source, &missing);
    }
    for (int n = 0; n < 9; n++) {
        CHECK(refusal(cache, "missing", load_never, NULL).status == MC_NOT_FOUND);
    }
    for (int n = 0; n < 7; n++) {
        put_expired(cache, "weather", OLD);
        CHECK(gives(cache, "weather", say_unchanged, NULL, OLD));
        mc_clear(cache, "weather");
    }
    put_expired(cache, "weather", OLD);
    begin(&held, cache, "weather", hold_then_new);
    for (int n = 0; n < 4; n++) {
        CHECK(gives(cache, "weather", load_never, NULL, OLD));
    }
    end(&held);
    mc_string_free(held.manifest);
    for (int n = 0; n < 40; n++) {
        CHECK(gives(cache, "weather", load_never, NULL, NEW));
    }
    for (int n = 0; n < 60; n++) {
        refusal(cache, "nowhere", NULL, NULL);
    }
    set(cache, MC_OPT_MAX_ENTRIES, 10);
    for (int n = 0; n < 18; n++) {
        char id[16];
        snprintf(id, sizeof id, "%d", n);
        CHECK(put(cache, id, NEW) == MC_OK);
    }
    set(cache, MC_OPT_MAX_ENTRIES, 11);
    put_expired(cache, "expired", NEW);

    uint64_t values[FIGURES] = {0};
    for (int32_t which = MC_STAT_TOTAL_ENTRIES; which < FIGURES; which++) {
        values[which] = mc_stat(cache, which);
        uint64_t unit = which == MC_STAT_TTL_MS ? 1000 : 1;
        CHECK(values[which] == unit * stat_of(cache, names[which]));
    }
    const struct {
        int32_t which;
        uint64_t value;
    } expected[] = {
        {MC_STAT_TOTAL_ENTRIES, 11}, {MC_STAT_EXPIRED_ENTRIES, 1}, {MC_STAT_TTL_MS, HOUR},
        {MC_STAT_HITS, 40},          {MC_STAT_MISSES, 81},         {MC_STAT_LOADS, 21},
        {MC_STAT_LOAD_FAILURES, 5},  {MC_STAT_NOT_FOUND, 6},       {MC_STAT_WAITS, 2},
        {MC_STAT_DISCARDED, 3},      {MC_STAT_STALE_HITS, 4},      {MC_STAT_NEGATIVE_HITS, 9},
        {MC_STAT_UNCHANGED, 7},      {MC_STAT_TIMEOUTS, 2},
    };
    for (size_t n = 0; n < sizeof expected / sizeof *expected; n++) {
        CHECK(values[expected[n].which] == expected[n].value);
    }
    CHECK(values[MC_STAT_EVICTIONS] >= 9 && values[MC_STAT_BYTES] >= 10 * strlen(NEW));
    mc_free(cache);
}

TEST(a_statistic_there_is_not_is_zero) {
    const int32_t numbers[] = {0, -1, FIGURES, 100, INT32_MIN, INT32_MAX};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        CHECK(mc_stat(cache, numbers[n]) == 0);
    }
    CHECK(mc_stat(cache, MC_STAT_TTL_MS) == MC_TTL_FOREVER);
    mc_free(cache);
}

/* mc_entries() and mc_purge(). */

/* Whether the entries are this text, where each ? stands for a number. */
static int entries_are(const mc_cache *cache, const char *expected) {
    const char *entries = mc_entries(cache), *got = entries;
    CHECK(mc_string_len(entries) == strlen(entries));
    for (; *expected != '\0'; expected++) {
        if (*expected == '?') {
            size_t digits = strspn(got, "0123456789");
            CHECK(digits > 0);
            got += digits;
        } else if (*got++ != *expected) {
            fprintf(stderr, "got %s\n", entries);
            return 0;
        }
    }
    int same = *got == '\0';
    mc_string_free(entries);
    return same;
}

TEST(entries_are_told_with_their_members_in_order) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char expected[256];
    CHECK(entries_are(cache, "[]"));
    CHECK(put(cache, "weather", OLD) == MC_OK);
    snprintf(expected, sizeof expected,
             "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":null,\"bytes\":%d,"
             "\"revision\":%" PRIu64 ",\"expired\":false}]",
             (int)strlen(OLD), mc_revision(cache, "weather"));
    CHECK(entries_are(cache, expected));
    put_expired(cache, "weather", OLD);
    CHECK(entries_are(cache,
                      "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":1,\"bytes\":17,"
                      "\"revision\":?,\"expired\":true}]"));
    mc_free(cache);
}

TEST(a_remembered_not_found_is_an_entry_without_bytes_and_revision) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, HOUR);
    source missing = {NULL, 0};
    refusal(cache, "a\"\n\\b", load_source, &missing);
    CHECK(entries_are(cache,
                      "[{\"plugin_id\":\"a\\\"\\n\\\\b\",\"age_ms\":?,\"ttl_ms\":3600000,"
                      "\"bytes\":0,\"revision\":0,\"expired\":false}]"));
    mc_free(cache);
}

TEST(all_entries_are_told) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[32];
    for (int n = 0; n < 100; n++) {
        snprintf(id, sizeof id, "plugin-%d", n);
        CHECK(put(cache, id, OLD) == MC_OK);
    }
    const char *entries = mc_entries(cache);
    for (int n = 0; n < 100; n++) {
        snprintf(id, sizeof id, "\"plugin-%d\",", n);
        CHECK(strstr(entries, id) != NULL);
    }
    mc_string_free(entries);
    mc_free(cache);
}

TEST(a_purge_drops_what_has_expired_and_nothing_else) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, MC_TTL_FOREVER);
    source missing = {NULL, 0};
    CHECK(mc_purge(cache) == 0);
    CHECK(put(cache, "fresh", NEW) == MC_OK);
    refusal(cache, "missing", load_source, &missing);
    put_expired(cache, "a", OLD);
    put_expired(cache, "b", OLD);
    CHECK(mc_purge(cache) == 2);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 2);
    CHECK(mc_stat(cache, MC_STAT_BYTES) == strlen(NEW));
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 0);
    CHECK(gives(cache, "fresh", load_never, NULL, NEW));
    CHECK(refusal(cache, "missing", load_never, NULL).status == MC_NOT_FOUND);
    mc_free(cache);
}

TEST(a_purge_leaves_what_a_stale_policy_can_serve) {
    const int32_t options[] = {MC_OPT_STALE_IF_ERROR_MS, MC_OPT_STALE_WHILE_REVALIDATE_MS};
    for (int n = 0; n < 2; n++) {
        mc_cache *cache = cache_with(options[n], HOUR);
        source missing = {NULL, 0};
        put_expired(cache, "weather", OLD);
        set(cache, MC_OPT_NEGATIVE_TTL_MS, 1);
        refusal(cache, "missing", load_source, &missing);
        while (mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) < 2) {
            pause_ms(1);
        }
        CHECK(mc_purge(cache) == 1);
        CHECK(entries_are(cache,
                          "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":1,"
                          "\"bytes\":17,\"revision\":?,\"expired\":true}]"));
        set(cache, options[n], 0);
        CHECK(mc_purge(cache) == 1);
        mc_free(cache);
    }
}

TEST(a_purge_fences_no_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading;
    put_expired(cache, "weather", OLD);
    begin(&loading, cache, "weather", hold_then_new);
    CHECK(mc_purge(cache) == 1);
    end(&loading);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 0);
    mc_string_free(loading.manifest);
    mc_free(cache);
}

/* What a loader says about time. */

static void load_for_an_hour(const char *plugin_id, mc_load *load, void *user_data) {
    (void)user_data;
    load_text(plugin_id, load, OLD);
    mc_load_ttl(load, HOUR);
}

static void load_for_a_moment(const char *plugin_id, mc_load *load, void *user_data) {
    (void)user_data;
    mc_load_ttl(load, 1);
    load_text(plugin_id, load, OLD);
}

static void load_for_ever(const char *plugin_id, mc_load *load, void *user_data) {
    (void)user_data;
    mc_load_ttl(load, 1);
    mc_load_ttl(load, MC_TTL_FOREVER);
    load_text(plugin_id, load, OLD);
}

static void load_for_no_time(const char *plugin_id, mc_load *load, void *user_data) {
    (void)user_data;
    mc_load_ttl(load, 0);
    load_text(plugin_id, load, OLD);
}

TEST(a_loader_may_give_its_manifest_a_time_to_live_of_its_own) {
    mc_cache *cache = mc_new(1);
    CHECK(gives(cache, "weather", load_for_an_hour, NULL, OLD));
    CHECK(entries_are(cache,
                      "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":3600000,"
                      "\"bytes\":17,\"revision\":?,\"expired\":false}]"));
    mc_clear(cache, NULL);
    CHECK(gives(cache, "weather", load_for_ever, NULL, OLD));
    CHECK(entries_are(cache,
                      "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":null,"
                      "\"bytes\":17,\"revision\":?,\"expired\":false}]"));
    mc_clear(cache, NULL);
    set(cache, MC_OPT_TTL_MS, MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_for_no_time, NULL, OLD));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

/* Remembers what is borrowed for the load. */
static void look_at_cached_and_keep_it(const char *plugin_id, mc_load *load, void *revision) {
    (void)plugin_id;
    const char *cached = mc_load_cached(load);
    CHECK(cached != NULL && strcmp(cached, OLD) == 0);
    CHECK(mc_string_len(cached) == strlen(OLD));
    CHECK(mc_load_cached(load) == cached);
    *(uint64_t *)revision = mc_string_revision(cached);
    CHECK(mc_load_unchanged(load) == MC_OK);
}

TEST(an_unchanged_manifest_keeps_its_revision_for_another_time_to_live) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    uint64_t revision = 0;
    put_expired(cache, "weather", OLD);
    CHECK(gives(cache, "weather", look_at_cached_and_keep_it, &revision, OLD));
    CHECK(revision != 0 && mc_revision(cache, "weather") == revision);
    CHECK(mc_stat(cache, MC_STAT_UNCHANGED) == 1 && mc_stat(cache, MC_STAT_LOADS) == 1);
    CHECK(mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0);
    CHECK(entries_are(cache,
                      "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":null,\"bytes\":17,"
                      "\"revision\":?,\"expired\":false}]"));
    mc_free(cache);
}

TEST(an_unchanged_manifest_keeps_its_own_time_to_live) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_for_a_moment, NULL, OLD));
    while (mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0) {
        pause_ms(1);
    }
    CHECK(gives(cache, "weather", say_unchanged, NULL, OLD));
    const char *entries = mc_entries(cache);
    CHECK(strstr(entries, "\"ttl_ms\":1,") != NULL);
    mc_string_free(entries);
    mc_free(cache);
}

static void say_unchanged_of_nothing(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_cached(load) == NULL);
    CHECK(mc_load_unchanged(load) == MC_INVALID_ARGUMENT);
}

TEST(nothing_can_not_be_unchanged) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, 1);
    source missing = {NULL, 0};
    mc_loader load = say_unchanged_of_nothing;
    CHECK(refusal(cache, "weather", load, NULL).status == MC_INVALID_ARGUMENT);
    put_expired(cache, "weather", OLD);
    mc_clear(cache, "weather");
    CHECK(refusal(cache, "weather", load, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(mc_stat(cache, MC_STAT_LOAD_FAILURES) == 2);
    /* A remembered "not found" is no manifest. */
    refusal(cache, "weather", load_source, &missing);
    while (mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0) {
        pause_ms(1);
    }
    CHECK(refusal(cache, "weather", load, NULL).status == MC_INVALID_ARGUMENT);
    mc_free(cache);
}

static void clear_and_keep(const char *plugin_id, mc_load *load, void *cache) {
    const char *cached = mc_load_cached(load);
    CHECK(mc_clear((mc_cache *)cache, plugin_id) == 1);
    CHECK(strcmp(cached, OLD) == 0 && mc_load_cached(load) == cached);
    CHECK(mc_load_unchanged(load) == MC_OK);
}

TEST(what_a_clear_forgot_is_not_renewed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    put_expired(cache, "weather", OLD);
    CHECK(gives(cache, "weather", clear_and_keep, cache, OLD));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    mc_free(cache);
}
