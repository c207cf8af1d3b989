/*
 * mc_load_ttl(), mc_load_cached() and mc_load_unchanged(): a loader sets a time to live, or renews
 * an expired manifest.
 */

#include "check.h"

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

TEST(a_loader_may_set_the_time_to_live_of_its_manifest) {
    mc_cache *cache = mc_new(1);
    CHECK(gives(cache, "weather", load_for_an_hour, NULL, OLD));
    CHECK(entries_are(cache, "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":3600000,"
                             "\"bytes\":17,\"revision\":?,\"expired\":false}]"));
    mc_clear(cache, NULL);
    CHECK(gives(cache, "weather", load_for_ever, NULL, OLD));
    CHECK(entries_are(cache, "[{\"plugin_id\":\"weather\",\"age_ms\":?,\"ttl_ms\":null,"
                             "\"bytes\":17,\"revision\":?,\"expired\":false}]"));
    mc_clear(cache, NULL);
    set(cache, MC_OPT_TTL_MS, MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_for_no_time, NULL, OLD));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

/* Checks the borrowed manifest and stores its revision. */
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
    await_expiry(cache);
    CHECK(gives(cache, "weather", load_unchanged, NULL, OLD));
    const char *entries = mc_entries(cache);
    CHECK(strstr(entries, "\"ttl_ms\":1,") != NULL);
    mc_string_free(entries);
    mc_free(cache);
}

static void load_unchanged_without_manifest(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_cached(load) == NULL);
    CHECK(mc_load_unchanged(load) == MC_INVALID_ARGUMENT);
}

TEST(unchanged_is_an_invalid_argument_if_no_manifest_is_held) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, 1);
    source missing = {NULL, 0};
    mc_loader load = load_unchanged_without_manifest;
    CHECK(refusal(cache, "weather", load, NULL).status == MC_INVALID_ARGUMENT);
    put_expired(cache, "weather", OLD);
    mc_clear(cache, "weather");
    CHECK(refusal(cache, "weather", load, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(mc_stat(cache, MC_STAT_LOAD_FAILURES) == 2);
    /* A remembered "not found" is not a manifest. */
    refusal(cache, "weather", load_source, &missing);
    await_expiry(cache);
    CHECK(refusal(cache, "weather", load, NULL).status == MC_INVALID_ARGUMENT);
    mc_free(cache);
}

static void clear_and_keep(const char *plugin_id, mc_load *load, void *cache) {
    const char *cached = mc_load_cached(load);
    CHECK(mc_clear((mc_cache *)cache, plugin_id) == 1);
    CHECK(strcmp(cached, OLD) == 0 && mc_load_cached(load) == cached);
    CHECK(mc_load_unchanged(load) == MC_OK);
}

TEST(a_cleared_manifest_is_not_renewed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    put_expired(cache, "weather", OLD);
    CHECK(gives(cache, "weather", clear_and_keep, cache, OLD));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    mc_free(cache);
}
