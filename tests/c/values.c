/*
 * Values that a host attaches to manifests (R18): what it decoded, or a resource. Each is destroyed
 * exactly once, with no lock held.
 */

#include "check.h"

/* A type is the address of such a variable. */
static const char NUMBER, WORD;

typedef struct {
    int number;
    /* What the destruction of this value does besides. */
    mc_cache *cache;
    void (*also)(mc_cache *cache);
} Value;

static int alive;

static Value *new_value(int number) {
    Value *value = calloc(1, sizeof *value);
    value->number = number;
    alive++;
    return value;
}

static void destroy(void *value) {
    Value *self = value;
    if (self->also != NULL) {
        self->also(self->cache);
    }
    alive--;
    free(self);
}

/* Answers with a manifest and the value that user_data points to. */
static void load_with_value(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id;
    CHECK(mc_load_text(load) == NULL);
    CHECK(mc_load_json(load, "{\"n\":1}", 7) == MC_OK);
    CHECK(strcmp(mc_load_text(load), "{\"n\":1}") == 0);
    CHECK(mc_load_value(load, &NUMBER, user_data, destroy) == MC_OK);
}

static const char *get(mc_cache *cache, Value *value) {
    const char *manifest = mc_get(cache, "weather", load_with_value, value, NULL);
    CHECK(manifest != NULL);
    return manifest;
}

static int number_of(const char *manifest) {
    Value *value = mc_string_value(manifest, &NUMBER);
    return value == NULL ? 0 : value->number;
}

TEST(r18_a_value_is_found_with_its_manifest_and_destroyed_after_it) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    const char *first = get(cache, new_value(7));
    const char *hit = get(cache, NULL);
    CHECK(number_of(first) == 7 && number_of(hit) == 7);
    mc_clear(cache, NULL);
    mc_string_free(first);
    CHECK(alive == 1 && number_of(hit) == 7);
    mc_string_free(hit);
    CHECK(alive == 0);
    mc_free(cache);
}

TEST(r18_no_value_is_taken_for_one_of_another_type) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    const char *manifest = get(cache, new_value(7));
    CHECK(mc_string_value(manifest, &WORD) == NULL);
    CHECK(mc_string_value(manifest, NULL) == NULL);
    CHECK(mc_string_attach(manifest, &WORD, new_value(8), destroy) == NULL);
    CHECK(alive == 1 && number_of(manifest) == 7);
    mc_string_free(manifest);
    mc_free(cache);
    CHECK(alive == 0);
}

TEST(r18_the_first_value_that_is_attached_stays) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    CHECK(mc_put(cache, "weather", "{\"n\":1}", 7, NULL) == MC_OK);
    const char *manifest = get(cache, NULL);
    CHECK(mc_string_value(manifest, &NUMBER) == NULL);
    Value *first = new_value(1);
    CHECK(mc_string_attach(manifest, &NUMBER, first, destroy) == first);
    CHECK(mc_string_attach(manifest, &NUMBER, new_value(2), destroy) == first);
    CHECK(alive == 1);
    mc_string_free(manifest);
    mc_free(cache);
    CHECK(alive == 0);
}

TEST(r18_null_for_a_manifest_a_type_or_a_load_destroys_the_value) {
    CHECK(mc_string_attach(NULL, &NUMBER, new_value(1), destroy) == NULL && alive == 0);
    CHECK(mc_load_value(NULL, &NUMBER, new_value(1), destroy) == MC_INVALID_ARGUMENT && alive == 0);
    CHECK(mc_load_text(NULL) == NULL);
    CHECK(mc_string_value(NULL, &NUMBER) == NULL);
    const char *stats = mc_stats(NULL);
    CHECK(stats == NULL);
}

static void load_in_vain(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_value(load, &NUMBER, new_value(1), destroy) == MC_INVALID_ARGUMENT);
    CHECK(alive == 0);
    mc_load_json(load, "{\"n\":1}", 7);
    CHECK(mc_load_value(load, &NUMBER, new_value(1), destroy) == MC_OK);
    mc_load_json(load, "{\"n\":2}", 7);
    CHECK(alive == 0);
    CHECK(mc_load_value(load, &NUMBER, new_value(2), destroy) == MC_OK);
    mc_load_fail(load, 1, "the host refuses it");
    CHECK(alive == 0 && mc_load_text(load) == NULL);
}

