/* R6: what MC_OPT_SYNTAX changes: comments, trailing commas and the byte order mark. */

#include "check.h"

#define COMMENTED                                  \
    "\357\273\277// The weather.\n{\n"             \
    "  \"url\": \"https://example.com/*\", /* A\n" \
    "  comment. */\n  \"days\": [1, 2,],\n}\n"

static mc_error put_bytes(mc_cache *cache, const char *json, size_t len) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(mc_put(cache, "weather", json, len, &error) == error.status);
    return error;
}

TEST(r6_comments_trailing_commas_and_the_byte_order_mark_come_back_as_they_went_in) {
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    CHECK(gives(cache, "loaded", load_text, COMMENTED, COMMENTED));
    CHECK(put_bytes(cache, COMMENTED, strlen(COMMENTED)).status == MC_OK);
    CHECK(gives(cache, "weather", load_never, NULL, COMMENTED));
    mc_free(cache);
}

static void load_weather(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_file(load, "weather.json");
}

TEST(r6_a_file_may_have_comments_too) {
    FILE *file = fopen("weather.json", "wb");
    CHECK(file != NULL && fputs(COMMENTED, file) >= 0 && fclose(file) == 0);
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    CHECK(gives(cache, "weather", load_weather, NULL, COMMENTED));
    mc_free(cache);
}

TEST(r6_jsonc_takes_every_json_text) {
    const char *texts[] = {"{\"a\":1}", " {\n}\n", "{\"//\":\"/* \\\" */ ,]\",\"b\":[-0.5e1,{}]}"};
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        CHECK(put_bytes(cache, texts[n], strlen(texts[n])).status == MC_OK);
    }
    mc_free(cache);
}

TEST(r6_what_jsonc_has_not_either_is_refused_with_line_and_column) {
    const struct {
        const char *json;
        uint32_t line, column;
    } cases[] = {
        {"/* a\n */ [1]", 2, 5},
        {"{,}", 1, 2},
        {"{\"a\":[,]}", 1, 7},
        {"{\"a\":1,,}", 1, 8},
        {"{\"a\":1},", 1, 8},
        {"{\"a\":1 // b\n\"c\":2}", 2, 1},
        {"{\"a\":1 /* b\n\n */ \"c\":2}", 3, 5},
        {"{'a':1}", 1, 2},
        {"{\"a\":+1}", 1, 6},
        {"# a\n{\"a\":1}", 1, 1},
        {"{\"a\":\"// b\n\"}", 1, 10},
        {"// only a comment", 1, 18},
    };
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        mc_error error = put_bytes(cache, cases[n].json, strlen(cases[n].json));
        if (error.line != cases[n].line || error.column != cases[n].column) {
            fprintf(stderr, "%s\n%s\n", cases[n].json, error.message);
        }
        CHECK(error.status == MC_INVALID_MANIFEST);
        CHECK(error.line == cases[n].line && error.column == cases[n].column);
    }
    mc_free(cache);
}

TEST(r6_a_comment_without_an_end_is_told_where_it_begins) {
    const char *json = "{\"a\":1}\n /* b\n\n";
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    mc_error error = put_bytes(cache, json, strlen(json));
    CHECK(error.status == MC_INVALID_MANIFEST && error.line == 2 && error.column == 2);
    CHECK(strstr(error.message, "does not end") != NULL);
    mc_free(cache);
}

TEST(r6_a_comment_holds_neither_a_nul_nor_what_is_not_utf8) {
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    mc_error error = put_bytes(cache, "{\"a\":1} /*\0*/", 13);
    CHECK(error.status == MC_INVALID_MANIFEST && error.line == 1 && error.column == 11);
    error = put_bytes(cache, "{\"a\":1} /*\377*/", 13);
    CHECK(error.status == MC_INVALID_MANIFEST && error.line == 1 && error.column == 11);
    mc_free(cache);
}

TEST(r6_an_object_with_nothing_but_comments_is_empty_and_not_cached) {
    source source = {"{ /* \"a\": 1, */ }", 0};
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    CHECK(gives(cache, "weather", load_source, &source, source.json));
    CHECK(gives(cache, "weather", load_source, &source, source.json));
    CHECK(source.calls == 2 && mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    mc_free(cache);
}

TEST(r6_strict_json_says_what_is_not_json_and_names_the_option) {
    const struct {
        const char *json, *name;
        uint32_t line, column;
    } cases[] = {
        {"\357\273\277{\"a\":1}", "byte order mark", 1, 1},
        {"{\n  \"a\":1 // b\n}", "comment", 2, 9},
        {"{\"a\":/* b */1}", "comment", 1, 6},
        {"{\"a\":[1,2,\n]}", "comma", 2, 1},
    };
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        mc_error error = put_bytes(cache, cases[n].json, strlen(cases[n].json));
        CHECK(error.status == MC_INVALID_MANIFEST);
        CHECK(error.line == cases[n].line && error.column == cases[n].column);
        CHECK(strstr(error.message, cases[n].name) != NULL);
        CHECK(strstr(error.message, "MC_OPT_SYNTAX") != NULL);
        CHECK(strstr(error.message, "MC_SYNTAX_JSONC") != NULL);
    }
    mc_free(cache);
}

TEST(r6_the_syntax_is_that_of_what_is_loaded_or_put_from_then_on) {
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC), *other = mc_new(MC_TTL_FOREVER);
    CHECK(put_bytes(cache, COMMENTED, strlen(COMMENTED)).status == MC_OK);
    CHECK(put_bytes(other, COMMENTED, strlen(COMMENTED)).status == MC_INVALID_MANIFEST);
    set(cache, MC_OPT_SYNTAX, MC_SYNTAX_JSON);
    CHECK(put_bytes(cache, COMMENTED, strlen(COMMENTED)).status == MC_INVALID_MANIFEST);
    CHECK(refusal(cache, "loaded", load_text, COMMENTED).status == MC_INVALID_MANIFEST);
    CHECK(gives(cache, "weather", load_never, NULL, COMMENTED));
    mc_free(other);
    mc_free(cache);
}

TEST(r6_a_syntax_there_is_not_is_an_invalid_argument_and_changes_nothing) {
    const uint64_t values[] = {2, 100, UINT64_C(1) << 32, UINT64_MAX};
    mc_cache *cache = cache_with(MC_OPT_SYNTAX, MC_SYNTAX_JSONC);
    for (size_t n = 0; n < sizeof values / sizeof *values; n++) {
        CHECK(mc_set_option(cache, MC_OPT_SYNTAX, values[n]) == MC_INVALID_ARGUMENT);
    }
    CHECK(put_bytes(cache, COMMENTED, strlen(COMMENTED)).status == MC_OK);
    mc_free(cache);
}
