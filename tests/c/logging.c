/* mc_set_logger(): what is told, at which level, to whom, and what a logger may do. */

#include "threads.h"

#include <stdatomic.h>

enum { MOST = 32 };

/* What a logger has heard, each message behind its level. */
typedef struct {
    char messages[MOST][640];
    int count;
} notes;

static void take_note(int32_t level, const char *message, void *user_data) {
    static const char *const names[] = {
        [MC_LOG_ERROR] = "error", [MC_LOG_WARN] = "warn",
        [MC_LOG_INFO] = "info",   [MC_LOG_DEBUG] = "debug",
    };
    notes *heard = user_data;
    CHECK(level >= MC_LOG_ERROR && level <= MC_LOG_DEBUG && heard->count < MOST);
    char *note = heard->messages[heard->count++];
    snprintf(note, sizeof heard->messages[0], "%s: %s", names[level], message);
}

/* Whether a message is this text, where ? stands for an age in seconds. */
static int matches(const char *message, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '?') {
            size_t digits = strspn(message, "0123456789");
            if (digits == 0 || message[digits] != '.') {
                return 0;
            }
            message += digits + 1 + strspn(message + digits + 1, "0123456789");
        } else if (*message++ != *text) {
            return 0;
        }
    }
    return *message == '\0';
}

/* Checks that these messages and no others were heard, and forgets them. */
static void heard_are(notes *heard, const char *const *expected, int count) {
    for (int n = 0; n < heard->count || n < count; n++) {
        const char *message = n < heard->count ? heard->messages[n] : "nothing";
        const char *text = n < count ? expected[n] : "nothing";
        if (!matches(message, text)) {
            fprintf(stderr, "heard    %s\nexpected %s\n", message, text);
        }
        CHECK(matches(message, text));
    }
    heard->count = 0;
}

#define HEARD(heard, ...)                                                     \
    heard_are(heard, (const char *const[]){__VA_ARGS__},                      \
              (int)(sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *)))

static void heard_is_nothing(notes *heard) {
    heard_are(heard, NULL, 0);
}

TEST(hits_and_loads_and_what_was_cached_and_had_expired_are_told) {
    mc_cache *cache = mc_new(HOUR);
    notes heard = {.count = 0};
    mc_set_logger(cache, take_note, &heard, MC_LOG_DEBUG);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    HEARD(&heard, "debug: Loading manifest 'weather' from disk",
          "debug: Cached manifest 'weather' (CacheEntry(age=?s, ttl=3600s))");
    CHECK(gives(cache, "weather", load_never, NULL, SUN));
    CHECK(mc_revision(cache, "weather") != 0);
    HEARD(&heard, "debug: Cache hit for manifest 'weather' (CacheEntry(age=?s, ttl=3600s))",
          "debug: Cache hit for manifest 'weather' (CacheEntry(age=?s, ttl=3600s))");
    put_expired(cache, "weather", SUN);
    heard.count = 0;
    set(cache, MC_OPT_TTL_MS, 1500);
    CHECK(gives(cache, "weather", load_text, RAIN, RAIN));
    HEARD(&heard, "debug: Cache expired for manifest 'weather', reloading",
          "debug: Loading manifest 'weather' from disk",
          "debug: Cached manifest 'weather' (CacheEntry(age=?s, ttl=1.5s))");
    set(cache, MC_OPT_TTL_MS, MC_TTL_FOREVER);
    CHECK(gives(cache, "tide", load_text, RAIN, RAIN));
    HEARD(&heard, "debug: Loading manifest 'tide' from disk",
          "debug: Cached manifest 'tide' (CacheEntry(age=?s))");
    mc_free(cache);
}

TEST(what_was_not_cached_is_not_told_as_cached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    notes heard = {.count = 0};
    source missing = {NULL, 0};
    mc_set_logger(cache, take_note, &heard, MC_LOG_DEBUG);
    CHECK(gives(cache, "weather", load_text, "{}", "{}"));
    HEARD(&heard, "debug: Loading manifest 'weather' from disk");
    refusal(cache, "weather", load_source, &missing);
    HEARD(&heard, "debug: Loading manifest 'weather' from disk");
    refusal(cache, "weather", NULL, NULL);
    heard_is_nothing(&heard);
    mc_free(cache);
}

TEST(what_was_cleared_is_told) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    notes heard = {.count = 0};
    mc_set_logger(cache, take_note, &heard, MC_LOG_INFO);
    CHECK(put(cache, "weather", SUN) == MC_OK);
    CHECK(put(cache, "tide", SUN) == MC_OK);
    CHECK(put(cache, "a\nb", SUN) == MC_OK);
    heard.count = 0;
    mc_clear(cache, "weather");
    mc_clear(cache, "weather");
    mc_clear(cache, "a\nb");
    mc_clear(cache, NULL);
    mc_clear(cache, NULL);
    HEARD(&heard, "info: Cleared cache for plugin 'weather'",
          "info: Cleared cache for plugin 'a\\nb'",
          "info: Cleared entire manifest cache (1 entries)",
          "info: Cleared entire manifest cache (0 entries)");
    mc_free(cache);
}

