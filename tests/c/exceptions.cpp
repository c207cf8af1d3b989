// R11: an exception that a loader throws reaches the caller of mc_get(), and the cache still works.

#include "threads.h"

#include <stdexcept>
#include <string>

static void throw_it(const char *plugin_id, mc_load *, void *) {
    throw std::runtime_error(std::string(plugin_id) + " is broken");
}

static void answer_and_throw(const char *plugin_id, mc_load *load, void *) {
    load_text(plugin_id, load, (void *)SUN);
    throw 42;
}

static std::string thrown_by(mc_cache *cache, const char *plugin_id, mc_loader loader,
                             void *user_data) {
    try {
        mc_get(cache, plugin_id, loader, user_data, NULL);
    } catch (const std::runtime_error &error) {
        return error.what();
    }
    return "nothing";
}

TEST(r11_an_exception_passes_through_mc_get_unchanged) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(thrown_by(cache, "weather", throw_it, NULL) == "weather is broken");
    CHECK(stat_of(cache, "loads") == 1 && stat_of(cache, "load_failures") == 1);
    CHECK(stat_of(cache, "misses") == 1 && stat_of(cache, "total_entries") == 0);
    mc_free(cache);
}

TEST(r11_an_exception_leaves_the_mc_error_as_it_was) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error, before;
    memset(&error, 0x55, sizeof error);
    before = error;
    try {
        mc_get(cache, "weather", throw_it, NULL, &error);
        CHECK(false);
    } catch (const std::runtime_error &) {
        CHECK(memcmp(&error, &before, sizeof error) == 0);
    }
    mc_free(cache);
}

TEST(r11_the_next_get_loads_again) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < 3; n++) {
        CHECK(thrown_by(cache, "weather", throw_it, NULL) == "weather is broken");
    }
    CHECK(gives(cache, "weather", load_text, (void *)SUN, SUN));
    CHECK(gives(cache, "weather", load_never, NULL, SUN));
    mc_free(cache);
}

TEST(r11_an_answer_given_before_the_exception_is_not_cached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    int caught = 0;
    try {
        mc_get(cache, "weather", answer_and_throw, NULL, NULL);
    } catch (int number) {
        caught = number;
    }
    CHECK(caught == 42);
    CHECK(stat_of(cache, "total_entries") == 0 && stat_of(cache, "load_failures") == 1);
    mc_free(cache);
}

static void get_inner(const char *plugin_id, mc_load *load, void *cache) {
    mc_get((mc_cache *)cache, "inner", throw_it, NULL, NULL);
    load_text(plugin_id, load, (void *)SUN);
}

static void get_inner_and_catch(const char *plugin_id, mc_load *load, void *cache) {
    CHECK(thrown_by((mc_cache *)cache, "inner", throw_it, NULL) == "inner is broken");
    load_text(plugin_id, load, (void *)SUN);
}

TEST(r11_an_exception_passes_through_nested_gets) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(thrown_by(cache, "outer", get_inner, cache) == "inner is broken");
    CHECK(stat_of(cache, "load_failures") == 2);
    CHECK(gives(cache, "inner", load_text, (void *)SUN, SUN));
    CHECK(gives(cache, "outer", load_text, (void *)SUN, SUN));
    mc_free(cache);
}

TEST(r11_a_loader_may_catch_the_exception_of_a_nested_one) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "outer", get_inner_and_catch, cache, SUN));
    CHECK(gives(cache, "outer", load_never, NULL, SUN));
    CHECK(gives(cache, "inner", load_text, (void *)SUN, SUN));
    mc_free(cache);
}

static void hold_then_throw(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    throw_it(plugin_id, load, user_data);
}

static void *make_call_and_catch(void *argument) {
    try {
        make_call(argument);
        CHECK(false);
    } catch (const std::runtime_error &) {
    }
    return NULL;
}

TEST(r11_waiting_callers_get_a_failed_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call throwing, waiting;
    do {
        begin_on(make_call_and_catch, &throwing, cache, "weather", hold_then_throw);
        await(&throwing.begun, 2);
    } while (!shared(&throwing, &waiting));
    CHECK(waiting.manifest == NULL && waiting.error.status == MC_LOAD_FAILED);
    CHECK(strstr(waiting.error.message, "weather") != NULL);
    CHECK(strstr(waiting.error.message, "exception") != NULL);
    CHECK(gives(cache, "weather", load_text, (void *)SUN, SUN));
    mc_free(cache);
}

static void clear_and_throw(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear((mc_cache *)cache, plugin_id);
    throw_it(plugin_id, load, cache);
}

TEST(r11_a_fenced_load_that_throws_ends_too) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(thrown_by(cache, "weather", clear_and_throw, cache) == "weather is broken");
    CHECK(stat_of(cache, "discarded") == 1);
    CHECK(gives(cache, "weather", load_text, (void *)SUN, SUN));
    mc_free(cache);
}

TEST(r11_waiting_callers_get_the_expired_manifest_if_an_option_allows_it) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call throwing, waiting;
    set(cache, MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    do {
        put_expired(cache, "weather", SUN);
        begin_on(make_call_and_catch, &throwing, cache, "weather", hold_then_throw);
        await(&throwing.begun, 2);
    } while (!shared(&throwing, &waiting));
    CHECK(strcmp(waiting.manifest, SUN) == 0 && waiting.error.status == MC_STALE);
    CHECK(strstr(waiting.error.message, "exception") != NULL);
    mc_string_free(waiting.manifest);
    mc_free(cache);
}

TEST(r11_after_an_exception_the_loader_is_not_called_until_the_retry_time_is_over) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error;
    set(cache, MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    set(cache, MC_OPT_RETRY_MS, MC_TTL_FOREVER);
    put_expired(cache, "weather", SUN);
    CHECK(thrown_by(cache, "weather", throw_it, NULL) == "weather is broken");
    const char *manifest = mc_get(cache, "weather", load_never, NULL, &error);
    CHECK(strcmp(manifest, SUN) == 0 && error.status == MC_STALE);
    mc_string_free(manifest);
    mc_free(cache);
}

static void append_message(int32_t level, const char *message, void *messages) {
    *(std::string *)messages += std::to_string(level) + " " + message + "\n";
}

TEST(r11_a_load_that_throws_is_not_logged_as_failed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    std::string messages;
    mc_set_logger(cache, append_message, &messages, MC_LOG_DEBUG);
    CHECK(thrown_by(cache, "weather", throw_it, NULL) == "weather is broken");
    CHECK(messages == "4 Loading manifest 'weather' from disk\n");
    messages.clear();
    // The library does not believe that this thread's logger is still running.
    mc_clear(cache, NULL);
    CHECK(messages == "3 Cleared entire manifest cache (0 entries)\n");
    mc_free(cache);
}