TEST(r18_the_value_of_an_answer_that_another_replaces_is_destroyed_at_once) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    CHECK(mc_get(cache, "weather", load_in_vain, NULL, NULL) == NULL);
    CHECK(alive == 0);
    mc_free(cache);
}

static void find_unchanged(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_unchanged(load) == MC_OK);
    CHECK(number_of(mc_load_text(load)) == 7 && number_of(mc_load_cached(load)) == 7);
    CHECK(mc_load_value(load, &NUMBER, new_value(8), destroy) == MC_OK);
    CHECK(alive == 1);
}

TEST(r18_a_manifest_that_is_found_unchanged_keeps_its_value) {
    mc_cache *cache = mc_new(1000);
    mc_string_free(get(cache, new_value(7)));
    mc_advance(cache, 5000);
    const char *manifest = mc_get(cache, "weather", find_unchanged, NULL, NULL);
    CHECK(number_of(manifest) == 7);
    mc_string_free(manifest);
    mc_free(cache);
    CHECK(alive == 0);
}

static void refuse(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_json(load, "{\"n\":\"bad\"}", 11);
    mc_load_fail(load, 3, "n is not a number");
}

TEST(r18_with_stale_if_error_a_refused_manifest_leaves_the_last_good_value) {
    mc_cache *cache = mc_new(1000);
    mc_error error;
    mc_set_option(cache, MC_OPT_STALE_IF_ERROR_MS, 60000);
    mc_string_free(get(cache, new_value(7)));
    mc_advance(cache, 5000);
    const char *manifest = mc_get(cache, "weather", refuse, NULL, &error);
    CHECK(error.status == MC_STALE && number_of(manifest) == 7);
    mc_string_free(manifest);
    mc_free(cache);
    CHECK(alive == 0);
}

static void use_the_cache(mc_cache *cache) {
    const char *manifest = mc_get(cache, "other", load_with_value, new_value(1), NULL);
    CHECK(number_of(manifest) == 1);
    mc_string_free(manifest);
    mc_clear(cache, NULL);
    mc_purge(cache);
    mc_string_free(mc_stats(cache));
    CHECK(mc_put(cache, "weather", "{}", 2, NULL) == MC_OK);
}

/* Each ends the value in another way. */
static void clear_one(mc_cache *cache) {
    mc_clear(cache, "weather");
}
static void clear_all(mc_cache *cache) {
    mc_clear(cache, NULL);
}
static void replace(mc_cache *cache) {
    CHECK(mc_put(cache, "weather", "{\"n\":2}", 7, NULL) == MC_OK);
}
static void bound(mc_cache *cache) {
    CHECK(mc_set_option(cache, MC_OPT_MAX_BYTES, 1) == MC_OK);
    CHECK(mc_set_option(cache, MC_OPT_MAX_BYTES, 0) == MC_OK);
}
static void expire(mc_cache *cache) {
    mc_advance(cache, 1000000);
    mc_purge(cache);
}

TEST(r18_a_value_whose_destruction_uses_the_cache_may_end_in_any_call) {
    void (*const ends[])(mc_cache *) = {clear_one, clear_all, replace, bound, expire};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        mc_cache *cache = mc_new(MC_TTL_DEFAULT);
        Value *value = new_value(7);
        value->cache = cache;
        value->also = use_the_cache;
        mc_string_free(get(cache, value));
        ends[i](cache);
        CHECK(alive == 0);
        mc_free(cache);
        CHECK(alive == 0);
    }
}

TEST(r18_a_load_that_was_fenced_and_one_of_a_freed_cache_still_destroy_their_values) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    mc_load *load;
    const char *manifest;
    for (int is_freed = 0; is_freed < 2; is_freed++) {
        CHECK(mc_begin(cache, "weather", NULL, &load, &manifest, NULL) == MC_BEGUN);
        load_with_value("weather", load, new_value(7));
        if (is_freed) {
            mc_free(cache);
        } else {
            mc_clear(cache, NULL);
        }
        manifest = mc_end(&load, NULL);
        CHECK(number_of(manifest) == 7 && alive == 1);
        mc_string_free(manifest);
        CHECK(alive == 0);
    }
}
