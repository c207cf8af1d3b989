/* mc_stats() and mc_stat(): each statistic after a known sequence of calls. */

#include "threads.h"

static int stats_are(const mc_cache *cache, const char *expected) {
    const char *stats = mc_stats(cache);
    int same = strcmp(stats, expected) == 0;
    if (!same) {
        fprintf(stderr, "got      %s\nexpected %s\n", stats, expected);
    }
    CHECK(mc_string_len(stats) == strlen(stats));
    mc_string_free(stats);
    return same;
}

TEST(the_statistics_of_a_new_cache_are_zero) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    CHECK(stats_are(cache,
                    "{\"total_entries\":0,\"expired_entries\":0,\"ttl_seconds\":300,"
                    "\"hits\":0,\"misses\":0,\"loads\":0,\"load_failures\":0,\"not_found\":0,"
                    "\"waits\":0,\"discarded\":0,\"load_time_ms\":0,\"bytes\":0,"
                    "\"stale_hits\":0,\"negative_hits\":0,\"unchanged\":0,\"evictions\":0,"
                    "\"timeouts\":0}"));
    mc_free(cache);
}

TEST(the_first_three_statistics_are_those_of_the_python_class) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    const char *first = "{\"total_entries\":0,\"expired_entries\":0,\"ttl_seconds\":300,";
    const char *stats = mc_stats(cache);
    CHECK(strncmp(stats, first, strlen(first)) == 0);
    mc_string_free(stats);
    mc_free(cache);
}

TEST(ttl_seconds_has_decimals_only_if_needed_and_is_null_for_forever) {
    const struct {
        uint64_t ttl_ms;
        const char *text;
    } cases[] = {
        {0, "\"ttl_seconds\":0,"},
        {1, "\"ttl_seconds\":0.001,"},
        {1500, "\"ttl_seconds\":1.5,"},
        {60010, "\"ttl_seconds\":60.01,"},
        {60000, "\"ttl_seconds\":60,"},
        {MC_TTL_FOREVER, "\"ttl_seconds\":null,"},
        {UINT64_C(9007199254740993000), "\"ttl_seconds\":9007199254740993,"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        mc_cache *cache = mc_new(cases[n].ttl_ms);
        const char *stats = mc_stats(cache);
        CHECK(strstr(stats, cases[n].text) != NULL);
        mc_string_free(stats);
        mc_free(cache);
    }
}

static void load_nested(const char *plugin_id, mc_load *load, void *cache) {
    CHECK(gives((mc_cache *)cache, "inner", load_text, SUN, SUN));
    CHECK(refusal((mc_cache *)cache, plugin_id, load_never, NULL).status == MC_LOAD_CYCLE);
    load_text(plugin_id, load, SUN);
}

static void load_and_clear(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear((mc_cache *)cache, plugin_id);
    load_text(plugin_id, load, SUN);
}

static void load_in_30_ms(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    pause_ms(30);
    mc_load_not_found(load);
}

static int rises(const mc_cache *cache, const char *name, uint64_t by, uint64_t *last) {
    uint64_t before = *last;
    *last = stat_of(cache, name);
    return *last == before + by;
}

TEST(every_call_is_counted_as_the_header_says) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    source missing = {NULL, 0};
    uint64_t hits = 0, misses = 0, loads = 0, failures = 0, not_found = 0, discarded = 0;

    /* A load that stores a manifest, two hits, a look-up of an absent plugin. */
    CHECK(gives(cache, "a", load_text, SUN, SUN));
    CHECK(gives(cache, "a", load_never, NULL, SUN));
    CHECK(gives(cache, "a", NULL, NULL, SUN));
    refusal(cache, "b", NULL, NULL);
    CHECK(rises(cache, "hits", 2, &hits) && rises(cache, "misses", 2, &misses));
    CHECK(rises(cache, "loads", 1, &loads));

    /* A plugin that is not found; no answer and an invalid answer. */
    refusal(cache, "b", load_source, &missing);
    CHECK(rises(cache, "misses", 1, &misses) && rises(cache, "loads", 1, &loads));
    CHECK(rises(cache, "not_found", 1, &not_found));
    CHECK(rises(cache, "load_failures", 0, &failures));
    refusal(cache, "b", load_silently, NULL);
    refusal(cache, "b", load_text, "{");
    CHECK(rises(cache, "misses", 2, &misses) && rises(cache, "loads", 2, &loads));
    CHECK(rises(cache, "load_failures", 2, &failures));
    CHECK(rises(cache, "not_found", 0, &not_found));

    /* Two loads and a cycle. */
    CHECK(gives(cache, "outer", load_nested, cache, SUN));
    CHECK(rises(cache, "misses", 3, &misses) && rises(cache, "loads", 2, &loads));
    CHECK(rises(cache, "load_failures", 0, &failures));
    CHECK(rises(cache, "discarded", 0, &discarded));

    /* A load that is fenced by a clear, and calls with invalid arguments. */
    CHECK(gives(cache, "b", load_and_clear, cache, SUN));
    CHECK(rises(cache, "discarded", 1, &discarded) && rises(cache, "loads", 1, &loads));
    CHECK(rises(cache, "misses", 1, &misses));
    refusal(cache, NULL, load_never, NULL);
    refusal(cache, "\xFF", load_never, NULL);
    CHECK(rises(cache, "misses", 0, &misses) && rises(cache, "hits", 0, &hits));

    CHECK(stat_of(cache, "total_entries") == 3);
    CHECK(stat_of(cache, "bytes") ==
          OCCUPIED("a", SUN) + OCCUPIED("outer", SUN) + OCCUPIED("inner", SUN));
    CHECK(stat_of(cache, "expired_entries") == 0);
    CHECK(stat_of(cache, "waits") == 0);
    mc_clear(cache, "a");
    CHECK(stat_of(cache, "bytes") == OCCUPIED("outer", SUN) + OCCUPIED("inner", SUN));
    mc_free(cache);
}

