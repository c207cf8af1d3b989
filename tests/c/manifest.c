/* R6: which texts are manifests, and the line and column of the error in all others. */

#include "check.h"

enum { LARGEST = 16 * 1024 * 1024 };

typedef struct {
    const char *json;
    size_t len;
    mc_status returned;
} text;

static void load_bytes(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id;
    text *text = user_data;
    text->returned = mc_load_json(load, text->json, text->len);
}

static void accepts(const char *json, size_t len) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    text text = {json, len, -1};
    const char *manifest = mc_get(cache, "weather", load_bytes, &text, NULL);
    CHECK(text.returned == MC_OK);
    CHECK(manifest != NULL && mc_string_len(manifest) == len);
    CHECK(memcmp(manifest, json, len) == 0 && manifest[len] == '\0');
    mc_string_free(manifest);
    mc_free(cache);
}

static mc_error refuses(const char *json, size_t len) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    text text = {json, len, -1};
    mc_error error = refusal(cache, "weather", load_bytes, &text);
    CHECK(error.status == MC_INVALID_MANIFEST && text.returned == MC_INVALID_MANIFEST);
    CHECK(strstr(error.message, "weather") != NULL);
    CHECK(stat_of(cache, "load_failures") == 1);
    mc_free(cache);
    return error;
}

TEST(r6_a_manifest_is_returned_byte_for_byte) {
    const char *texts[] = {
        "{\"b\":1,\"a\":2,\"b\":3}",
        " \t\r\n{ \"pi\" : 3.140 ,\r\n\"big\":1e999, \"-\":-0.0E-0 }\n\n",
        "{\"\\u0000\":\"\\ud800 \\/ \\u00e4 \303\244 \360\237\214\246 \177\"}",
        "{\"a\":[null,true,false,[],{},\"\"]}",
    };
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        accepts(texts[n], strlen(texts[n]));
    }
}

TEST(r6_a_text_needs_no_nul_at_its_end) {
    accepts("{\"a\":1}this is not looked at", 7);
}

TEST(r6_the_callers_buffer_is_copied) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char buffer[] = "{\"a\":1}";
    const char *manifest = mc_get(cache, "weather", load_text, buffer, NULL);
    memset(buffer, 'x', strlen(buffer));
    CHECK(strcmp(manifest, "{\"a\":1}") == 0);
    CHECK(gives(cache, "weather", load_never, NULL, "{\"a\":1}"));
    mc_string_free(manifest);
    mc_free(cache);
}

TEST(r6_a_text_that_is_not_a_json_object_is_refused_with_line_and_column) {
    const struct {
        const char *json;
        uint32_t line, column;
    } cases[] = {
        {"[1]", 1, 1},
        {"\n\n  \"text\"", 3, 3},
        {"null", 1, 1},
        {"12", 1, 1},
        {"no JSON", 1, 1},
        {"", 1, 1},
        {"  \n ", 2, 2},
        {"\357\273\277{\"a\":1}", 1, 1},
        {"{\"a\":1,\n \"b\" 2}", 2, 6},
        {"{'a':1}", 1, 2},
        {"{\"a\":1}\n{\"b\":2}", 2, 1},
        {"{\"a\":1,}", 1, 8},
        {"{\"a\":tru}", 1, 9},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        mc_error error = refuses(cases[n].json, strlen(cases[n].json));
        if (error.line != cases[n].line || error.column != cases[n].column) {
            fprintf(stderr, "%s\n%s\n", cases[n].json, error.message);
        }
        CHECK(error.line == cases[n].line && error.column == cases[n].column);
    }
}

TEST(r6_the_grammar_is_that_of_rfc_8259) {
    const char *texts[] = {
        "{\"a\":01}",        "{\"a\":+1}",      "{\"a\":.5}",     "{\"a\":1.}",
        "{\"a\":0x1}",       "{\"a\":NaN}",     "{\"a\":\"\t\"}", "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}", "{a:1}",           "{\"a\":[1,]}",   "{,}",
        "{\"a\"}",           "// a\n{\"a\":1}", "{\"a\":1}}",
    };
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        mc_error error = refuses(texts[n], strlen(texts[n]));
        CHECK(error.line >= 1 && error.column >= 1);
    }
}

TEST(r6_a_truncated_text_is_refused_wherever_it_ends) {
    const char *whole = "{\"name\":\"W\303\244rme\",\n\"n\":[1,{\"a\":null}]}";
    size_t line_end = strcspn(whole, "\n");
    accepts(whole, strlen(whole));
    for (size_t len = 0; len < strlen(whole); len++) {
        mc_error error = refuses(whole, len);
        CHECK(error.line == (len <= line_end ? 1u : 2u) && error.column >= 1);
    }
}

TEST(r6_invalid_utf8_is_refused_with_line_and_column) {
    const char *bad[] = {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xA4"};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        char json[32];
        snprintf(json, sizeof json, "{\n\"\303\244\":\"%s\"}", bad[n]);
        mc_error error = refuses(json, strlen(json));
        CHECK(error.line == 2 && error.column == 7);
        CHECK(strstr(error.message, "UTF-8") != NULL);
    }
}

TEST(r6_a_nul_in_the_text_is_refused) {
    refuses("{\"a\":\"\0\"}", 9);
    refuses("{\"a\":1}\0", 8);
}

TEST(r6_a_byte_order_mark_is_refused_by_name) {
    CHECK(strstr(refuses("\357\273\277{}", 5).message, "byte order mark") != NULL);
}

TEST(r6_any_depth_of_nesting_is_accepted) {
    enum { DEEP = 100000 };
    char *json = malloc(2 * DEEP + 8), *end = json;
    end += sprintf(end, "{\"a\":");
    memset(end, '[', DEEP);
    end += DEEP;
    refuses(json, (size_t)(end - json));
    memset(end, ']', DEEP);
    end += DEEP;
    refuses(json, (size_t)(end - json));
    *end++ = '}';
    accepts(json, (size_t)(end - json));
    free(json);
}

TEST(r6_the_size_limit_is_sixteen_mebibytes) {
    char *json = malloc(LARGEST + 1);
    memset(json, 'x', LARGEST + 1);
    memcpy(json, "{\"a\":\"", 6);
    memcpy(json + LARGEST - 2, "\"}", 3);
    accepts(json, LARGEST);
    memcpy(json + LARGEST - 2, "x\"}", 3);
    mc_error error = refuses(json, LARGEST + 1);
    CHECK(strstr(error.message, "16777216") != NULL);
    free(json);
}