TEST(a_failure_is_told_as_the_error_has_it) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    notes heard = {.count = 0};
    mc_error error;
    mc_set_logger(cache, take_note, &heard, MC_LOG_ERROR);
    refusal(cache, "weather", load_failure, NULL);
    HEARD(&heard,
          "error: plugin \"weather\": the loader failed with code 7: the disk is on fire");
    error = refusal(cache, "weather", load_text, "[]");
    CHECK(heard.count == 1);
    CHECK(strcmp(heard.messages[0] + strlen("error: "), error.message) == 0);
    heard.count = 0;
    set(cache, MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(cache, MC_OPT_RETRY_MS, HOUR);
    put_expired(cache, "weather", SUN);
    for (int n = 0; n < 2; n++) {
        mc_string_free(mc_get(cache, "weather", load_failure, NULL, &error));
        CHECK(error.status == MC_STALE);
    }
    HEARD(&heard,
          "error: plugin \"weather\": the loader failed with code 7: the disk is on fire; "
          "this is the expired manifest");
    mc_free(cache);
}

TEST(a_call_that_gives_up_waiting_is_told_as_the_error_has_it) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    notes heard = {.count = 0};
    call held;
    set(cache, MC_OPT_WAIT_MS, 1);
    begin(&held, cache, "weather", hold_then_new);
    mc_set_logger(cache, take_note, &heard, MC_LOG_WARN);
    mc_error error = refusal(cache, "weather", load_never, NULL);
    CHECK(error.status == MC_TIMEOUT);
    HEARD(&heard,
          "warn: plugin \"weather\": another thread's load did not end in time; look for a "
          "loader that hangs or that waits for a thread of its own");
    end(&held);
    heard_is_nothing(&heard);
    mc_string_free(held.manifest);
    mc_free(cache);
}

TEST(only_what_the_level_asks_for_is_told) {
    const int counts[] = {
        [MC_LOG_OFF] = 0, [MC_LOG_ERROR] = 1, [MC_LOG_WARN] = 2,
        [MC_LOG_INFO] = 3, [MC_LOG_DEBUG] = 5,
    };
    for (int32_t level = MC_LOG_OFF; level <= MC_LOG_DEBUG; level++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        notes heard = {.count = 0};
        call held;
        set(cache, MC_OPT_WAIT_MS, 1);
        begin(&held, cache, "weather", hold_then_new);
        mc_set_logger(cache, take_note, &heard, level);
        refusal(cache, "weather", load_never, NULL);
        refusal(cache, "tide", load_failure, NULL);
        CHECK(put(cache, "weather", SUN) == MC_OK);
        CHECK(gives(cache, "weather", load_never, NULL, SUN));
        mc_clear(cache, "weather");
        CHECK(heard.count == counts[level]);
        mc_set_logger(cache, NULL, NULL, MC_LOG_OFF);
        end(&held);
        mc_string_free(held.manifest);
        mc_free(cache);
    }
}

TEST(a_logger_is_told_nothing_once_it_is_unset) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    notes heard = {.count = 0};
    mc_clear(cache, NULL);
    for (int n = 0; n < 2; n++) {
        mc_set_logger(cache, take_note, &heard, MC_LOG_DEBUG);
        mc_clear(cache, NULL);
        HEARD(&heard, "info: Cleared entire manifest cache (0 entries)");
        if (n == 0) {
            mc_set_logger(cache, NULL, &heard, MC_LOG_DEBUG);
        } else {
            mc_set_logger(cache, take_note, &heard, MC_LOG_OFF);
        }
        refusal(cache, "weather", load_failure, NULL);
        mc_clear(cache, NULL);
        heard_is_nothing(&heard);
    }
    mc_free(cache);
}

TEST(each_cache_has_its_own_logger_and_the_last_one_set_is_told) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    notes first = {.count = 0}, second = {.count = 0}, others = {.count = 0};
    mc_set_logger(cache, take_note, &first, MC_LOG_DEBUG);
    mc_set_logger(other, take_note, &others, MC_LOG_DEBUG);
    mc_set_logger(cache, take_note, &second, MC_LOG_DEBUG);
    mc_clear(cache, NULL);
    heard_is_nothing(&first);
    heard_is_nothing(&others);
    HEARD(&second, "info: Cleared entire manifest cache (0 entries)");
    mc_clear(other, NULL);
    heard_is_nothing(&second);
    HEARD(&others, "info: Cleared entire manifest cache (0 entries)");
    mc_free(cache);
    mc_free(other);
}

/* A logger that calls everything, itself and through another thread. */
typedef struct {
    mc_cache *cache;
    int count, depth;
} caller;

static void *call_everything(void *user_data) {
    mc_cache *cache = ((caller *)user_data)->cache;
    mc_error error;
    CHECK(gives(cache, "logger's", load_text, SUN, SUN));
    CHECK(gives(cache, "logger's", load_never, NULL, SUN));
    CHECK(mc_revision(cache, "logger's") != 0);
    CHECK(mc_get(cache, "failing", load_failure, NULL, &error) == NULL);
    CHECK(error.status == MC_LOAD_FAILED);
    CHECK(mc_clear(cache, "logger's") == 1);
    CHECK(put(cache, "logger's", RAIN) == MC_OK);
    CHECK(stat_of(cache, "total_entries") > 0);
    CHECK(mc_stat(cache, MC_STAT_HITS) > 0);
    mc_string_free(mc_entries(cache));
    mc_purge(cache);
    set(cache, MC_OPT_MAX_ENTRIES, 1000);
    mc_clear(cache, NULL);
    return NULL;
}

