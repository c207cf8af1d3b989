/* R8: a get after a clear never sees the outcome of a load that began before the clear. */

#include "threads.h"

/* Clears during a load of "weather", then gets "weather" before and after that load ends. */
static mc_error clear_between(mc_loader old_loader, const char *cleared, call *old) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    begin(old, cache, "weather", old_loader);
    CHECK(mc_clear(cache, cleared) == 0);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    end(old);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(stat_of(cache, "discarded") == 1);
    CHECK(stat_of(cache, "total_entries") == 1);
    CHECK(stat_of(cache, "bytes") == OCCUPIED("weather", NEW));
    mc_free(cache);
    return old->error;
}

TEST(r8_a_get_after_a_clear_never_sees_the_old_manifest) {
    call old;
    clear_between(hold_then_old, "weather", &old);
    CHECK(strcmp(old.manifest, OLD) == 0);
    mc_string_free(old.manifest);
}

TEST(r8_a_get_after_clearing_everything_never_sees_the_old_manifest) {
    call old;
    clear_between(hold_then_old, NULL, &old);
    CHECK(strcmp(old.manifest, OLD) == 0);
    mc_string_free(old.manifest);
}

TEST(r8_an_old_load_that_fails_or_finds_nothing_removes_nothing) {
    call old;
    CHECK(clear_between(hold_then_not_found, "weather", &old).status == MC_NOT_FOUND);
    CHECK(clear_between(hold_then_not_found, NULL, &old).status == MC_NOT_FOUND);
    CHECK(clear_between(hold_then_fail, "weather", &old).status == MC_LOAD_FAILED);
    CHECK(clear_between(hold_then_fail, NULL, &old).status == MC_LOAD_FAILED);
}

TEST(r8_an_old_load_that_ends_before_the_next_get_is_not_cached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call old;
    begin(&old, cache, "weather", hold_then_old);
    mc_clear(cache, "weather");
    end(&old);
    CHECK(strcmp(old.manifest, OLD) == 0);
    mc_string_free(old.manifest);
    CHECK(stat_of(cache, "total_entries") == 0);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

TEST(r8_the_new_load_can_be_joined_after_the_old_one_ended) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call old, newer, other;
    do {
        begin(&old, cache, "weather", hold_then_old);
        mc_clear(cache, "weather");
        begin(&newer, cache, "weather", hold_then_new);
        end(&old);
        mc_string_free(old.manifest);
    } while (!shared(&newer, &other));
    CHECK(strcmp(newer.manifest, NEW) == 0 && strcmp(other.manifest, NEW) == 0);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_string_free(newer.manifest);
    mc_string_free(other.manifest);
    mc_free(cache);
}

static void hold_then_clear_then_old(const char *plugin_id, mc_load *load, void *user_data) {
    hold_then_old(plugin_id, load, user_data);
    mc_clear(((call *)user_data)->cache, plugin_id);
}

TEST(r8_callers_that_already_wait_get_the_outcome_of_the_old_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call old, waiting;
    do {
        begin(&old, cache, "weather", hold_then_clear_then_old);
    } while (!shared(&old, &waiting));
    CHECK(strcmp(old.manifest, OLD) == 0 && strcmp(waiting.manifest, OLD) == 0);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_string_free(old.manifest);
    mc_string_free(waiting.manifest);
    mc_free(cache);
}

static void clear_and_load_old(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear(cache, plugin_id);
    load_text(plugin_id, load, OLD);
}

static void clear_all_and_load_old(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear(cache, NULL);
    load_text(plugin_id, load, OLD);
}

TEST(r8_a_loader_that_clears_its_own_plugin_is_not_cached) {
    const mc_loader loaders[] = {clear_and_load_old, clear_all_and_load_old};
    for (int n = 0; n < 2; n++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        CHECK(gives(cache, "weather", loaders[n], cache, OLD));
        CHECK(stat_of(cache, "discarded") == 1 && stat_of(cache, "total_entries") == 0);
        CHECK(gives(cache, "weather", load_text, NEW, NEW));
        mc_free(cache);
    }
}

static void clear_all_and_load_nested(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear(cache, NULL);
    CHECK(gives(cache, "tide", load_text, NEW, NEW));
    load_text(plugin_id, load, OLD);
}

TEST(r8_nested_loads_are_not_fenced_with_the_outer_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", clear_all_and_load_nested, cache, OLD));
    CHECK(gives(cache, "tide", load_never, NULL, NEW));
    CHECK(stat_of(cache, "discarded") == 1);
    mc_free(cache);
}

static void clear_outer_and_load(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear(cache, "weather");
    load_text(plugin_id, load, NEW);
}

static void load_over_a_clearing_one(const char *plugin_id, mc_load *load, void *cache) {
    CHECK(gives(cache, "tide", clear_outer_and_load, cache, NEW));
    load_text(plugin_id, load, OLD);
}

TEST(r8_a_nested_loader_that_clears_the_outer_plugin_is_cached_itself) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_over_a_clearing_one, cache, OLD));
    CHECK(gives(cache, "tide", load_never, NULL, NEW));
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    mc_free(cache);
}

TEST(r8_clearing_one_plugin_does_not_fence_loads_of_others) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call loading;
    begin(&loading, cache, "weather", hold_then_new);
    mc_clear(cache, "tide");
    mc_clear(cache, "");
    end(&loading);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(stat_of(cache, "discarded") == 0);
    mc_string_free(loading.manifest);
    mc_free(cache);
}

TEST(r8_clearing_one_cache_does_not_fence_loads_of_another) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    call loading;
    begin(&loading, cache, "weather", hold_then_new);
    mc_clear(other, "weather");
    mc_clear(other, NULL);
    end(&loading);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    mc_string_free(loading.manifest);
    mc_free(cache);
    mc_free(other);
}
