/* mc_put(): the host stores a manifest that it already has. */

#include "threads.h"

TEST(a_put_manifest_is_returned_byte_for_byte_and_needs_no_nul) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char text[] = " {\"a\" : 1}\n?";
    CHECK(mc_put(cache, "weather", text, strlen(text) - 1, NULL) == MC_OK);
    memset(text, 'x', sizeof text);
    CHECK(gives(cache, "weather", load_never, NULL, " {\"a\" : 1}\n"));
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 0);
    mc_free(cache);
}

TEST(an_invalid_put_changes_nothing_and_reports_line_and_column) {
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

TEST(putting_an_object_without_members_clears_the_plugin) {
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
