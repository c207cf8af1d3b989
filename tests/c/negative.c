/* MC_OPT_NEGATIVE_TTL_MS: the cache remembers that a plugin was not found. */

#include "threads.h"

TEST(a_remembered_not_found_is_returned_without_loading_until_it_is_cleared) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, HOUR);
    source disk = {NULL, 0};
    for (int n = 0; n < 3; n++) {
        mc_error error = refusal(cache, "weather", load_source, &disk);
        CHECK(error.status == MC_NOT_FOUND && strstr(error.message, "weather") != NULL);
    }
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    CHECK(disk.calls == 1 && mc_stat(cache, MC_STAT_NOT_FOUND) == 1);
    CHECK(mc_stat(cache, MC_STAT_NEGATIVE_HITS) == 3 && mc_stat(cache, MC_STAT_MISSES) == 1);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 1);
    CHECK(mc_stat(cache, MC_STAT_BYTES) == OCCUPIED("weather", ""));
    CHECK(mc_revision(cache, "weather") == 0);
    disk.json = NEW;
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(gives(cache, "weather", load_source, &disk, NEW));
    mc_free(cache);
}

TEST(a_remembered_not_found_expires_after_its_time) {
    mc_cache *cache = cache_with(MC_OPT_NEGATIVE_TTL_MS, 1);
    source disk = {NULL, 0};
    CHECK(refusal(cache, "weather", load_source, &disk).status == MC_NOT_FOUND);
    await_expiry(cache);
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

TEST(a_not_found_of_a_fenced_load_is_not_remembered) {
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
