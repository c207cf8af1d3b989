/* The five tests of ManifestCacheService, the Python class that this library replaces. */

#include "check.h"

#define MANIFEST "{\"id\":\"test\",\"name\":\"Test\"}"

TEST(cache_hit) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    source disk = {MANIFEST, 0};

    CHECK(gives(cache, "test-plugin", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 1);

    CHECK(gives(cache, "test-plugin", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 1);
    mc_free(cache);
}

TEST(cache_expiration) {
    mc_cache *cache = mc_new(20);
    source disk = {MANIFEST, 0};

    CHECK(gives(cache, "test-plugin", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 1);

    await_expiry(cache);
    CHECK(gives(cache, "test-plugin", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 2);
    mc_free(cache);
}

TEST(cache_clear_single) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    source disk = {MANIFEST, 0};

    CHECK(gives(cache, "test-plugin", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 1);

    CHECK(mc_clear(cache, "test-plugin") == 1);
    CHECK(gives(cache, "test-plugin", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 2);
    mc_free(cache);
}

TEST(cache_clear_all) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    source disk = {MANIFEST, 0};

    CHECK(gives(cache, "plugin-1", load_source, &disk, MANIFEST));
    CHECK(gives(cache, "plugin-2", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 2);

    CHECK(mc_clear(cache, NULL) == 2);
    CHECK(gives(cache, "plugin-1", load_source, &disk, MANIFEST));
    CHECK(gives(cache, "plugin-2", load_source, &disk, MANIFEST));
    CHECK(disk.calls == 4);
    mc_free(cache);
}

TEST(cache_none_handling) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    source disk = {NULL, 0};

    CHECK(refusal(cache, "missing-plugin", load_source, &disk).status == MC_NOT_FOUND);
    CHECK(refusal(cache, "missing-plugin", load_source, &disk).status == MC_NOT_FOUND);
    CHECK(disk.calls == 2);
    mc_free(cache);
}
