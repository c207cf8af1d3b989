/* mc_begin_async(): when mc_done is called, how often, and with what. */

#include "check.h"

/* What a done function was called with, and how often. */
typedef struct {
    int calls;
    mc_status status;
    const char *manifest;
    char message[sizeof((mc_error *)0)->message];
} told;

static void note(const char *manifest, const mc_error *error, void *user_data) {
    told *it = user_data;
    it->calls++;
    it->status = error->status;
    it->manifest = manifest;
    strcpy(it->message, error->message);
}

/* Begins a load of "weather" that nobody else is loading. */
static mc_load *begun(mc_cache *cache) {
    mc_load *load;
    const char *manifest;
    CHECK(mc_begin(cache, "weather", NULL, &load, &manifest, NULL) == MC_BEGUN);
    CHECK(load != NULL && manifest == NULL);
    return load;
}

/* Begins an asynchronous get of "weather". */
static mc_status wait_for(mc_cache *cache, mc_load *within, told *it, mc_error *error) {
    mc_load *load;
    const char *manifest;
    mc_status status = mc_begin_async(cache, "weather", within, note, it, &load, &manifest, error);
    CHECK(load == NULL);
    mc_string_free(manifest);
    return status;
}

TEST(each_wait_is_told_once_what_the_load_brought_before_mc_end_returns) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told waits[3] = {{0}};
    mc_load *load = begun(cache);
    for (int n = 0; n < 3; n++) {
        mc_error error;
        CHECK(wait_for(cache, NULL, &waits[n], &error) == MC_PENDING);
        CHECK(error.status == MC_OK && waits[n].calls == 0);
    }
    CHECK(mc_load_json(load, SUN, strlen(SUN)) == MC_OK);
    const char *manifest = mc_end(&load, NULL);
    CHECK(load == NULL && manifest != NULL);
    for (int n = 0; n < 3; n++) {
        CHECK(waits[n].calls == 1 && waits[n].status == MC_OK);
        CHECK(strcmp(waits[n].manifest, SUN) == 0 && waits[n].message[0] == '\0');
        mc_string_free(waits[n].manifest);
    }
    told none = {0};
    CHECK(wait_for(cache, NULL, &none, NULL) == MC_OK);
    mc_purge(cache);
    mc_string_free(manifest);
    mc_free(cache);
    CHECK(none.calls == 0 && waits[0].calls == 1);
}

TEST(a_wait_is_told_of_a_failure_with_its_message_and_no_manifest) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told it = {0};
    mc_load *load = begun(cache);
    CHECK(wait_for(cache, NULL, &it, NULL) == MC_PENDING);
    mc_load_fail(load, 7, "the disk is on fire");
    CHECK(mc_end(&load, NULL) == NULL);
    CHECK(it.calls == 1 && it.status == MC_LOAD_FAILED && it.manifest == NULL);
    CHECK(strstr(it.message, "the disk is on fire") != NULL);
    mc_free(cache);
}

TEST(a_wait_that_would_close_a_cycle_is_refused_at_once_and_told_nothing) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told it = {0};
    mc_load *load = begun(cache);
    mc_error error;
    CHECK(wait_for(cache, load, &it, &error) == MC_LOAD_CYCLE);
    CHECK(strstr(error.message, "weather -> weather") != NULL);
    mc_load_not_found(load);
    CHECK(mc_end(&load, NULL) == NULL && it.calls == 0);
    mc_free(cache);
}

TEST(freeing_the_cache_ends_its_waits_and_mc_end_still_returns_the_manifest) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    told it = {0};
    mc_load *load = begun(cache);
    CHECK(wait_for(cache, NULL, &it, NULL) == MC_PENDING);
    mc_free(cache);
    CHECK(it.calls == 1 && it.status == MC_LOAD_FAILED && it.manifest == NULL);
    CHECK(mc_load_json(load, SUN, strlen(SUN)) == MC_OK);
    const char *manifest = mc_end(&load, NULL);
    CHECK(manifest != NULL && strcmp(manifest, SUN) == 0 && it.calls == 1);
    mc_string_free(manifest);
}
