/*
 * R15: many threads call every function at the same time, and no cache is mistaken for another.
 *
 * The environment variable ROUNDS sets how many calls each thread of the first test makes. The
 * default is 4000.
 */

#include "threads.h"

#include <sched.h>
#include <stdatomic.h>

enum { THREADS = 8, PLUGINS = 12, SLOTS = 16 };

static int rounds(void) {
    const char *number = getenv("ROUNDS");
    return number != NULL ? atoi(number) : 4000;
}

static mc_cache *cache;
static _Atomic(const char *) slots[SLOTS];

/* A thread, and how often each of these happened on it. */
typedef struct {
    pthread_t thread;
    uint32_t random;
    uint64_t gets, loads, failures, not_found, unchanged, timeouts, revisions;
} worker;

static uint32_t below(worker *self, uint32_t limit) {
    self->random ^= self->random << 13;
    self->random ^= self->random >> 17;
    self->random ^= self->random << 5;
    return self->random % limit;
}

static void get_any(worker *self);

static void load_somehow(const char *plugin_id, mc_load *load, void *user_data) {
    worker *self = user_data;
    char json[64];
    self->loads++;
    switch (below(self, 10)) {
    case 0:
        mc_load_not_found(load);
        self->not_found++;
        return;
    case 1:
        mc_load_fail(load, 1, "by chance");
        self->failures++;
        return;
    case 2:
        load_text(plugin_id, load, "{}");
        return;
    case 3:
        self->failures++;
        return;
    case 4:
        get_any(self);
        mc_clear(cache, plugin_id);
        break;
    case 5:
        get_any(self);
        break;
    case 6:
        mc_load_ttl(load, below(self, 4));
        break;
    case 7:
        if (mc_load_unchanged(load) == MC_OK) {
            CHECK(mc_string_revision(mc_load_cached(load)) != 0);
            self->unchanged++;
        } else {
            CHECK(mc_load_cached(load) == NULL);
            self->failures++;
        }
        return;
    }
    snprintf(json, sizeof json, "{\"id\":\"%s\"}", plugin_id);
    load_text(plugin_id, load, json);
}

static void get_any(worker *self) {
    char id[16], json[32];
    snprintf(id, sizeof id, "%u", (unsigned)below(self, PLUGINS));
    snprintf(json, sizeof json, "{\"id\":\"%s\"}", id);
    mc_loader loader = below(self, 10) == 0 ? NULL : load_somehow;
    mc_error error;
    self->gets++;
    const char *manifest = mc_get(cache, id, loader, self, &error);
    CHECK((manifest != NULL) == (error.status == MC_OK || error.status == MC_STALE));
    CHECK((manifest != NULL) == (mc_string_revision(manifest) != 0));
    self->timeouts += error.status == MC_TIMEOUT;
    if (manifest != NULL && strcmp(manifest, "{}") != 0) {
        CHECK(strcmp(manifest, json) == 0 && mc_string_len(manifest) == strlen(json));
        /* Another thread may free this string. */
        manifest = atomic_exchange(&slots[below(self, SLOTS)], manifest);
    }
    mc_string_free(manifest);
}

/* The values of an option are below this limit. A value of 0 switches most options off. */
static const uint32_t limits[] = {
    [MC_OPT_TTL_MS] = 20,         [MC_OPT_STALE_IF_ERROR_MS] = 5,
    [MC_OPT_RETRY_MS] = 3,        [MC_OPT_STALE_WHILE_REVALIDATE_MS] = 5,
    [MC_OPT_NEGATIVE_TTL_MS] = 5, [MC_OPT_MAX_ENTRIES] = PLUGINS,
    [MC_OPT_MAX_BYTES] = 2000,    [MC_OPT_MAX_MANIFEST_BYTES] = 1000,
    [MC_OPT_WAIT_MS] = 5,
};

static void set_any(worker *self) {
    int32_t option = MC_OPT_TTL_MS + (int32_t)below(self, MC_OPT_WAIT_MS);
    uint64_t value = below(self, limits[option]);
    set(cache, option, option == MC_OPT_MAX_MANIFEST_BYTES ? 100 + value : value);
}

static void put_any(worker *self, const char *plugin_id) {
    char json[32];
    snprintf(json, sizeof json, "{\"id\":\"%s\"}", plugin_id);
    size_t len = strlen(json);
    switch (below(self, 6)) {
    case 0:
        CHECK(mc_put(cache, plugin_id, json, len - 1, NULL) == MC_INVALID_MANIFEST);
        break;
    case 1:
        CHECK(mc_put(cache, plugin_id, "{}", 2, NULL) == MC_OK);
        break;
    default:
        CHECK(mc_put(cache, plugin_id, json, len, NULL) == MC_OK);
    }
}

static void purge_on_message(int32_t level, const char *message, void *user_data) {
    CHECK(level <= MC_LOG_DEBUG && message[0] != '\0' && user_data == (void *)&cache);
    mc_purge(cache);
}

