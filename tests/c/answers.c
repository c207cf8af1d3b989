/* R3: what a loader may do. Also how its answers are reported in an mc_error. */

#include "check.h"

#include <pthread.h>

TEST(a_load_without_an_answer_has_failed) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, "weather", load_silently, NULL);
    CHECK(error.status == MC_LOAD_FAILED && error.code == 0);
    CHECK(strstr(error.message, "no answer") != NULL);
    CHECK(stat_of(cache, "load_failures") == 1 && stat_of(cache, "not_found") == 0);
    mc_free(cache);
}

/* Gives one answer for each letter: s for SUN, r for RAIN, broken, missing, failed. */
static void load_letters(const char *plugin_id, mc_load *load, void *letters) {
    for (const char *letter = letters; *letter != '\0'; letter++) {
        switch (*letter) {
        case 's':
            load_text(plugin_id, load, SUN);
            break;
        case 'r':
            load_text(plugin_id, load, RAIN);
            break;
        case 'b':
            load_text(plugin_id, load, "{");
            break;
        case 'm':
            mc_load_not_found(load);
            break;
        case 'f':
            mc_load_fail(load, 7, "on fire");
            break;
        }
    }
}

TEST(the_last_answer_counts) {
    mc_cache *cache = mc_new(0);
    CHECK(gives(cache, "weather", load_letters, "sr", RAIN));
    CHECK(gives(cache, "weather", load_letters, "fr", RAIN));
    CHECK(gives(cache, "weather", load_letters, "mbs", SUN));
    CHECK(refusal(cache, "weather", load_letters, "sf").status == MC_LOAD_FAILED);
    CHECK(refusal(cache, "weather", load_letters, "sm").status == MC_NOT_FOUND);
    CHECK(refusal(cache, "weather", load_letters, "fsb").status == MC_INVALID_MANIFEST);
    mc_error error = refusal(cache, "weather", load_letters, "fm");
    CHECK(error.status == MC_NOT_FOUND && error.code == 0);
    CHECK(stat_of(cache, "load_failures") == 2 && stat_of(cache, "not_found") == 2);
    mc_free(cache);
}

static void load_failing(const char *plugin_id, mc_load *load, void *message) {
    mc_load_fail(load, plugin_id[0] == '-' ? INT32_MIN : 42, message);
}

TEST(a_failure_carries_the_hosts_code_and_message) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, "weather", load_failing, "the registry is down");
    CHECK(error.status == MC_LOAD_FAILED && error.code == 42);
    CHECK(error.line == 0 && error.column == 0);
    CHECK(strstr(error.message, "weather") != NULL);
    CHECK(strstr(error.message, "the registry is down") != NULL);
    CHECK(refusal(cache, "-", load_failing, "").code == INT32_MIN);
    CHECK(refusal(cache, "weather", load_failing, NULL).code == 42);
    mc_free(cache);
}

TEST(a_message_is_one_line_without_control_characters) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, "two\nlines", load_failing, "tab\tbell\aescape\x1B[1m\x7F");
    CHECK(strstr(error.message, "two\\nlines") != NULL);
    CHECK(strstr(error.message, "tab\\tbell") != NULL);
    CHECK(strstr(error.message, "[1m") != NULL);
    mc_free(cache);
}

static int is_utf8_of_a_umlaut(const char *text) {
    while (text[0] == '\303' && text[1] == '\244') {
        text += 2;
    }
    return *text == '\0';
}

TEST(a_long_message_is_truncated_between_characters) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char umlauts[601] = "";
    for (int n = 0; n < 300; n++) {
        strcat(umlauts, "\303\244");
    }
    const char *ids[] = {"a", "ab"};
    size_t lengths = 0;
    for (int n = 0; n < 2; n++) {
        mc_error error = refusal(cache, ids[n], load_failing, umlauts);
        CHECK(is_utf8_of_a_umlaut(strchr(error.message, '\303')));
        lengths += strlen(error.message);
    }
    CHECK(lengths == 494 + 495);
    mc_free(cache);
}

TEST(invalid_utf8_in_a_message_is_replaced) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, "weather", load_failing, "caf\xE9 closed");
    CHECK(strstr(error.message, "caf\357\277\275 closed") != NULL);
    mc_free(cache);
}

TEST(long_ids_are_shortened_in_the_middle) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[5001];
    memset(id, 'x', 5000);
    memcpy(id, "begin", 5);
    strcpy(id + 4997, "end");
    mc_error error = refusal(cache, id, load_failing, "this can still be read");
    CHECK(strstr(error.message, "beginxxx") != NULL && strstr(error.message, "xxxend") != NULL);
    CHECK(strstr(error.message, "this can still be read") != NULL);
    mc_free(cache);
}

typedef struct {
    const char *plugin_id;
    pthread_t thread;
    int calls;
} witness;

static void load_and_compare(const char *plugin_id, mc_load *load, void *user_data) {
    witness *caller = user_data;
    CHECK(plugin_id == caller->plugin_id);
    CHECK(pthread_equal(pthread_self(), caller->thread));
    caller->calls++;
    load_text(plugin_id, load, SUN);
}

TEST(r3_the_loader_runs_on_the_calling_thread_with_the_callers_pointers) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    witness caller = {"weather", pthread_self(), 0};
    CHECK(gives(cache, caller.plugin_id, load_and_compare, &caller, SUN));
    CHECK(caller.calls == 1);
    mc_free(cache);
}

static void load_with_everything(const char *plugin_id, mc_load *load, void *user_data) {
    mc_cache *cache = user_data;
    CHECK(gives(cache, "tide", load_text, RAIN, RAIN));
    CHECK(gives(cache, "tide", load_never, NULL, RAIN));
    CHECK(gives(cache, "stars", NULL, NULL, SUN));
    CHECK(refusal(cache, plugin_id, NULL, NULL).status == MC_NOT_FOUND);
    CHECK(mc_clear(cache, "stars") == 1);
    CHECK(stat_of(cache, "total_entries") == 1);
    CHECK(mc_clear(cache, "moon") == 0);
    CHECK(mc_version()[0] != '\0');

    mc_cache *other = mc_new(MC_TTL_FOREVER);
    CHECK(gives(other, plugin_id, load_text, RAIN, RAIN));
    CHECK(mc_clear(other, NULL) == 1);
    mc_free(other);

    const char *manifest = mc_get(cache, "tide", load_never, NULL, NULL);
    CHECK(mc_load_json(load, manifest, mc_string_len(manifest)) == MC_OK);
    mc_string_free(manifest);
}

TEST(r3_a_loader_may_call_every_function) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "stars", load_text, SUN, SUN));
    CHECK(gives(cache, "weather", load_with_everything, cache, RAIN));
    CHECK(gives(cache, "weather", load_never, NULL, RAIN));
    mc_free(cache);
}

static void load_and_clear_all(const char *plugin_id, mc_load *load, void *cache) {
    mc_clear(cache, NULL);
    load_text(plugin_id, load, SUN);
}

TEST(r3_a_loader_may_clear_all_plugins) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_and_clear_all, cache, SUN));
    mc_free(cache);
}
