/* mc_set_logger(): what is logged, at which level, to which logger, and what a logger may do. */

#include "threads.h"

#include <stdatomic.h>

enum { MOST = 32 };

/* The messages that a logger received, each after the name of its level. */
typedef struct {
    char messages[MOST][640];
    int count;
} message_list;

static void store_message(int32_t level, const char *message, void *user_data) {
    static const char *const names[] = {
        [MC_LOG_ERROR] = "error",
        [MC_LOG_WARN] = "warn",
        [MC_LOG_INFO] = "info",
        [MC_LOG_DEBUG] = "debug",
    };
    message_list *received = user_data;
    CHECK(level >= MC_LOG_ERROR && level <= MC_LOG_DEBUG && received->count < MOST);
    char *message_text = received->messages[received->count++];
    snprintf(message_text, sizeof received->messages[0], "%s: %s", names[level], message);
}

/* Whether a message is this text, in which each ? stands for an age in seconds. */
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

/* Checks that the logger received exactly these messages, and removes them. */
static void messages_are(message_list *received, const char *const *expected, int count) {
    for (int n = 0; n < received->count || n < count; n++) {
        const char *message = n < received->count ? received->messages[n] : "nothing";
        const char *text = n < count ? expected[n] : "nothing";
        if (!matches(message, text)) {
            fprintf(stderr, "received %s\nexpected %s\n", message, text);
        }
        CHECK(matches(message, text));
    }
    received->count = 0;
}

#define MESSAGES(received, ...)                                \
    messages_are(received, (const char *const[]){__VA_ARGS__}, \
                 (int)(sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *)))

static void no_messages(message_list *received) {
    messages_are(received, NULL, 0);
}

TEST(hits_loads_stores_and_expiry_are_logged) {
    mc_cache *cache = mc_new(HOUR);
    message_list received = {.count = 0};
    mc_set_logger(cache, store_message, &received, MC_LOG_DEBUG);
    CHECK(gives(cache, "weather", load_text, SUN, SUN));
    MESSAGES(&received, "debug: Loading manifest 'weather' from disk",
             "debug: Cached manifest 'weather' (CacheEntry(age=?s, ttl=3600s))");
    CHECK(gives(cache, "weather", load_never, NULL, SUN));
    CHECK(mc_revision(cache, "weather") != 0);
    MESSAGES(&received, "debug: Cache hit for manifest 'weather' (CacheEntry(age=?s, ttl=3600s))",
             "debug: Cache hit for manifest 'weather' (CacheEntry(age=?s, ttl=3600s))");
    put_expired(cache, "weather", SUN);
    received.count = 0;
    set(cache, MC_OPT_TTL_MS, 1500);
    CHECK(gives(cache, "weather", load_text, RAIN, RAIN));
    MESSAGES(&received, "debug: Cache expired for manifest 'weather', reloading",
             "debug: Loading manifest 'weather' from disk",
             "debug: Cached manifest 'weather' (CacheEntry(age=?s, ttl=1.5s))");
    set(cache, MC_OPT_TTL_MS, MC_TTL_FOREVER);
    CHECK(gives(cache, "tide", load_text, RAIN, RAIN));
    MESSAGES(&received, "debug: Loading manifest 'tide' from disk",
             "debug: Cached manifest 'tide' (CacheEntry(age=?s))");
    mc_free(cache);
}

TEST(a_manifest_that_is_not_cached_is_not_logged_as_cached) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    message_list received = {.count = 0};
    source missing = {NULL, 0};
    mc_set_logger(cache, store_message, &received, MC_LOG_DEBUG);
    CHECK(gives(cache, "weather", load_text, "{}", "{}"));
    MESSAGES(&received, "debug: Loading manifest 'weather' from disk");
    refusal(cache, "weather", load_source, &missing);
    MESSAGES(&received, "debug: Loading manifest 'weather' from disk");
    refusal(cache, "weather", NULL, NULL);
    no_messages(&received);
    mc_free(cache);
}

TEST(clears_are_logged) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    message_list received = {.count = 0};
    mc_set_logger(cache, store_message, &received, MC_LOG_INFO);
    CHECK(put(cache, "weather", SUN) == MC_OK);
    CHECK(put(cache, "tide", SUN) == MC_OK);
    CHECK(put(cache, "a\nb", SUN) == MC_OK);
    received.count = 0;
    mc_clear(cache, "weather");
    mc_clear(cache, "weather");
    mc_clear(cache, "a\nb");
    mc_clear(cache, NULL);
    mc_clear(cache, NULL);
    MESSAGES(&received, "info: Cleared cache for plugin 'weather'",
             "info: Cleared cache for plugin 'a\\nb'",
             "info: Cleared entire manifest cache (1 entries)",
             "info: Cleared entire manifest cache (0 entries)");
    mc_free(cache);
}

