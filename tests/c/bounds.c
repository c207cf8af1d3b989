/*
 * MC_OPT_MAX_ENTRIES, MC_OPT_MAX_BYTES and MC_OPT_MAX_MANIFEST_BYTES: how much the cache holds, and
 * what it evicts.
 */

#include "threads.h"

#include <stdatomic.h>

TEST(the_limit_of_entries_holds_and_used_entries_stay) {
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

TEST(mc_revision_marks_the_entry_as_used) {
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

TEST(the_limit_of_bytes_holds_and_a_longer_manifest_is_returned_but_not_stored) {
    mc_cache *cache = cache_with(MC_OPT_MAX_BYTES, 2 * OCCUPIED("0", OLD));
    char id[16];
    for (int n = 0; n < 10; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(gives(cache, id, load_text, NEW, NEW));
        CHECK(mc_stat(cache, MC_STAT_BYTES) <= 2 * OCCUPIED("0", OLD));
    }
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 2);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 8);
    set(cache, MC_OPT_MAX_BYTES, OCCUPIED("9", NEW) - 1);
    CHECK(gives(cache, "9", load_text, NEW, NEW));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0 && mc_stat(cache, MC_STAT_BYTES) == 0);
    mc_free(cache);
}

TEST(a_limit_applies_as_soon_as_it_is_set_and_until_it_is_removed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16];
    for (int n = 0; n < 20; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(put(cache, id, OLD) == MC_OK);
    }
    set(cache, MC_OPT_MAX_ENTRIES, 7);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 7);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 13);
    set(cache, MC_OPT_MAX_BYTES, 3 * OCCUPIED("12", OLD) + 1);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 3);
    CHECK(mc_stat(cache, MC_STAT_BYTES) <= 3 * OCCUPIED("12", OLD));
    set(cache, MC_OPT_MAX_ENTRIES, 0);
    set(cache, MC_OPT_MAX_BYTES, 0);
    for (int n = 0; n < 20; n++) {
        snprintf(id, sizeof id, "%d", n);
        CHECK(put(cache, id, OLD) == MC_OK);
    }
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 20);
    mc_free(cache);
}

TEST(expired_entries_are_evicted_first) {
    mc_cache *cache = cache_with(MC_OPT_MAX_ENTRIES, 3);
    CHECK(put(cache, "a", NEW) == MC_OK && put(cache, "b", NEW) == MC_OK);
    put_expired(cache, "expired", OLD);
    CHECK(put(cache, "c", NEW) == MC_OK);
    CHECK(mc_revision(cache, "a") != 0 && mc_revision(cache, "b") != 0);
    CHECK(mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 1);
    mc_free(cache);
}

TEST(a_remembered_not_found_counts_as_an_entry) {
    mc_cache *cache = cache_with(MC_OPT_MAX_ENTRIES, 2);
    source missing = {NULL, 0};
    set(cache, MC_OPT_NEGATIVE_TTL_MS, MC_TTL_FOREVER);
    refusal(cache, "a", load_source, &missing);
    refusal(cache, "b", load_source, &missing);
    CHECK(put(cache, "weather", OLD) == MC_OK);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 2 && mc_stat(cache, MC_STAT_EVICTIONS) == 1);
    mc_free(cache);
}

enum { THREADS = 8, STEPS_EACH = 1000, MOST = 5, MOST_BYTES = 4 * (384 + sizeof NEW) };

/* For the threads of the next test. */
static mc_cache *bounded;
static atomic_ullong gets;

static void load_in_turn(const char *plugin_id, mc_load *load, void *turn) {
    switch (*(int *)turn % 4) {
    case 0:
        mc_load_not_found(load);
        break;
    case 1:
        load_failure(plugin_id, load, NULL);
        break;
    default:
        load_text(plugin_id, load, *(int *)turn % 3 == 0 ? "{\"a\":1}" : NEW);
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
            mc_string_free(mc_get(bounded, id, load_in_turn, &turn, NULL));
            atomic_fetch_add(&gets, 1);
        }
        CHECK(mc_stat(bounded, MC_STAT_TOTAL_ENTRIES) <= MOST);
        CHECK(mc_stat(bounded, MC_STAT_BYTES) <= MOST_BYTES);
    }
    return NULL;
}

TEST(limits_hold_while_eight_threads_work_and_each_get_is_counted_once) {
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

TEST(a_manifest_over_the_size_limit_is_invalid) {
    mc_cache *cache = cache_with(MC_OPT_MAX_MANIFEST_BYTES, strlen(NEW));
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    CHECK(put(cache, "weather", OLD) == MC_OK);
    mc_error error = refusal(cache, "tide", load_text, NEW " ");
    CHECK(error.status == MC_INVALID_MANIFEST && error.line == 0 && error.column == 0);
    CHECK(put(cache, "weather", NEW " ") == MC_INVALID_MANIFEST);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    mc_free(cache);
}
