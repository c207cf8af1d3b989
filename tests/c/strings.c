/* R13: a string never changes and lives until it is given back, wherever that happens. */

#include "threads.h"

static const char *get(mc_cache *cache, const char *plugin_id, const char *json) {
    const char *manifest = mc_get(cache, plugin_id, load_text, (void *)json, NULL);
    CHECK(manifest != NULL && strcmp(manifest, json) == 0);
    return manifest;
}

/* Uses the memory that was freed, if any was. */
static void churn(void) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16];
    for (int n = 0; n < 200; n++) {
        snprintf(id, sizeof id, "%d", n);
        mc_string_free(get(cache, id, RAIN));
    }
    mc_free(cache);
}

TEST(r13_a_string_survives_clear_and_free) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *one = get(cache, "weather", SUN), *two = get(cache, "tide", SUN);
    const char *stats = mc_stats(cache);
    CHECK(mc_clear(cache, "weather") == 1);
    CHECK(mc_clear(cache, NULL) == 1);
    CHECK(gives(cache, "weather", load_text, RAIN, RAIN));
    mc_free(cache);
    churn();
    CHECK(strcmp(one, SUN) == 0 && strcmp(two, SUN) == 0);
    CHECK(mc_string_len(one) == strlen(SUN) && mc_string_len(stats) == strlen(stats));
    mc_string_free(one);
    mc_string_free(two);
    mc_string_free(stats);
}

TEST(r13_a_string_survives_expiry_and_the_load_that_follows) {
    mc_cache *cache = mc_new(1);
    source disk = {RAIN, 0};
    const char *old = get(cache, "weather", SUN);
    while (disk.calls == 0) {
        mc_string_free(mc_get(cache, "weather", load_source, &disk, NULL));
    }
    churn();
    CHECK(strcmp(old, SUN) == 0 && mc_string_len(old) == strlen(SUN));
    mc_string_free(old);
    mc_free(cache);
}

TEST(r13_a_string_that_was_never_kept_lives_too) {
    mc_cache *cache = mc_new(0);
    const char *unkept = get(cache, "weather", SUN), *empty = get(cache, "weather", "{}");
    mc_free(cache);
    churn();
    CHECK(strcmp(unkept, SUN) == 0 && strcmp(empty, "{}") == 0);
    mc_string_free(unkept);
    mc_string_free(empty);
}

enum { SHARES = 1000 };

static const char *shares[SHARES];

static void *give_half_back(void *user_data) {
    for (int n = 0; n < SHARES; n += 2) {
        mc_string_free(shares[n]);
    }
    return user_data;
}

TEST(r13_each_of_many_shares_is_given_back_once_on_any_thread) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < SHARES; n++) {
            shares[n] = get(cache, "weather", SUN);
        }
        mc_clear(cache, NULL);
        finish(start(give_half_back, NULL));
        churn();
        for (int n = 1; n < SHARES; n += 2) {
            CHECK(strcmp(shares[n], SUN) == 0);
            mc_string_free(shares[n]);
        }
    }
    mc_free(cache);
}

TEST(r13_strings_of_many_plugins_are_given_back_in_any_order) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    char id[16], json[32];
    for (int n = 0; n < SHARES; n++) {
        snprintf(id, sizeof id, "%d", n % 50);
        snprintf(json, sizeof json, "{\"n\":%d}", n % 50);
        shares[n] = get(cache, id, json);
    }
    mc_free(cache);
    for (int n = 0; n < SHARES; n++) {
        if (n % 100 == 0) {
            churn();
        }
        int other = n * 7 % SHARES * 3 % SHARES;
        snprintf(json, sizeof json, "{\"n\":%d}", other % 50);
        CHECK(strcmp(shares[other], json) == 0);
        mc_string_free(shares[other]);
    }
}

TEST(r13_large_strings_are_no_exception) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    enum { LARGE = 1000000 };
    char *json = malloc(LARGE + 1);
    memset(json, ' ', LARGE);
    memcpy(json, SUN, strlen(SUN));
    json[LARGE] = '\0';
    const char *one = get(cache, "weather", json), *two = get(cache, "weather", json);
    mc_clear(cache, NULL);
    mc_string_free(one);
    churn();
    CHECK(strcmp(two, json) == 0 && mc_string_len(two) == LARGE);
    mc_string_free(two);
    mc_free(cache);
    free(json);
}

static pthread_key_t key;
static mc_cache *shared_cache;

static void *keep_until_the_thread_ends(void *user_data) {
    CHECK(pthread_setspecific(key, get(shared_cache, "weather", SUN)) == 0);
    mc_string_free(get(shared_cache, "weather", SUN));
    return user_data;
}

/* Runs threads that each end with this destructor. */
static void end_threads(void (*destructor)(void *)) {
    shared_cache = mc_new(MC_TTL_FOREVER);
    CHECK(pthread_key_create(&key, destructor) == 0);
    for (int n = 0; n < 3; n++) {
        finish(start(keep_until_the_thread_ends, NULL));
    }
}

static void give_back_late(void *string) {
    CHECK(strcmp(string, SUN) == 0);
    mc_string_free(string);
}

TEST(r13_a_string_may_be_given_back_by_a_destructor_at_thread_exit) {
    end_threads(give_back_late);
    const char *manifest = get(shared_cache, "weather", SUN);
    mc_free(shared_cache);
    churn();
    CHECK(strcmp(manifest, SUN) == 0);
    mc_string_free(manifest);
}

static void call_everything_late(void *string) {
    mc_string_free(get(shared_cache, "weather", string));
    mc_string_free(get(shared_cache, "tide", RAIN));
    CHECK(gives(shared_cache, "weather", load_never, NULL, string));
    CHECK(stat_of(shared_cache, "total_entries") == 2);
    CHECK(mc_clear(shared_cache, "tide") == 1);
    CHECK(mc_string_len(string) == strlen(SUN));
    mc_string_free(string);
}

TEST(r15_a_destructor_at_thread_exit_may_call_everything) {
    end_threads(call_everything_late);
    CHECK(stat_of(shared_cache, "hits") == 2 + 3 * 3 && stat_of(shared_cache, "loads") == 4);
    mc_free(shared_cache);
}

static const char *kept_until_exit;

static void give_back_at_exit(void) {
    CHECK(strcmp(kept_until_exit, SUN) == 0);
    mc_string_free(kept_until_exit);
}

TEST(r13_a_string_may_be_given_back_at_process_exit) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(atexit(give_back_at_exit) == 0);
    kept_until_exit = get(cache, "weather", SUN);
    mc_free(cache);
}