TEST(load_time_is_the_time_spent_in_loaders) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    refusal(cache, "a", load_in_30_ms, NULL);
    refusal(cache, "b", load_in_30_ms, NULL);
    uint64_t spent = stat_of(cache, "load_time_ms");
    CHECK(spent >= 60);
    pause_ms(1);
    CHECK(stat_of(cache, "load_time_ms") == spent);
    mc_free(cache);
}

static const char *const names[] = {
    [MC_STAT_TOTAL_ENTRIES] = "total_entries",
    [MC_STAT_EXPIRED_ENTRIES] = "expired_entries",
    [MC_STAT_TTL_MS] = "ttl_seconds",
    [MC_STAT_HITS] = "hits",
    [MC_STAT_MISSES] = "misses",
    [MC_STAT_LOADS] = "loads",
    [MC_STAT_LOAD_FAILURES] = "load_failures",
    [MC_STAT_NOT_FOUND] = "not_found",
    [MC_STAT_WAITS] = "waits",
    [MC_STAT_DISCARDED] = "discarded",
    [MC_STAT_LOAD_TIME_MS] = "load_time_ms",
    [MC_STAT_BYTES] = "bytes",
    [MC_STAT_STALE_HITS] = "stale_hits",
    [MC_STAT_NEGATIVE_HITS] = "negative_hits",
    [MC_STAT_UNCHANGED] = "unchanged",
    [MC_STAT_EVICTIONS] = "evictions",
    [MC_STAT_TIMEOUTS] = "timeouts",
};

enum { STATISTICS = sizeof names / sizeof *names };

static void clear_and_fail(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear((mc_cache *)cache, plugin_id);
    load_failure(plugin_id, load, NULL);
}

TEST(mc_stat_returns_each_statistic_by_its_number) {
    mc_cache *cache = mc_new(HOUR);
    source missing = {NULL, 0};
    call held;
    set(cache, MC_OPT_NEGATIVE_TTL_MS, HOUR);
    set(cache, MC_OPT_STALE_WHILE_REVALIDATE_MS, HOUR);
    set(cache, MC_OPT_WAIT_MS, 1);
    /* Each event happens a different number of times, so that no two statistics are equal. */
    for (int n = 0; n < 2; n++) {
        begin(&held, cache, "held", hold_then_old);
        CHECK(refusal(cache, "held", load_never, NULL).status == MC_TIMEOUT);
        mc_clear(cache, "held");
        end(&held);
        mc_string_free(held.manifest);
    }
    for (int n = 0; n < 5; n++) {
        refusal(cache, "failing", n == 0 ? clear_and_fail : load_failure, cache);
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
        CHECK(gives(cache, "weather", load_unchanged, NULL, OLD));
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

    uint64_t values[STATISTICS] = {0};
    for (int32_t which = MC_STAT_TOTAL_ENTRIES; which < STATISTICS; which++) {
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
    CHECK(values[MC_STAT_EVICTIONS] >= 9 && values[MC_STAT_BYTES] >= 10 * OCCUPIED("0", NEW));
    mc_free(cache);
}

TEST(an_unknown_statistic_is_zero) {
    const int32_t numbers[] = {0, -1, STAT_COUNT + 1, 100, INT32_MIN, INT32_MAX};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        CHECK(mc_stat(cache, numbers[n]) == 0);
    }
    CHECK(mc_stat(cache, MC_STAT_TTL_MS) == MC_TTL_FOREVER);
    mc_free(cache);
}
