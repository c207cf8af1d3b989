/* On a single thread: what the cache keeps, how long it keeps it, and what it does not keep. */

#include "check.h"

TEST(r1_a_fresh_entry_is_returned_without_calling_the_loader) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(gives(cache, "weather", load_never, NULL, SUN));
    CHECK(stat_of(cache, "loads") == 1);
    mc_free(cache);
}

TEST(r1_plugins_and_caches_are_kept_apart) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(gives(cache, "Weather", load_text, RAIN, RAIN));
    CHECK(gives(other, "weather", load_text, RAIN, RAIN));
    CHECK(gives(cache, "weather", load_never, NULL, SUN));
    mc_free(cache);
    CHECK(gives(other, "weather", load_never, NULL, RAIN));
    mc_free(other);
}

TEST(r1_a_thousand_plugins_are_found_again) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16], json[32];
    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < 1000; n++) {
            snprintf(id, sizeof id, "plugin-%d", n);
            snprintf(json, sizeof json, "{\"n\":%d}", n);
            CHECK(gives(cache, id, round == 0 ? load_text : load_never, json, json));
        }
    }
    CHECK(mc_clear(cache, NULL) == 1000);
    mc_free(cache);
}

TEST(any_utf8_string_is_a_valid_id) {
    const char *ids[] = {"", " ", "../x", "a/b", "\n\t", "w\303\244rme", "\360\237\214\246"};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof ids / sizeof *ids; n++) {
        CHECK(gives(cache, ids[n], load_text, SUN, SUN));
        CHECK(gives(cache, ids[n], load_never, NULL, SUN));
    }
    CHECK(mc_clear(cache, "") == 1);
    CHECK(mc_clear(cache, "") == 0);
    CHECK(stat_of(cache, "total_entries") == sizeof ids / sizeof *ids - 1);
    mc_free(cache);
}

TEST(a_null_loader_only_looks_up) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    CHECK(stat_of(cache, "misses") == 1 && stat_of(cache, "loads") == 0);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(gives(cache, "weather", NULL, NULL, SUN));
    mc_free(cache);
}

static void load_and_note_the_time(const char *plugin_id, mc_load *load, void *time) {
    load_text(plugin_id, load, SUN);
    *(int64_t *)time = now_ns();
}

TEST(r2_an_entry_is_loaded_again_only_after_its_time_to_live) {
    mc_cache *cache = mc_new(20);
    int64_t first, next = 0;
    CHECK(gives(cache, "weather", load_and_note_the_time, &first, SUN));
    while (next == 0) {
        CHECK(gives(cache, "weather", load_and_note_the_time, &next, SUN));
    }
    CHECK(next - first > 20 * MS);
    mc_free(cache);
}

static mc_cache *cache_with_an_expired_entry(void) {
    mc_cache *cache = mc_new(1);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    await_expiry(cache);
    return cache;
}

TEST(r2_an_expired_entry_is_counted_until_it_is_cleared) {
    mc_cache *cache = cache_with_an_expired_entry();
    CHECK(stat_of(cache, "total_entries") == 1);
    CHECK(stat_of(cache, "bytes") == OCCUPIED("weather", SUN));
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    CHECK(stat_of(cache, "total_entries") == 1 && stat_of(cache, "expired_entries") == 1);
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(stat_of(cache, "total_entries") == 0 && stat_of(cache, "expired_entries") == 0);
    mc_free(cache);
}

static void load_while_the_expired_entry_is_still_counted(const char *plugin_id, mc_load *load,
                                                          void *cache) {
    CHECK(stat_of((mc_cache *)cache, "expired_entries") == 1);
    load_text(plugin_id, load, RAIN);
}

TEST(r2_an_expired_entry_is_counted_until_a_load_replaces_it) {
    mc_cache *cache = cache_with_an_expired_entry();
    mc_loader load = load_while_the_expired_entry_is_still_counted;
    CHECK(gives(cache, "weather", load, cache, RAIN));
    CHECK(stat_of(cache, "total_entries") == 1);
    CHECK(stat_of(cache, "bytes") == OCCUPIED("weather", RAIN));
    mc_free(cache);
}