static void call_everything_and_count(int32_t level, const char *message, void *user_data) {
    (void)level, (void)message;
    caller *me = user_data;
    me->count++;
    CHECK(me->depth++ == 0);
    call_everything(me);
    me->depth--;
}

TEST(a_logger_may_call_everything_and_is_not_told_of_that) {
    caller me = {mc_new(MC_TTL_FOREVER), 0, 0};
    source missing = {NULL, 0};
    mc_set_logger(me.cache, call_everything_and_count, &me, MC_LOG_DEBUG);
    CHECK(gives(me.cache, "weather", load_text, SUN, SUN));
    /* The logger cleared the load behind "Loading ...", so it was not cached. */
    CHECK(me.count == 1);
    refusal(me.cache, "weather", load_failure, NULL);
    CHECK(me.count == 3);
    refusal(me.cache, "weather", load_source, &missing);
    mc_clear(me.cache, NULL);
    CHECK(me.count == 5);
    CHECK(put(me.cache, "weather", SUN) == MC_OK);
    CHECK(gives(me.cache, "weather", load_never, NULL, SUN));
    CHECK(me.count == 6);
    mc_free(me.cache);
}

/* Has another thread call the cache, which it could not while a lock is held, and waits. */
static void wait_for_another_thread(int32_t level, const char *message, void *user_data) {
    static _Thread_local int is_waiting;
    static atomic_int is_other_at_it;
    (void)level, (void)message;
    caller *me = user_data;
    if (!is_waiting && !atomic_exchange(&is_other_at_it, 1)) {
        is_waiting = 1;
        me->count++;
        finish(start(call_everything, me));
        is_waiting = 0;
        atomic_store(&is_other_at_it, 0);
    }
}

TEST(a_logger_is_called_with_no_lock_held) {
    caller me = {mc_new(MC_TTL_FOREVER), 0, 0};
    call held;
    set(me.cache, MC_OPT_WAIT_MS, 1);
    begin(&held, me.cache, "held", hold_then_new);
    mc_set_logger(me.cache, wait_for_another_thread, &me, MC_LOG_DEBUG);
    refusal(me.cache, "held", load_never, NULL);
    CHECK(me.count == 1);
    CHECK(gives(me.cache, "weather", load_text, SUN, SUN));
    CHECK(put(me.cache, "weather", SUN) == MC_OK);
    CHECK(gives(me.cache, "weather", load_never, NULL, SUN));
    refusal(me.cache, "weather", load_failure, NULL);
    CHECK(put(me.cache, "weather", SUN) == MC_OK);
    mc_clear(me.cache, "weather");
    mc_clear(me.cache, NULL);
    CHECK(me.count == 7);
    mc_set_logger(me.cache, NULL, NULL, MC_LOG_OFF);
    end(&held);
    mc_string_free(held.manifest);
    mc_free(me.cache);
}

static void unset_itself(int32_t level, const char *message, void *user_data) {
    (void)level, (void)message;
    caller *me = user_data;
    me->count++;
    mc_set_logger(me->cache, NULL, NULL, MC_LOG_OFF);
}

TEST(a_logger_may_unset_itself) {
    caller me = {mc_new(MC_TTL_FOREVER), 0, 0};
    mc_set_logger(me.cache, unset_itself, &me, MC_LOG_DEBUG);
    mc_clear(me.cache, NULL);
    mc_clear(me.cache, NULL);
    CHECK(me.count == 1);
    mc_free(me.cache);
}

static void count_clears(int32_t level, const char *message, void *count) {
    CHECK(level == MC_LOG_INFO);
    CHECK(strcmp(message, "Cleared entire manifest cache (0 entries)") == 0);
    atomic_fetch_add((atomic_int *)count, 1);
}

static void *clear_often(void *cache) {
    for (int n = 0; n < 500; n++) {
        mc_clear(cache, NULL);
    }
    return NULL;
}

TEST(a_logger_is_told_by_many_threads_at_once_while_it_is_being_replaced) {
    enum { THREADS = 8 };
    static atomic_int told, told_too;
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    pthread_t threads[THREADS];
    mc_set_logger(cache, count_clears, &told, MC_LOG_INFO);
    for (int n = 0; n < THREADS; n++) {
        threads[n] = start(clear_often, cache);
    }
    for (int n = 0; n < 500; n++) {
        mc_set_logger(cache, count_clears, n % 2 == 0 ? &told_too : &told, MC_LOG_INFO);
    }
    for (int n = 0; n < THREADS; n++) {
        finish(threads[n]);
    }
    CHECK(atomic_load(&told) + atomic_load(&told_too) == THREADS * 500);
    mc_free(cache);
}