TEST(a_failure_is_logged_with_the_message_of_its_error) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    message_list received = {.count = 0};
    mc_error error;
    mc_set_logger(cache, store_message, &received, MC_LOG_ERROR);
    refusal(cache, "weather", load_failure, NULL);
    MESSAGES(&received,
             "error: plugin \"weather\": the loader failed with code 7: the disk is on fire");
    error = refusal(cache, "weather", load_text, "[]");
    CHECK(received.count == 1);
    CHECK(strcmp(received.messages[0] + strlen("error: "), error.message) == 0);
    received.count = 0;
    set(cache, MC_OPT_STALE_IF_ERROR_MS, HOUR);
    set(cache, MC_OPT_RETRY_MS, HOUR);
    put_expired(cache, "weather", SUN);
    for (int n = 0; n < 2; n++) {
        mc_string_free(mc_get(cache, "weather", load_failure, NULL, &error));
        CHECK(error.status == MC_STALE);
    }
    MESSAGES(&received,
             "error: plugin \"weather\": the loader failed with code 7: the disk is on fire; "
             "this is the expired manifest");
    mc_free(cache);
}

TEST(a_timeout_is_logged_with_the_message_of_its_error) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    message_list received = {.count = 0};
    call held;
    set(cache, MC_OPT_WAIT_MS, 1);
    begin(&held, cache, "weather", hold_then_new);
    mc_set_logger(cache, store_message, &received, MC_LOG_WARN);
    mc_error error = refusal(cache, "weather", load_never, NULL);
    CHECK(error.status == MC_TIMEOUT);
    MESSAGES(
        &received,
        "warn: plugin \"weather\": another caller's load did not end within MC_OPT_WAIT_MS; look "
        "for a loader that hangs or that waits for another thread");
    end(&held);
    no_messages(&received);
    mc_string_free(held.manifest);
    mc_free(cache);
}

TEST(the_level_selects_which_messages_are_logged) {
    const int counts[] = {
        [MC_LOG_OFF] = 0,  [MC_LOG_ERROR] = 1, [MC_LOG_WARN] = 2,
        [MC_LOG_INFO] = 3, [MC_LOG_DEBUG] = 5,
    };
    for (int32_t level = MC_LOG_OFF; level <= MC_LOG_DEBUG; level++) {
        mc_cache *cache = mc_new(MC_TTL_FOREVER);
        message_list received = {.count = 0};
        call held;
        set(cache, MC_OPT_WAIT_MS, 1);
        begin(&held, cache, "weather", hold_then_new);
        mc_set_logger(cache, store_message, &received, level);
        refusal(cache, "weather", load_never, NULL);
        refusal(cache, "tide", load_failure, NULL);
        CHECK(put(cache, "weather", SUN) == MC_OK);
        CHECK(gives(cache, "weather", load_never, NULL, SUN));
        mc_clear(cache, "weather");
        CHECK(received.count == counts[level]);
        mc_set_logger(cache, NULL, NULL, MC_LOG_OFF);
        end(&held);
        mc_string_free(held.manifest);
        mc_free(cache);
    }
}

TEST(a_logger_that_was_unset_receives_nothing) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    message_list received = {.count = 0};
    mc_clear(cache, NULL);
    for (int n = 0; n < 2; n++) {
        mc_set_logger(cache, store_message, &received, MC_LOG_DEBUG);
        mc_clear(cache, NULL);
        MESSAGES(&received, "info: Cleared entire manifest cache (0 entries)");
        if (n == 0) {
            mc_set_logger(cache, NULL, &received, MC_LOG_DEBUG);
        } else {
            mc_set_logger(cache, store_message, &received, MC_LOG_OFF);
        }
        refusal(cache, "weather", load_failure, NULL);
        mc_clear(cache, NULL);
        no_messages(&received);
    }
    mc_free(cache);
}

TEST(each_cache_has_its_own_logger_and_the_last_one_set_receives_the_messages) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    message_list first = {.count = 0}, second = {.count = 0}, others = {.count = 0};
    mc_set_logger(cache, store_message, &first, MC_LOG_DEBUG);
    mc_set_logger(other, store_message, &others, MC_LOG_DEBUG);
    mc_set_logger(cache, store_message, &second, MC_LOG_DEBUG);
    mc_clear(cache, NULL);
    no_messages(&first);
    no_messages(&others);
    MESSAGES(&second, "info: Cleared entire manifest cache (0 entries)");
    mc_clear(other, NULL);
    no_messages(&second);
    MESSAGES(&others, "info: Cleared entire manifest cache (0 entries)");
    mc_free(cache);
    mc_free(other);
}

