/* mc_revision() and mc_string_revision(): each stored manifest has a revision of its own. */

#include "check.h"

TEST(each_stored_manifest_has_a_revision_of_its_own) {
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

TEST(a_nonzero_revision_is_counted_as_a_hit_and_zero_is_not_counted) {
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

TEST(a_manifest_that_is_not_cached_has_a_revision_and_other_strings_have_none) {
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