static void do_something_else(worker *self) {
    char id[16];
    snprintf(id, sizeof id, "%u", (unsigned)below(self, PLUGINS));
    switch (below(self, 13)) {
    case 0:
        mc_clear(cache, id);
        break;
    case 1:
        mc_clear(cache, below(self, 10) == 0 ? NULL : "\xFF");
        break;
    case 2:
        CHECK(stat_of(cache, "total_entries") <= PLUGINS);
        break;
    case 3:
        CHECK(mc_get(cache, NULL, load_somehow, self, NULL) == NULL);
        break;
    case 4: {
        mc_cache *own = mc_new(MC_TTL_FOREVER);
        CHECK(gives(own, id, load_text, "{\"own\":1}", "{\"own\":1}"));
        mc_free(own);
        break;
    }
    case 5:
        CHECK(mc_version()[0] != '\0');
        break;
    case 6:
    case 7:
        put_any(self, id);
        break;
    case 8: {
        const char *entries = mc_entries(cache);
        CHECK(entries[0] == '[' && entries[mc_string_len(entries) - 1] == ']');
        mc_string_free(entries);
        break;
    }
    case 9:
        CHECK(mc_purge(cache) <= PLUGINS);
        break;
    case 10:
        set_any(self);
        break;
    case 11:
        self->revisions += mc_revision(cache, id) != 0;
        break;
    case 12:
        CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) <= PLUGINS);
        mc_set_logger(cache, purge_on_message, &cache, (int32_t)below(self, MC_LOG_DEBUG + 1));
        break;
    }
}

static void *work(void *user_data) {
    worker *self = user_data;
    for (int round = 0; round < rounds(); round++) {
        if (below(self, 20) == 0) {
            do_something_else(self);
        } else {
            get_any(self);
        }
    }
    return NULL;
}

TEST(r15_every_function_may_be_called_from_every_thread_and_the_statistics_are_exact) {
    static worker workers[THREADS];
    uint64_t gets = 0, loads = 0, failures = 0, not_found = 0;
    uint64_t unchanged = 0, timeouts = 0, revisions = 0;
    cache = mc_new(5);
    for (uint32_t n = 0; n < THREADS; n++) {
        workers[n].random = n + 1;
        workers[n].thread = start(work, &workers[n]);
    }
    for (int n = 0; n < THREADS; n++) {
        finish(workers[n].thread);
        gets += workers[n].gets;
        loads += workers[n].loads;
        failures += workers[n].failures;
        not_found += workers[n].not_found;
        unchanged += workers[n].unchanged;
        timeouts += workers[n].timeouts;
        revisions += workers[n].revisions;
    }
    CHECK(stat_of(cache, "hits") + stat_of(cache, "stale_hits") + stat_of(cache, "negative_hits") +
              stat_of(cache, "misses") + stat_of(cache, "waits") ==
          gets + revisions);
    CHECK(stat_of(cache, "loads") == loads);
    CHECK(stat_of(cache, "load_failures") == failures);
    CHECK(stat_of(cache, "not_found") == not_found);
    CHECK(stat_of(cache, "unchanged") == unchanged);
    CHECK(stat_of(cache, "timeouts") == timeouts);
    CHECK(stat_of(cache, "hits") > 0 && stat_of(cache, "discarded") > 0);

    CHECK(mc_clear(cache, NULL) <= PLUGINS);
    CHECK(stat_of(cache, "total_entries") == 0 && stat_of(cache, "expired_entries") == 0);
    CHECK(stat_of(cache, "bytes") == 0);
    mc_free(cache);
    for (int n = 0; n < SLOTS; n++) {
        mc_string_free(atomic_load(&slots[n]));
    }
}

enum { MANY = 100 };

static void *hit_often(void *all_here) {
    meet((steps *)all_here, MANY);
    for (int n = 0; n < 100; n++) {
        CHECK(gives(cache, "weather", load_never, NULL, "{\"a\":1}"));
    }
    return NULL;
}

TEST(r15_hits_of_a_hundred_threads_are_all_counted) {
    steps all_here = STEPS;
    pthread_t threads[MANY];
    cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_text, "{\"a\":1}", "{\"a\":1}"));
    for (int n = 0; n < MANY; n++) {
        threads[n] = start(hit_often, &all_here);
    }
    for (int n = 0; n < MANY; n++) {
        finish(threads[n]);
    }
    CHECK(stat_of(cache, "hits") == MANY * 100);
    mc_free(cache);
}

/* The current cache, whose manifest will be {"n":n}. NULL after the other thread got it. */
static _Atomic(mc_cache *) current;
static atomic_int is_over;

static void *look_until_it_is_there(void *user_data) {
    char json[32];
    for (int n = 0;; n++) {
        const char *manifest = NULL;
        while (atomic_load(&current) == NULL) {
            if (atomic_load(&is_over)) {
                return user_data;
            }
            sched_yield();
        }
        while (manifest == NULL) {
            sched_yield();
            manifest = mc_get(atomic_load(&current), "weather", NULL, NULL, NULL);
        }
        snprintf(json, sizeof json, "{\"n\":%d}", n);
        CHECK(strcmp(manifest, json) == 0);
        mc_string_free(manifest);
        atomic_store(&current, NULL);
    }
}

TEST(r15_a_new_cache_is_never_mistaken_for_one_that_was_freed) {
    pthread_t looking = start(look_until_it_is_there, NULL);
    int64_t end = now_ns() + 500 * MS;
    char json[32];
    for (int n = 0; now_ns() < end; n++) {
        mc_cache *one = mc_new(MC_TTL_FOREVER);
        atomic_store(&current, one);
        snprintf(json, sizeof json, "{\"n\":%d}", n);
        CHECK(gives(one, "weather", load_text, json, json));
        while (atomic_load(&current) != NULL) {
            sched_yield();
        }
        mc_free(one);
    }
    atomic_store(&is_over, 1);
    finish(looking);
}
