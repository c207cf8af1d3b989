/*
 * MC_OPT_STALE_IF_ERROR_MS, MC_OPT_RETRY_MS and MC_OPT_STALE_WHILE_REVALIDATE_MS: when mc_get()
 * returns an expired manifest.
 */

#include "threads.h"

/* Calls mc_get(), which must return this expired manifest, and returns the error. */
static mc_error stale(mc_cache *cache, mc_loader loader, void *user_data, const char *text) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    const char *manifest = mc_get(cache, "weather", loader, user_data, &error);
    CHECK(manifest != NULL && strcmp(manifest, text) == 0);
    CHECK(error.status == MC_STALE);
    mc_string_free(manifest);
    return error;
}

TEST(without_a_stale_option_a_failed_load_returns_an_error) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    put_expired(cache, "weather", OLD);
    CHECK(refusal(cache, "weather", load_failure, NULL).status == MC_LOAD_FAILED);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(stale_if_error_returns_the_expired_manifest_and_the_reason) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(cache, MC_OPT_RETRY_MS, 0);
    put_expired(cache, "weather", OLD);
    mc_error error = stale(cache, load_failure, NULL, OLD);
    CHECK(error.code == 7 && error.line == 0 && error.column == 0);
    CHECK(strcmp(error.message,
                 "plugin \"weather\": the loader failed with code 7: the disk is on fire; "
                 "this is the expired manifest") == 0);
    error = stale(cache, load_text, "{\n\"a\" 1}", OLD);
    CHECK(error.code == 0 && error.line == 2 && error.column == 5);
    error = stale(cache, load_silently, NULL, OLD);
    CHECK(strstr(error.message, "no answer") != NULL);
    CHECK(mc_get(cache, "tide", load_failure, NULL, NULL) == NULL);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 4 && mc_stat(cache, MC_STAT_LOAD_FAILURES) == 4);
    CHECK(mc_stat(cache, MC_STAT_MISSES) == 4 && mc_stat(cache, MC_STAT_STALE_HITS) == 0);
    CHECK(mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 1);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_free(cache);
}

TEST(stale_if_error_works_without_an_mc_error) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, HOUR);
    put_expired(cache, "weather", OLD);
    for (int n = 0; n < 2; n++) {
        const char *manifest = mc_get(cache, "weather", load_failure, NULL, NULL);
        CHECK(strcmp(manifest, OLD) == 0);
        mc_string_free(manifest);
    }
    mc_free(cache);
}

TEST(stale_if_error_does_not_apply_to_not_found) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    source missing = {NULL, 0};
    put_expired(cache, "weather", OLD);
    CHECK(refusal(cache, "weather", load_source, &missing).status == MC_NOT_FOUND);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(stale_if_error_ends_after_its_time) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, 1);
    put_expired(cache, "weather", OLD);
    pause_ms(2);
    CHECK(refusal(cache, "weather", load_failure, NULL).status == MC_LOAD_FAILED);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(after_a_failure_the_loader_is_not_called_until_the_retry_time_is_over) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    set(cache, MC_OPT_RETRY_MS, HOUR);
    put_expired(cache, "weather", OLD);
    mc_error first = stale(cache, load_failure, NULL, OLD);
    mc_error again = stale(cache, load_never, NULL, OLD);
    CHECK(memcmp(&first, &again, sizeof first) == 0);
    CHECK(mc_stat(cache, MC_STAT_STALE_HITS) == 1 && mc_stat(cache, MC_STAT_LOADS) == 1);
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    CHECK(mc_revision(cache, "weather") == 0);
    mc_clear(cache, "weather");
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

TEST(after_the_retry_time_the_loader_is_called_again) {
    mc_cache *cache = cache_with(MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    set(cache, MC_OPT_RETRY_MS, 1);
    put_expired(cache, "weather", OLD);
    stale(cache, load_failure, NULL, OLD);
    pause_ms(2);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

TEST(stale_while_revalidate_serves_other_callers_during_a_reload) {
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

TEST(stale_while_revalidate_does_not_serve_a_cleared_manifest) {
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
