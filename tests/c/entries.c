/* mc_entries() lists what the cache holds, and mc_purge() removes what has expired. */

#include "threads.h"

TEST(each_entry_is_listed_with_its_members_in_order) {
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
    CHECK(entries_are(cache, "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":1,\"bytes\":17,"
                             "\"revision\":?,\"expired\":true}]"));
    mc_free(cache);
}

TEST(a_remembered_not_found_is_listed_with_zero_bytes_and_revision_zero) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, HOUR);
    source missing = {NULL, 0};
    refusal(cache, "a\"\n\\b", load_source, &missing);
    CHECK(entries_are(cache, "[{\"plugin_id\":\"a\\\"\\n\\\\b\",\"age_ms\":?,\"ttl_ms\":3600000,"
                             "\"bytes\":0,\"revision\":0,\"expired\":false}]"));
    mc_free(cache);
}

TEST(all_entries_are_listed) {
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

TEST(a_purge_removes_only_expired_entries) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, MC_TTL_FOREVER);
    source missing = {NULL, 0};
    CHECK(mc_purge(cache) == 0);
    CHECK(put(cache, "fresh", NEW) == MC_OK);
    refusal(cache, "missing", load_source, &missing);
    put_expired(cache, "a", OLD);
    put_expired(cache, "b", OLD);
    CHECK(mc_purge(cache) == 2);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 2);
    CHECK(mc_stat(cache, MC_STAT_BYTES) == OCCUPIED("fresh", NEW) + OCCUPIED("missing", ""));
    CHECK(mc_stat(cache, MC_STAT_EVICTIONS) == 0);
    CHECK(gives(cache, "fresh", load_never, NULL, NEW));
    CHECK(refusal(cache, "missing", load_never, NULL).status == MC_NOT_FOUND);
    mc_free(cache);
}

TEST(a_purge_keeps_entries_that_a_stale_option_can_serve) {
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
        CHECK(entries_are(cache, "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":1,"
                                 "\"bytes\":17,\"revision\":?,\"expired\":true}]"));
        set(cache, options[n], 0);
        CHECK(mc_purge(cache) == 1);
        mc_free(cache);
    }
}

TEST(a_purge_does_not_fence_loads) {
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
