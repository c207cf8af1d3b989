/*
 * R2 on a machine that was suspended, and mc_advance(). This program answers clock_gettime() for
 * the library: it can stop the clock of awake time and let the clock since boot go on.
 */

#define _GNU_SOURCE

#include "threads.h"

#include <stdatomic.h>
#include <sys/syscall.h>

#define SECOND 1000 /* more than the coarse clock can be late */
#define MINUTE (60 * SECOND)

/* How long the machine was suspended, and how long this program pretends it was awake since. */
static _Atomic int64_t suspended_ns, awake_ns;

int clock_gettime(clockid_t clock, struct timespec *time) {
    int64_t more = awake_ns;
    if (clock == CLOCK_BOOTTIME) {
        more += suspended_ns;
    } else if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE) {
        more = 0;
    }
    if (syscall(SYS_clock_gettime, clock, time) != 0) {
        return -1;
    }
    int64_t ns = time->tv_sec * 1000 * MS + time->tv_nsec + more;
    time->tv_sec = ns / (1000 * MS);
    time->tv_nsec = ns % (1000 * MS);
    return 0;
}

/* What the three ways of asking say about the expiry of the only entry. */
static int says_fresh(const mc_cache *cache) {
    int fresh = mc_revision(cache, "weather") != 0;
    const char *entries = mc_entries(cache);
    CHECK((strstr(entries, "\"expired\":false") != NULL) == fresh);
    mc_string_free(entries);
    CHECK((mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0) == fresh);
    return fresh;
}

TEST(r2_what_expired_while_the_machine_was_suspended_is_not_returned) {
    mc_cache *cache = mc_new(5 * MINUTE);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(says_fresh(cache));
    suspended_ns += 60 * MINUTE * MS;
    /* A thread looks at the clock since boot again once a second of awake time has passed. */
    awake_ns += 1001 * MS;
    CHECK(!says_fresh(cache));
    CHECK(refusal(cache, "weather", NULL, NULL).status == MC_NOT_FOUND);
    mc_free(cache);
}

TEST(r2_a_short_suspension_expires_nothing_too_early) {
    mc_cache *cache = mc_new(5 * MINUTE);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    suspended_ns += 4 * MINUTE * MS;
    awake_ns += 1001 * MS;
    CHECK(says_fresh(cache));
    awake_ns += MINUTE * MS;
    CHECK(!says_fresh(cache));
    mc_free(cache);
}

static void hold_then_sun(const char *plugin_id, mc_load *load, void *user_data) {
    hold(user_data);
    load_text(plugin_id, load, (void *)SUN);
}

static void *wait_for_load(void *argument) {
    call *it = (call *)argument;
    step(&it->begun);
    it->manifest = mc_get(it->cache, it->plugin_id, load_never, it, &it->error);
    return NULL;
}

TEST(r7_a_wait_does_not_time_out_because_the_machine_was_suspended) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, MC_OPT_WAIT_MS, 10 * MINUTE);
    call held, other;
    begin(&held, cache, "weather", hold_then_sun);
    begin_on(wait_for_load, &other, cache, "weather", load_never);
    await(&other.begun, 1);
    pause_ms(20); /* by now it waits; if it is late, the test shows less */
    suspended_ns += 60 * MINUTE * MS;
    mc_advance(cache, 1); /* wakes it, so that it looks at the time */
    pause_ms(20);
    end(&held);
    finish(other.thread);
    CHECK(other.error.status == MC_OK && strcmp(other.manifest, SUN) == 0);
    mc_string_free(held.manifest);
    mc_string_free(other.manifest);
    mc_free(cache);
}

TEST(r2_what_is_stored_after_a_suspension_is_fresh) {
    suspended_ns += 60 * MINUTE * MS;
    mc_cache *cache = mc_new(5 * MINUTE);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(says_fresh(cache));
    mc_free(cache);
}

TEST(advancing_expires_what_would_have_expired_in_that_time) {
    mc_cache *cache = mc_new(5 * MINUTE);
    mc_cache *other = mc_new(5 * MINUTE);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    CHECK(gives(other, "weather", load_text, SUN, SUN));
    mc_advance(cache, 4 * MINUTE);
    CHECK(says_fresh(cache));
    mc_advance(cache, 3 * MINUTE);
    CHECK(!says_fresh(cache));
    CHECK(says_fresh(other));
    mc_advance(NULL, 1);
    mc_free(cache);
    mc_free(other);
}

TEST(advancing_leaves_what_never_expires_and_counts_as_age) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    mc_advance(cache, UINT64_MAX);
    CHECK(says_fresh(cache));
    mc_clear(cache, NULL);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    mc_advance(cache, 5 * MINUTE);
    const char *entries = mc_entries(cache);
    CHECK(strstr(entries, "\"age_ms\":30000") != NULL &&
          strstr(entries, "\"ttl_ms\":null") != NULL);
    mc_string_free(entries);
    mc_free(cache);
}

TEST(advancing_ends_the_time_of_the_stale_options) {
    mc_cache *cache = mc_new(MINUTE);
    set(cache, MC_OPT_STALE_IF_ERROR_MS, 3 * MINUTE);
    set(cache, MC_OPT_RETRY_MS, MINUTE);
    source missing = {"no JSON", 0};
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    for (int n = 0; n < 2; n++) {
        mc_advance(cache, MINUTE + SECOND);
        mc_error error;
        mc_string_free(mc_get(cache, "weather", load_source, &missing, &error));
        CHECK(error.status == MC_STALE && missing.calls == n + 1);
        mc_string_free(mc_get(cache, "weather", load_source, &missing, &error));
        CHECK(error.status == MC_STALE && missing.calls == n + 1);
    }
    mc_advance(cache, 3 * MINUTE);
    CHECK(refusal(cache, "weather", load_source, &missing).status == MC_INVALID_MANIFEST);
    mc_free(cache);
}

TEST(advancing_times_out_waits) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, MC_OPT_WAIT_MS, 60 * MINUTE);
    call held, other;
    begin(&held, cache, "weather", hold_then_sun);
    begin_on(wait_for_load, &other, cache, "weather", load_never);
    await(&other.begun, 1);
    /* The other call begins to wait at some moment; from then on one of these ends its wait. */
    while (mc_stat(cache, MC_STAT_TIMEOUTS) == 0) {
        mc_advance(cache, 60 * MINUTE);
        pause_ms(1);
    }
    finish(other.thread);
    CHECK(other.error.status == MC_TIMEOUT);
    end(&held);
    mc_string_free(held.manifest);
    mc_free(cache);
}
