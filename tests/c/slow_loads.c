/* R7 and R8 with loads that take longer than callers wait (MC_OPT_WAIT_MS). */

#define _GNU_SOURCE

#include "threads.h"

#include <stdatomic.h>

/* A cache in which a wait times out at once. */
static mc_cache *impatient(void) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, MC_OPT_WAIT_MS, 1);
    return cache;
}

/* Begins a load whose wait has timed out. */
static void begin_slowly(call *it, mc_cache *cache, mc_loader loader) {
    begin(it, cache, "weather", loader);
    CHECK(refusal(cache, "weather", load_never, NULL).status == MC_TIMEOUT);
}

static void end_and_free(call *it) {
    end(it);
    mc_string_free(it->manifest);
}

TEST(a_wait_that_takes_too_long_returns_a_timeout_and_the_next_get_loads_again) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 50);
    call held;
    begin(&held, cache, "weather", hold_then_old);
    int64_t began = now_ns();
    mc_error error = refusal(cache, "weather", load_never, NULL);
    CHECK(error.status == MC_TIMEOUT && strstr(error.message, "weather") != NULL);
    CHECK(now_ns() - began >= 50 * MS);
    CHECK(mc_stat(cache, MC_STAT_TIMEOUTS) == 1 && mc_stat(cache, MC_STAT_WAITS) == 1);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    end(&held);
    CHECK(held.error.status == MC_OK && strcmp(held.manifest, OLD) == 0);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 2 && mc_stat(cache, MC_STAT_MISSES) == 2);
    mc_string_free(held.manifest);
    mc_free(cache);
}

TEST(with_a_limit_of_zero_a_wait_never_times_out) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 0);
    call held, other;
    do {
        begin(&held, cache, "weather", hold_then_new);
    } while (!shared(&held, &other));
    CHECK(other.error.status == MC_OK && strcmp(other.manifest, NEW) == 0);
    CHECK(mc_stat(cache, MC_STAT_TIMEOUTS) == 0 && mc_stat(cache, MC_STAT_WAITS) > 0);
    mc_string_free(held.manifest);
    mc_string_free(other.manifest);
    mc_free(cache);
}

TEST(r7_a_load_whose_wait_timed_out_is_cached_all_the_same) {
    mc_cache *cache = impatient();
    call slow;
    begin_slowly(&slow, cache, hold_then_old);
    end_and_free(&slow);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 0);
    mc_free(cache);
}

TEST(r8_a_load_that_takes_effect_fences_those_that_began_before) {
    mc_cache *cache = impatient();
    call slow;
    begin_slowly(&slow, cache, hold_then_old);
    CHECK(gives(cache, "weather", load_text, NEW, NEW));
    end_and_free(&slow);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
    mc_free(cache);
}

TEST(r8_a_load_that_takes_effect_leaves_those_that_began_later) {
    mc_cache *cache = impatient();
    call first, second;
    begin_slowly(&first, cache, hold_then_old);
    begin_slowly(&second, cache, hold_then_new);
    end_and_free(&first);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    end_and_free(&second);
    CHECK(gives(cache, "weather", load_never, NULL, NEW));
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 0);
    mc_free(cache);
}

TEST(r8_a_failure_leaves_what_another_load_has_stored) {
    mc_cache *cache = impatient();
    call first, second;
    begin_slowly(&first, cache, hold_then_old);
    begin_slowly(&second, cache, hold_then_fail);
    end_and_free(&first);
    end_and_free(&second);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    mc_free(cache);
}

TEST(r8_a_failure_fences_nothing) {
    mc_cache *cache = impatient();
    call first, second;
    begin_slowly(&first, cache, hold_then_old);
    begin_slowly(&second, cache, hold_then_fail);
    end_and_free(&second);
    end_and_free(&first);
    CHECK(gives(cache, "weather", load_never, NULL, OLD));
    mc_free(cache);
}

TEST(r8_a_clear_fences_all_loads_of_a_plugin) {
    mc_cache *cache = impatient();
    call first, second;
    begin_slowly(&first, cache, hold_then_old);
    begin_slowly(&second, cache, hold_then_new);
    mc_clear(cache, "weather");
    end_and_free(&first);
    end_and_free(&second);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 2);
    mc_free(cache);
}

/* A loader that takes 200 ms, and eight callers that wait for at most 50. */
static struct {
    mc_cache *cache;
    atomic_int at_once, most, first_has_ended;
} slow;

static void load_for_200_ms(const char *plugin_id, mc_load *load, void *user_data) {
    CHECK(!slow.first_has_ended);
    int at_once = ++slow.at_once;
    for (int most = slow.most; at_once > most;) {
        atomic_compare_exchange_weak(&slow.most, &most, at_once);
    }
    pause_ms(200);
    slow.at_once--;
    load_text(plugin_id, load, user_data);
}

static void *get_until_cached(void *unused) {
    const char *manifest = NULL;
    while (manifest == NULL) {
        manifest = mc_get(slow.cache, "weather", load_for_200_ms, (void *)OLD, NULL);
    }
    slow.first_has_ended = 1;
    mc_string_free(manifest);
    CHECK(gives(slow.cache, "weather", load_never, NULL, OLD));
    return unused;
}

TEST(r7_a_loader_slower_than_callers_wait_fills_the_cache_with_its_first_load) {
    pthread_t threads[8];
    slow.cache = mc_new(MC_TTL_FOREVER);
    set(slow.cache, MC_OPT_WAIT_MS, 50);
    for (int n = 0; n < 8; n++) {
        threads[n] = start(get_until_cached, NULL);
    }
    for (int n = 0; n < 8; n++) {
        finish(threads[n]);
    }
    CHECK(slow.most <= 200 / 50 + 1);
    mc_free(slow.cache);
}
