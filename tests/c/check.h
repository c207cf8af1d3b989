/*
 * What all test programs share: TEST and CHECK, a main() that runs one test, common loaders, and
 * functions that call the cache and check what it returns.
 *
 * Without an argument a program prints the names of its tests. With a name it runs that test.
 * tests/c_abi.rs gives each test an empty directory to run in. An alarm kills a test that hangs.
 */

#ifndef CHECK_H
#define CHECK_H

#include "manifest_cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Manifests. */
#define SUN "{\"name\":\"Sun\"}"
#define RAIN "{\"name\":\"Rain\"}"
/* How many bytes an entry occupies, as MC_OPT_MAX_BYTES in the header says. */
#define OCCUPIED(id, json) (strlen(id) + strlen(json) + 384)

#define OLD "{\"weather\":\"old\"}"
#define NEW "{\"weather\":\"new\"}"

/* In milliseconds: longer than any test takes. */
enum { HOUR = 3600000 };

typedef struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
} test;

static test *tests;

#define TEST(name)                                               \
    static void name(void);                                      \
    __attribute__((constructor)) static void list_##name(void) { \
        static test this_one = {#name, name, NULL};              \
        this_one.next = tests;                                   \
        tests = &this_one;                                       \
    }                                                            \
    static void name(void)

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

static inline void check_failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
    abort();
}

int main(int argc, char **argv) {
    alarm(30);
    for (const test *one = tests; one != NULL; one = one->next) {
        if (argc < 2) {
            puts(one->name);
        } else if (strcmp(argv[1], one->name) == 0) {
            one->run();
            return EXIT_SUCCESS;
        }
    }
    return argc < 2 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static inline void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

#define MS INT64_C(1000000)

static inline int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 * MS + now.tv_nsec;
}

/* A loader that answers with the JSON text in user_data. */
static inline void load_text(const char *plugin_id, mc_load *load, void *text) {
    (void)plugin_id;
    mc_load_json(load, (const char *)text, strlen((const char *)text));
}

/* What load_source() answers (NULL means "not found"), and how often it was called. */
typedef struct {
    const char *json;
    int calls;
} source;

static inline void load_source(const char *plugin_id, mc_load *load, void *user_data) {
    source *from = (source *)user_data;
    from->calls++;
    if (from->json == NULL) {
        mc_load_not_found(load);
    } else {
        load_text(plugin_id, load, (void *)from->json);
    }
}

/* A loader for calls that must not load. */
static inline void load_never(const char *plugin_id, mc_load *load, void *user_data) {
    (void)load, (void)user_data;
    fprintf(stderr, "the loader was called for \"%s\"\n", plugin_id);
    abort();
}

static inline void load_failure(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    mc_load_fail(load, 7, "the disk is on fire");
}

/* A loader that gives no answer. */
static inline void load_silently(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)load, (void)user_data;
}

static inline void load_unchanged(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    CHECK(mc_load_unchanged(load) == MC_OK);
}

/* Whether mc_get() returns this text and reports MC_OK. */
static inline int gives(mc_cache *cache, const char *plugin_id, mc_loader loader, void *user_data,
                        const char *text) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    const char *manifest = mc_get(cache, plugin_id, loader, user_data, &error);
    int same = manifest != NULL && strcmp(manifest, text) == 0;
    if (!same) {
        fprintf(stderr, "got %s\n", manifest != NULL ? manifest : error.message);
    }
    CHECK(mc_string_len(manifest) == (manifest != NULL ? strlen(manifest) : 0));
    CHECK((error.status == MC_OK) == (manifest != NULL));
    CHECK(manifest == NULL || (error.code == 0 && error.line == 0 && error.column == 0));
    CHECK((error.message[0] == '\0') == (manifest != NULL));
    mc_string_free(manifest);
    return same;
}

/* Calls mc_get(), which must return NULL, and returns the error. */
static inline mc_error refusal(mc_cache *cache, const char *plugin_id, mc_loader loader,
                               void *user_data) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(mc_get(cache, plugin_id, loader, user_data, &error) == NULL);
    CHECK(error.status != MC_OK);
    CHECK(memchr(error.message, '\0', sizeof error.message) != NULL);
    CHECK(error.message[0] != '\0');
    for (const char *c = error.message; *c != '\0'; c++) {
        CHECK((unsigned char)*c >= ' ' && *c != 0x7F);
    }
    return error;
}

/* One of the numbers in mc_stats(). */
static inline uint64_t stat_of(const mc_cache *cache, const char *name) {
    char key[32];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *stats = mc_stats(cache);
    const char *found = strstr(stats, key);
    CHECK(found != NULL);
    uint64_t value = strtoull(found + strlen(key), NULL, 10);
    mc_string_free(stats);
    return value;
}

static inline void set(mc_cache *cache, int32_t option, uint64_t value) {
    CHECK(mc_set_option(cache, option, value) == MC_OK);
}

/* A cache whose entries never expire, with this option set. */
static inline mc_cache *cache_with(int32_t option, uint64_t value) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    set(cache, option, value);
    return cache;
}

/* Calls mc_put() and checks that the error agrees with the status. */
static inline mc_status put(mc_cache *cache, const char *plugin_id, const char *json) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    mc_status status = mc_put(cache, plugin_id, json, strlen(json), &error);
    CHECK(error.status == status && (error.message[0] == '\0') == (status == MC_OK));
    return status;
}

/* Waits until an entry has expired. */
static inline void await_expiry(const mc_cache *cache) {
    while (mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == 0) {
        pause_ms(1);
    }
}

/* Stores a manifest and waits until it has expired. The cache's time to live stays the same. */
static inline void put_expired(mc_cache *cache, const char *plugin_id, const char *json) {
    uint64_t ttl_ms = mc_stat(cache, MC_STAT_TTL_MS);
    uint64_t expired = mc_stat(cache, MC_STAT_EXPIRED_ENTRIES);
    set(cache, MC_OPT_TTL_MS, 1);
    CHECK(put(cache, plugin_id, json) == MC_OK);
    set(cache, MC_OPT_TTL_MS, ttl_ms);
    while (mc_stat(cache, MC_STAT_EXPIRED_ENTRIES) == expired) {
        pause_ms(1);
    }
}

/* Whether mc_entries() returns this text, in which each ? stands for a number. */
static inline int entries_are(const mc_cache *cache, const char *expected) {
    const char *entries = mc_entries(cache), *got = entries;
    CHECK(mc_string_len(entries) == strlen(entries));
    for (; *expected != '\0'; expected++) {
        if (*expected == '?') {
            size_t digits = strspn(got, "0123456789");
            CHECK(digits > 0);
            got += digits;
        } else if (*got++ != *expected) {
            fprintf(stderr, "got %s\n", entries);
            return 0;
        }
    }
    int same = *got == '\0';
    mc_string_free(entries);
    return same;
}

#endif
