/* R7: concurrent misses on one plugin share one load. R1: hits do not wait for any load. */

#include "threads.h"

#include <stdatomic.h>

enum { GROUP = 8 };

typedef struct {
    mc_cache *cache;
    steps arrived;
    atomic_int loads;
} group;

static void load_numbered(const char *plugin_id, mc_load *load, void *user_data) {
    group *group = user_data;
    char json[32];
    snprintf(json, sizeof json, "{\"load\":%d}", atomic_fetch_add(&group->loads, 1) + 1);
    await(&group->arrived, GROUP);
    /* All threads are now waiting or about to call. A thread that is later gets a hit. */
    pause_ms(20);
    load_text(plugin_id, load, json);
}

static void *get_in_group(void *user_data) {
    group *group = user_data;
    step(&group->arrived);
    CHECK(gives(group->cache, "weather", load_numbered, group, "{\"load\":1}"));
    return NULL;
}

TEST(r7_concurrent_misses_run_one_loader_and_all_get_its_manifest) {
    static group group = {NULL, STEPS, 0};
    pthread_t threads[GROUP];
    group.cache = mc_new(MC_TTL_FOREVER);
    for (int n = 0; n < GROUP; n++) {
        threads[n] = start(get_in_group, &group);
    }
    for (int n = 0; n < GROUP; n++) {
        finish(threads[n]);
    }
    CHECK(atomic_load(&group.loads) == 1);
    CHECK(stat_of(group.cache, "loads") == 1 && stat_of(group.cache, "misses") == 1);
    CHECK(stat_of(group.cache, "hits") + stat_of(group.cache, "waits") == GROUP - 1);
    mc_free(group.cache);
}

/* Makes the follower's thread wait for the leader's load. */
static void share(uint64_t ttl_ms, mc_loader loader, call *leader, call *follower) {
    mc_cache *cache = mc_new(ttl_ms);
    do {
        begin(leader, cache, "weather", loader);
    } while (!shared(leader, follower));
}

static void clean_up(call *leader, call *follower) {
    mc_string_free(leader->manifest);
    mc_string_free(follower->manifest);
    mc_free(leader->cache);
}

TEST(r7_a_manifest_is_shared) {
    call leader, follower;
    share(MC_TTL_FOREVER, hold_then_new, &leader, &follower);
    CHECK(strcmp(leader.manifest, NEW) == 0 && leader.error.status == MC_OK);
    CHECK(strcmp(follower.manifest, NEW) == 0 && follower.error.status == MC_OK);
    clean_up(&leader, &follower);
}

TEST(r7_not_found_is_shared) {
    call leader, follower;
    share(MC_TTL_FOREVER, hold_then_not_found, &leader, &follower);
    CHECK(leader.manifest == NULL && leader.error.status == MC_NOT_FOUND);
    CHECK(follower.manifest == NULL && follower.error.status == MC_NOT_FOUND);
    CHECK(strcmp(follower.error.message, leader.error.message) == 0);
    clean_up(&leader, &follower);
}

TEST(r7_a_failure_is_shared) {
    call leader, follower;
    share(MC_TTL_FOREVER, hold_then_fail, &leader, &follower);
    CHECK(leader.manifest == NULL && leader.error.status == MC_LOAD_FAILED);
    CHECK(follower.manifest == NULL && follower.error.status == MC_LOAD_FAILED);
    CHECK(follower.error.code == 7);
    CHECK(strcmp(follower.error.message, leader.error.message) == 0);
    clean_up(&leader, &follower);
}

TEST(r7_a_load_is_shared_even_if_its_manifest_is_not_cached) {
    call leader, follower;
    share(0, hold_then_new, &leader, &follower);
    CHECK(strcmp(leader.manifest, NEW) == 0 && strcmp(follower.manifest, NEW) == 0);
    CHECK(stat_of(leader.cache, "total_entries") == 0);
    clean_up(&leader, &follower);
}

static steps loaders = STEPS;

static void load_when_both_do(const char *plugin_id, mc_load *load, void *user_data) {
    (void)user_data;
    meet(&loaders, 2);
    load_text(plugin_id, load, SUN);
}

TEST(r7_loads_of_different_plugins_run_concurrently) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call other;
    begin_on(make_call, &other, cache, "tide", load_when_both_do);
    CHECK(gives(cache, "weather", load_when_both_do, NULL, SUN));
    finish(other.thread);
    CHECK(strcmp(other.manifest, SUN) == 0);
    mc_string_free(other.manifest);
    mc_free(cache);
}

TEST(r7_loads_of_one_plugin_in_different_caches_run_concurrently) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other_cache = mc_new(MC_TTL_FOREVER);
    call other;
    begin_on(make_call, &other, other_cache, "weather", load_when_both_do);
    CHECK(gives(cache, "weather", load_when_both_do, NULL, SUN));
    finish(other.thread);
    mc_string_free(other.manifest);
    mc_free(cache);
    mc_free(other_cache);
}

TEST(r1_hits_misses_and_statistics_go_on_while_a_loader_of_another_plugin_hangs) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call hanging;
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    begin(&hanging, cache, "tide", hold_then_new);
    for (int n = 0; n < 1000; n++) {
        CHECK(gives(cache, "weather", load_never, NULL, SUN));
    }
    CHECK(gives(cache, "moon", load_text, RAIN, RAIN));
    CHECK(stat_of(cache, "total_entries") == 2);
    CHECK(mc_clear(cache, "moon") == 1);
    end(&hanging);
    mc_string_free(hanging.manifest);
    mc_free(cache);
}

TEST(r1_hits_go_on_while_an_older_loader_of_the_same_plugin_hangs) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call hanging;
    begin(&hanging, cache, "weather", hold_then_old);
    mc_clear(cache, "weather");
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    for (int n = 0; n < 1000; n++) {
        CHECK(gives(cache, "weather", load_never, NULL, NEW));
    }
    end(&hanging);
    mc_string_free(hanging.manifest);
    mc_free(cache);
}

TEST(a_look_does_not_wait_for_a_load) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    call hanging;
    begin(&hanging, cache, "weather", hold_then_new);
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    end(&hanging);
    CHECK(gives(cache, "weather", NULL, NULL, NEW));
    CHECK(stat_of(cache, "discarded") == 0);
    mc_string_free(hanging.manifest);
    mc_free(cache);
}
