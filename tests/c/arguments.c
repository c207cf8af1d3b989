/* R14: every function handles NULL and invalid UTF-8 in each of its arguments. */

#define _GNU_SOURCE

#include "check.h"

#include <sys/mman.h>

static const char *const not_utf8[] = {"\xFF", "a\x80", "\xC0\xAF", "\xED\xA0\x80", "\xC3"};

TEST(r14_get_without_a_cache_or_an_id_is_an_invalid_argument) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(refusal(NULL, "weather", load_never, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(refusal(cache, NULL, load_never, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(refusal(NULL, NULL, NULL, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(mc_get(NULL, NULL, NULL, NULL, NULL) == NULL);
    CHECK(stat_of(cache, "misses") == 0);
    mc_free(cache);
}

TEST(r14_an_id_that_is_not_utf8_is_an_invalid_argument) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (size_t n = 0; n < sizeof not_utf8 / sizeof *not_utf8; n++) {
        CHECK(refusal(cache, not_utf8[n], load_never, NULL).status == MC_INVALID_ARGUMENT);
        CHECK(refusal(cache, not_utf8[n], NULL, NULL).status == MC_INVALID_ARGUMENT);
    }
    CHECK(stat_of(cache, "misses") == 0);
    mc_free(cache);
}

TEST(r14_the_error_may_be_null) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    source missing = {NULL, 0};
    CHECK(mc_get(cache, "weather", load_source, &missing, NULL) == NULL);
    CHECK(mc_get(cache, "weather", NULL, NULL, NULL) == NULL);
    CHECK(mc_get(cache, NULL, load_source, &missing, NULL) == NULL);
    for (int n = 0; n < 2; n++) {
        const char *manifest = mc_get(cache, "weather", load_text, SUN, NULL);
        CHECK(strcmp(manifest, SUN) == 0);
        mc_string_free(manifest);
    }
    mc_free(cache);
}

TEST(r14_all_other_functions_accept_null_and_do_nothing) {
    CHECK(mc_clear(NULL, NULL) == 0);
    CHECK(mc_clear(NULL, "weather") == 0);
    CHECK(mc_stats(NULL) == NULL);
    CHECK(mc_entries(NULL) == NULL);
    CHECK(mc_stat(NULL, MC_STAT_TTL_MS) == 0);
    CHECK(mc_purge(NULL) == 0);
    CHECK(mc_set_option(NULL, MC_OPT_TTL_MS, 1) == MC_INVALID_ARGUMENT);
    mc_set_logger(NULL, NULL, NULL, MC_LOG_DEBUG);
    CHECK(mc_revision(NULL, NULL) == 0);
    CHECK(mc_revision(NULL, "weather") == 0);
    CHECK(mc_string_revision(NULL) == 0);
    CHECK(mc_string_len(NULL) == 0);
    mc_string_free(NULL);
    mc_free(NULL);
}

TEST(r14_clearing_an_id_that_is_not_utf8_clears_nothing) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    for (size_t n = 0; n < sizeof not_utf8 / sizeof *not_utf8; n++) {
        CHECK(mc_clear(cache, not_utf8[n]) == 0);
    }
    CHECK(gives(cache, "weather", load_never, NULL, SUN));
    mc_free(cache);
}

TEST(r14_the_revision_of_an_id_that_is_null_or_not_utf8_is_zero) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(mc_revision(cache, NULL) == 0);
    for (size_t n = 0; n < sizeof not_utf8 / sizeof *not_utf8; n++) {
        CHECK(mc_revision(cache, not_utf8[n]) == 0);
    }
    CHECK(stat_of(cache, "hits") == 0);
    mc_free(cache);
}

static int put_is_refused(mc_cache *cache, const char *plugin_id, const char *json, size_t len) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(mc_put(cache, plugin_id, json, len, NULL) == MC_INVALID_ARGUMENT);
    CHECK(mc_put(cache, plugin_id, json, len, &error) == MC_INVALID_ARGUMENT);
    CHECK(error.code == 0 && error.line == 0 && error.column == 0);
    return error.status == MC_INVALID_ARGUMENT && error.message[0] != '\0';
}