TEST(r2_an_expired_entry_is_removed_when_its_load_fails_or_finds_nothing) {
    const char *answers[] = {NULL, "no JSON"};
    for (int n = 0; n < 2; n++) {
        mc_cache *cache = cache_with_an_expired_entry();
        source disk = {answers[n], 0};
        refusal(cache, "weather", load_source, &disk);
        CHECK(stat_of(cache, "total_entries") == 0 && stat_of(cache, "bytes") == 0);
        mc_free(cache);
    }
}

TEST(r2_with_a_time_to_live_of_zero_nothing_is_cached) {
    mc_cache *cache = mc_new(0);
    source disk = {SUN, 0};
    CHECK(gives(cache, "weather", load_source, &disk, SUN));
    CHECK(gives(cache, "weather", load_source, &disk, SUN));
    CHECK(disk.calls == 2);
    CHECK(stat_of(cache, "total_entries") == 0);
    mc_free(cache);
}

TEST(r4_not_found_is_returned_and_not_cached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    source disk = {NULL, 0};
    mc_error error = refusal(cache, "weather", load_source, &disk);
    CHECK(error.status == MC_NOT_FOUND && error.code == 0 && error.line == 0);
    CHECK(strstr(error.message, "weather") != NULL);
    disk.json = SUN;
    CHECK(gives(cache, "weather", load_source, &disk, SUN));
    CHECK(disk.calls == 2);
    mc_free(cache);
}

TEST(r5_an_object_without_members_is_returned_but_not_cached) {
    const char *empty[] = {"{}", "{ }", " {\n\t}\n"};
    for (int n = 0; n < 3; n++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        source disk = {empty[n], 0};
        CHECK(gives(cache, "weather", load_source, &disk, empty[n]));
        CHECK(gives(cache, "weather", load_source, &disk, empty[n]));
        CHECK(disk.calls == 2);
        CHECK(stat_of(cache, "total_entries") == 0 && stat_of(cache, "load_failures") == 0);
        mc_free(cache);
    }
}

TEST(r5_an_object_whose_members_are_empty_is_cached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char json[] = "{\"\":{}}";
    CHECK(gives(cache, "weather", load_text, json, json));
    CHECK(gives(cache, "weather", load_never, NULL, json));
    mc_free(cache);
}

TEST(r10_a_failure_is_not_cached_and_the_next_call_loads_again) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(refusal(cache, "weather", load_failure, NULL).status == MC_LOAD_FAILED);
    CHECK(refusal(cache, "weather", load_text, "[]").status == MC_INVALID_MANIFEST);
    CHECK(stat_of(cache, "total_entries") == 0);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(stat_of(cache, "loads") == 3);
    mc_free(cache);
}

TEST(clear_returns_how_many_entries_it_removed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(mc_clear(cache, NULL) == 0);
    CHECK(mc_clear(cache, "weather") == 0);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(gives(cache, "tide", load_text, SUN, SUN));
    CHECK(gives(cache, "", load_text, SUN, SUN));
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(mc_clear(cache, "weather") == 0);
    CHECK(mc_clear(cache, "") == 1);
    CHECK(gives(cache, "tide", load_never, NULL, SUN));
    CHECK(mc_clear(cache, NULL) == 1);
    CHECK(stat_of(cache, "total_entries") == 0);
    mc_free(cache);
}

TEST(the_version_is_that_of_the_header) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", MC_VERSION_MAJOR, MC_VERSION_MINOR,
             MC_VERSION_PATCH);
    CHECK(strcmp(mc_version(), version) == 0);
}

TEST(an_error_is_512_bytes) {
    CHECK(sizeof(mc_error) == 512);
    CHECK(sizeof(mc_status) == 4);
}
