/* mc_set_option(): which options and values it accepts, and when a new value applies. */

#include "check.h"

TEST(an_option_accepts_every_valid_value) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, MC_OPT_SYNTAX, MC_SYNTAX_JSON);
    set(cache, MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
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

TEST(an_unknown_option_is_an_invalid_argument) {
    const int32_t options[] = {0, -1, OPTION_COUNT + 1, 100, INT32_MIN, INT32_MAX};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof options / sizeof *options; n++) {
        CHECK(mc_set_option(cache, options[n], 1) == MC_INVALID_ARGUMENT);
    }
    CHECK(mc_stat(cache, MC_STAT_TTL_MS) == MC_TTL_FOREVER);
    mc_free(cache);
}

TEST(an_invalid_value_is_an_invalid_argument_and_changes_nothing) {
    mc_cache *cache = cache_with(MC_OPT_MAX_MANIFEST_BYTES, strlen(OLD) - 1);
    CHECK(mc_set_option(cache, MC_OPT_MAX_MANIFEST_BYTES, 0) == MC_INVALID_ARGUMENT);
    CHECK(put(cache, "weather", OLD) == MC_INVALID_MANIFEST);
    CHECK(put(cache, "weather", "{\"a\":1}") == MC_OK);
    mc_free(cache);
}

TEST(a_new_time_to_live_applies_to_manifests_stored_after_it_is_set) {
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
