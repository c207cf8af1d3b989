/* MC_OPT_WAIT_MS: how long mc_get() waits for a load of another thread. */

#include "threads.h"

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

TEST(after_a_timeout_the_slow_load_stores_nothing_even_without_another_get) {
    mc_cache *cache = cache_with(MC_OPT_WAIT_MS, 1);
    call held;
    begin(&held, cache, "weather", hold_then_old);
    CHECK(refusal(cache, "weather", load_never, NULL).status == MC_TIMEOUT);
    end(&held);
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 0);
    CHECK(mc_stat(cache, MC_STAT_DISCARDED) == 1);
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
