/* MC_OPT_FAILURE_TTL_MS: failed loads and invalid manifests that are remembered. */

#include "check.h"

#define FAILURE_TTL (60 * 1000)

static int loads;

static void load_counted(const char *plugin_id, mc_load *load, void *text) {
    loads++;
    if (text == NULL) {
        mc_load_fail(load, 42, "on purpose");
    } else {
        load_text(plugin_id, load, text);
    }
}

TEST(a_failure_is_remembered_and_returned_again_without_a_load) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, FAILURE_TTL);
    mc_error first = refusal(cache, "weather", load_counted, NULL);
    for (int n = 0; n < 3; n++) {
        mc_error again = refusal(cache, "weather", load_counted, NULL);
        CHECK(again.status == MC_LOAD_FAILED && again.code == 42);
        CHECK(strcmp(again.message, first.message) == 0);
    }
    CHECK(loads == 1);
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_LOAD_FAILED);
    CHECK(mc_stat(cache, MC_STAT_NEGATIVE_HITS) == 4 && mc_stat(cache, MC_STAT_MISSES) == 1);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 1 && mc_revision(cache, "weather") == 0);
    mc_free(cache);
}

TEST(an_invalid_manifest_is_remembered_with_its_line_and_column) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, FAILURE_TTL);
    for (int n = 0; n < 3; n++) {
        mc_error error = refusal(cache, "weather", load_counted, (void *)"{\n  ]");
        CHECK(error.status == MC_INVALID_MANIFEST && error.line == 2 && error.column == 3);
    }
    CHECK(loads == 1);
    mc_free(cache);
}

TEST(a_failure_is_forgotten_after_its_time) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, FAILURE_TTL);
    refusal(cache, "weather", load_counted, NULL);
    mc_advance(cache, FAILURE_TTL + 1000);
    CHECK(gives(cache, "weather", load_counted, (void *)NEW, NEW));
    CHECK(loads == 2);
    mc_free(cache);
}

TEST(a_clear_or_a_put_forgets_a_failure) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, FAILURE_TTL);
    refusal(cache, "weather", load_counted, NULL);
    CHECK(mc_clear(cache, "weather") == 1);
    refusal(cache, "weather", load_counted, NULL);
    CHECK(loads == 2);
    CHECK(mc_put(cache, "weather", NEW, strlen(NEW), NULL) == MC_OK);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_free(cache);
}

TEST(while_a_stale_manifest_is_returned_the_retry_time_counts) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, FAILURE_TTL);
    set(cache, MC_OPT_STALE_IF_ERROR_MS, 10 * FAILURE_TTL);
    set(cache, MC_OPT_RETRY_MS, 1000);
    put_expired(cache, "weather", OLD);
    for (int n = 0; n < 2; n++) {
        mc_error error;
        mc_string_free(mc_get(cache, "weather", load_counted, NULL, &error));
        CHECK(error.status == MC_STALE && loads == n + 1);
        mc_advance(cache, 2000);
    }
    mc_free(cache);
}

static void load_failure_not_to_remember(const char *plugin_id, mc_load *load, void *text) {
    mc_load_ttl(load, 0);
    load_counted(plugin_id, load, text);
}

TEST(with_a_time_to_live_of_zero_a_failure_is_not_remembered) {
    mc_cache *cache = cache_with(MC_OPT_FAILURE_TTL_MS, FAILURE_TTL);
    for (int n = 0; n < 2; n++) {
        refusal(cache, "weather", load_failure_not_to_remember, NULL);
    }
    CHECK(loads == 2 && mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(without_the_option_a_failure_is_not_remembered) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < 3; n++) {
        refusal(cache, "weather", load_counted, NULL);
    }
    CHECK(loads == 3 && mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}