TEST(r14_a_put_without_a_cache_an_id_or_a_text_is_an_invalid_argument) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(put_is_refused(NULL, "weather", SUN, strlen(SUN)));
    CHECK(put_is_refused(cache, NULL, SUN, strlen(SUN)));
    CHECK(put_is_refused(cache, "weather", NULL, 0));
    CHECK(put_is_refused(cache, "weather", NULL, 9));
    CHECK(put_is_refused(cache, "weather", SUN, (size_t)-1));
    CHECK(put_is_refused(NULL, NULL, NULL, 0));
    for (size_t n = 0; n < sizeof not_utf8 / sizeof *not_utf8; n++) {
        CHECK(put_is_refused(cache, not_utf8[n], SUN, strlen(SUN)));
    }
    CHECK(stat_of(cache, "total_entries") == 0);
    mc_free(cache);
}

static void load_null_json(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_json(load, NULL, 0) == MC_INVALID_ARGUMENT);
    CHECK(mc_load_json(load, NULL, 9) == MC_INVALID_ARGUMENT);
}

static void load_null_path(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_file(load, NULL) == MC_INVALID_ARGUMENT);
}

static void load_null_directory(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_directory(load, NULL) == MC_INVALID_ARGUMENT);
}

TEST(r14_an_answer_of_null_is_an_invalid_argument) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(refusal(cache, "a", load_null_json, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(refusal(cache, "a", load_null_path, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(refusal(cache, "a", load_null_directory, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(stat_of(cache, "load_failures") == 3);
    mc_free(cache);
}

TEST(r14_an_answer_to_a_null_load_is_an_invalid_argument) {
    CHECK(mc_load_json(NULL, SUN, strlen(SUN)) == MC_INVALID_ARGUMENT);
    CHECK(mc_load_file(NULL, "weather.json") == MC_INVALID_ARGUMENT);
    CHECK(mc_load_directory(NULL, ".") == MC_INVALID_ARGUMENT);
    mc_load_not_found(NULL);
    mc_load_fail(NULL, 1, "nobody hears this");
    mc_load_ttl(NULL, 1);
    CHECK(mc_load_cached(NULL) == NULL);
    CHECK(mc_load_unchanged(NULL) == MC_INVALID_ARGUMENT);
}

static void load_too_much(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_json(load, SUN, (size_t)-1) != MC_OK);
    CHECK(mc_load_json(load, SUN, (size_t)-1 / 2) == MC_INVALID_MANIFEST);
}

TEST(r14_an_impossible_length_is_refused_without_reading) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(refusal(cache, "weather", load_too_much, NULL).status == MC_INVALID_MANIFEST);
    mc_free(cache);
}

/* An id of 4 GiB, of one MiB of memory that is mapped again and again. */
TEST(r14_an_id_of_4_gib_is_an_invalid_argument) {
    const size_t mib = 1 << 20, pieces = 4097;
    FILE *file = tmpfile();
    CHECK(file != NULL && ftruncate(fileno(file), (off_t)mib) == 0);
    char *id =
        mmap(NULL, mib * pieces, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(id != MAP_FAILED);
    for (size_t n = 0; n < pieces - 1; n++) {
        CHECK(mmap(id + n * mib, mib, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fileno(file),
                   0) != MAP_FAILED);
    }
    CHECK(mprotect(id + (pieces - 1) * mib, mib, PROT_READ | PROT_WRITE) == 0);
    memset(id, 'a', mib);
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, id, load_never, NULL);
    CHECK(error.status == MC_INVALID_ARGUMENT && strstr(error.message, "bytes") != NULL);
    CHECK(mc_put(cache, id, OLD, strlen(OLD), &error) == MC_INVALID_ARGUMENT);
    mc_free(cache);
}