/* For a logger that calls every function, itself or on another thread. */
typedef struct {
    mc_cache *cache;
    int count, depth;
} caller;

static void *call_every_function(void *user_data) {
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

static void call_every_function_and_count(int32_t level, const char *message, void *user_data) {
    (void)level, (void)message;
    caller *self = user_data;
    self->count++;
    CHECK(self->depth++ == 0);
    call_every_function(self);
    self->depth--;
}

TEST(a_logger_may_call_every_function_and_its_own_calls_are_not_logged) {
    caller self = {mc_new(MC_TTL_FOREVER), 0, 0};
    source missing = {NULL, 0};
    mc_set_logger(self.cache, call_every_function_and_count, &self, MC_LOG_DEBUG);
    CHECK(gives(self.cache, "weather", load_text, SUN, SUN));
    /* The logger cleared the cache when the load began, so the manifest was not cached. */
    CHECK(self.count == 1);
    refusal(self.cache, "weather", load_failure, NULL);
    CHECK(self.count == 3);
    refusal(self.cache, "weather", load_source, &missing);
    mc_clear(self.cache, NULL);
    CHECK(self.count == 5);
    CHECK(put(self.cache, "weather", SUN) == MC_OK);
    CHECK(gives(self.cache, "weather", load_never, NULL, SUN));
    CHECK(self.count == 6);
    mc_free(self.cache);
}

/* Waits until another thread has called the cache. With a lock held, it would wait forever. */
static void wait_for_another_thread(int32_t level, const char *message, void *user_data) {
    static _Thread_local int is_waiting;
    static atomic_int other_is_running;
    (void)level, (void)message;
    caller *self = user_data;
    if (!is_waiting && !atomic_exchange(&other_is_running, 1)) {
        is_waiting = 1;
        self->count++;
        finish(start(call_every_function, self));
        is_waiting = 0;
        atomic_store(&other_is_running, 0);
    }
}

TEST(a_logger_is_called_with_no_lock_held) {
    caller self = {mc_new(MC_TTL_FOREVER), 0, 0};
    call held;
    set(self.cache, MC_OPT_WAIT_MS, 1);
    begin(&held, self.cache, "held", hold_then_new);
    mc_set_logger(self.cache, wait_for_another_thread, &self, MC_LOG_DEBUG);
    refusal(self.cache, "held", load_never, NULL);
    CHECK(self.count == 1);
    CHECK(gives(self.cache, "weather", load_text, SUN, SUN));
    CHECK(put(self.cache, "weather", SUN) == MC_OK);
    CHECK(gives(self.cache, "weather", load_never, NULL, SUN));
    refusal(self.cache, "weather", load_failure, NULL);
    CHECK(put(self.cache, "weather", SUN) == MC_OK);
    mc_clear(self.cache, "weather");
    mc_clear(self.cache, NULL);
    CHECK(self.count == 7);
    mc_set_logger(self.cache, NULL, NULL, MC_LOG_OFF);
    end(&held);
    mc_string_free(held.manifest);
    mc_free(self.cache);
}

static void unset_itself(int32_t level, const char *message, void *user_data) {
    (void)level, (void)message;
    caller *self = user_data;
    self->count++;
    mc_set_logger(self->cache, NULL, NULL, MC_LOG_OFF);
}

TEST(a_logger_may_unset_itself) {
    caller self = {mc_new(MC_TTL_FOREVER), 0, 0};
    mc_set_logger(self.cache, unset_itself, &self, MC_LOG_DEBUG);
    mc_clear(self.cache, NULL);
    mc_clear(self.cache, NULL);
    CHECK(self.count == 1);
    mc_free(self.cache);
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

TEST(a_logger_may_be_replaced_while_many_threads_log) {
    enum { THREADS = 8 };
    static atomic_int first_count, second_count;
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    pthread_t threads[THREADS];
    mc_set_logger(cache, count_clears, &first_count, MC_LOG_INFO);
    for (int n = 0; n < THREADS; n++) {
        threads[n] = start(clear_often, cache);
    }
    for (int n = 0; n < 500; n++) {
        mc_set_logger(cache, count_clears, n % 2 == 0 ? &second_count : &first_count, MC_LOG_INFO);
    }
    for (int n = 0; n < THREADS; n++) {
        finish(threads[n]);
    }
    CHECK(atomic_load(&first_count) + atomic_load(&second_count) == THREADS * 500);
    mc_free(cache);
}
