/* mc_outcome_done(): the outcome of an asynchronous wait, put into memory of the host. */

#include "check.h"

typedef struct {
    mc_outcome outcome;
    int wakes;
    mc_status status_when_woken;
} waiting;

static void count(void *wake_data) {
    waiting *waiting = wake_data;
    waiting->wakes++;
    waiting->status_when_woken = waiting->outcome.error.status;
}

/* Begins a load of weather and an asynchronous wait for it. */
static mc_load *begin(mc_cache *cache, waiting *waiting) {
    mc_load *load, *none;
    const char *manifest;
    CHECK(mc_begin(cache, "weather", NULL, &load, &manifest, NULL) == MC_BEGUN);
    waiting->outcome.error.status = -1;
    CHECK(mc_begin_async(cache, "weather", NULL, mc_outcome_done, &waiting->outcome, &none,
                         &manifest, NULL) == MC_PENDING);
    CHECK(waiting->outcome.error.status == -1);
    return load;
}

TEST(an_outcome_is_complete_before_the_host_is_woken_once) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    waiting waiting = {{NULL, count, &waiting, {0}}, 0, -1};
    mc_load *load = begin(cache, &waiting);
    CHECK(mc_load_json(load, "{\"a\":1}", 7) == MC_OK);
    const char *manifest = mc_end(&load, NULL);
    CHECK(waiting.wakes == 1 && waiting.status_when_woken == MC_OK);
    CHECK(waiting.outcome.manifest != NULL && strcmp(waiting.outcome.manifest, "{\"a\":1}") == 0);
    CHECK(strcmp(waiting.outcome.error.message, "") == 0);
    mc_string_free(waiting.outcome.manifest);
    mc_string_free(manifest);
    mc_free(cache);
}

TEST(an_outcome_without_wake_can_be_polled_and_has_the_whole_error) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    waiting waiting = {{"set", NULL, NULL, {0}}, 0, -1};
    mc_load *load = begin(cache, &waiting);
    mc_load_fail(load, 7, "the disk is on fire");
    mc_error error;
    CHECK(mc_end(&load, &error) == NULL);
    CHECK(waiting.outcome.manifest == NULL);
    CHECK(waiting.outcome.error.status == MC_LOAD_FAILED && waiting.outcome.error.code == 7);
    CHECK(waiting.outcome.error.line == 0 && waiting.outcome.error.column == 0);
    CHECK(strstr(waiting.outcome.error.message, "the disk is on fire") != NULL);
    CHECK(strcmp(waiting.outcome.error.message, error.message) == 0);
    mc_free(cache);
}
