/* What entries occupy is bounded, and what a thread keeps is bounded. */

#define _GNU_SOURCE

#include "threads.h"

#include <malloc.h>

#define MIB (1 << 20)

/* Bytes that malloc has given out. */
static size_t in_use(void) {
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

static void load_missing(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_not_found(load);
}

static void load_broken(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_fail(load, 1, "this plugin cannot be loaded today, so please come back tomorrow");
}

/* By how much memory grows when a crawler asks for many plugins. */
static size_t growth(mc_option remember, mc_loader loader) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, remember, MC_TTL_FOREVER);
    set(cache, MC_OPT_MAX_BYTES, MIB);
    size_t before = in_use();
    unsigned random = 1;
    for (int n = 0; n < 300000; n++) {
        char id[32];
        random = random * 1103515245u + 12345u;
        snprintf(id, sizeof id, "plugin-%u-%d", random, n);
        CHECK(mc_get(cache, id, loader, NULL, NULL) == NULL);
    }
    size_t grown = in_use() - before;
    CHECK(mc_stat(cache, MC_STAT_BYTES) <= MIB && mc_stat(cache, MC_STAT_EVICTIONS) > 0);
    printf("%llu entries occupy %zu bytes\n",
           (unsigned long long)mc_stat(cache, MC_STAT_TOTAL_ENTRIES), grown);
    mc_free(cache);
    return grown;
}

TEST(remembered_not_founds_stay_within_the_bound_on_bytes) {
    CHECK(growth(MC_OPT_NEGATIVE_TTL_MS, load_missing) <= 2 * MIB);
}

TEST(remembered_failures_stay_within_the_bound_on_bytes) {
    CHECK(growth(MC_OPT_FAILURE_TTL_MS, load_broken) <= 2 * MIB);
}

/* A manifest of so many bytes. */
static const char *text_of(size_t length) {
    static char text[16 * MIB + 1];
    memset(text, 'x', length);
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + length - 2, "\"}", 3);
    return text;
}

enum { SPARES = 64 };

static void *free_all(void *argument) {
    const char **strings = (const char **)argument;
    for (int n = 0; n < SPARES; n++) {
        mc_string_free(strings[n]);
    }
    return NULL;
}

/*
 * A thread whose references to a manifest were all freed on another thread must not take a new
 * manifest at the same address for the old one: it would keep what it holds without counting it.
 */
TEST(r13_a_large_manifest_at_an_old_address_is_not_kept_by_a_thread) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_ARENA_MAX, 1);
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    const char *small = text_of(5000);
    const char *strings[SPARES];
    CHECK(mc_put(cache, "a", small, strlen(small), NULL) == MC_OK);
    for (int n = 0; n < SPARES; n++) {
        strings[n] = mc_get(cache, "a", load_never, NULL, NULL);
    }
    finish(start(free_all, strings));
    mc_clear(cache, "a");
    const char *large = text_of(16 * MIB);
    for (int tries = 0; tries < 50; tries++) {
        size_t before = in_use();
        CHECK(mc_put(cache, "a", large, strlen(large), NULL) == MC_OK);
        mc_string_free(mc_get(cache, "a", load_never, NULL, NULL));
        mc_clear(cache, NULL);
        CHECK(in_use() <= before + MIB);
    }
    mc_free(cache);
}
