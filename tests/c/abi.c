/*
 * Checks that the binary interface has not changed: programs compiled against an older header rely
 * on these types and values. docs/abi.md says what may change in which release. tests/exports.rs
 * checks that this file lists everything in the header.
 */

#include "check.h"

#include <stddef.h>

#define SIGNATURE(function, type) \
    _Static_assert(_Generic(&(function), type: 1, default: 0), #function)
#define VALUE(constant, value) _Static_assert((constant) == (value), #constant)
#define MEMBER(name, at, type)                               \
    _Static_assert(offsetof(mc_error, name) == (at), #name); \
    _Static_assert(_Generic(((mc_error *)0)->name, type: 1, default: 0), #name)

SIGNATURE(mc_new, mc_cache *(*)(uint64_t));
SIGNATURE(mc_get, const char *(*)(mc_cache *, const char *, mc_loader, void *, mc_error *));
SIGNATURE(mc_begin, mc_status (*)(mc_cache *, const char *, mc_load *, mc_load **, const char **,
                                  mc_error *));
SIGNATURE(mc_begin_async, mc_status (*)(mc_cache *, const char *, mc_load *, mc_done, void *,
                                        mc_load **, const char **, mc_error *));
SIGNATURE(mc_end, const char *(*)(mc_load **, mc_error *));
SIGNATURE(mc_outcome_done, void (*)(const char *, const mc_error *, void *));
SIGNATURE(mc_clear, size_t (*)(mc_cache *, const char *));
SIGNATURE(mc_put, mc_status (*)(mc_cache *, const char *, const char *, size_t, mc_error *));
SIGNATURE(mc_revision, uint64_t (*)(const mc_cache *, const char *));
SIGNATURE(mc_stats, const char *(*)(const mc_cache *));
SIGNATURE(mc_stat, uint64_t (*)(const mc_cache *, mc_statistic));
SIGNATURE(mc_entries, const char *(*)(const mc_cache *));
SIGNATURE(mc_purge, size_t (*)(mc_cache *));
SIGNATURE(mc_advance, void (*)(mc_cache *, uint64_t));
SIGNATURE(mc_set_option, mc_status (*)(mc_cache *, mc_option, uint64_t));
SIGNATURE(mc_set_logger, void (*)(mc_cache *, mc_logger, void *, mc_log_level));
SIGNATURE(mc_free, void (*)(mc_cache *));
SIGNATURE(mc_version, const char *(*)(void));
SIGNATURE(mc_string_free, void (*)(const char *));
SIGNATURE(mc_string_len, size_t (*)(const char *));
SIGNATURE(mc_string_value, void *(*)(const char *, const void *));
SIGNATURE(mc_string_attach, void *(*)(const char *, const void *, void *, mc_destroy));
SIGNATURE(mc_string_revision, uint64_t (*)(const char *));

SIGNATURE(mc_load_json, mc_status (*)(mc_load *, const char *, size_t));
SIGNATURE(mc_load_file, mc_status (*)(mc_load *, const char *));
SIGNATURE(mc_load_directory, mc_status (*)(mc_load *, const char *));
SIGNATURE(mc_load_directory_file, mc_status (*)(mc_load *, const char *, const char *));
SIGNATURE(mc_load_not_found, void (*)(mc_load *));
SIGNATURE(mc_load_fail, void (*)(mc_load *, int32_t, const char *));
SIGNATURE(mc_load_ttl, void (*)(mc_load *, uint64_t));
SIGNATURE(mc_load_text, const char *(*)(const mc_load *));
SIGNATURE(mc_load_value, mc_status (*)(mc_load *, const void *, void *, mc_destroy));
SIGNATURE(mc_load_cached, const char *(*)(const mc_load *));
SIGNATURE(mc_load_unchanged, mc_status (*)(mc_load *));

#define SAME(type, other) _Static_assert(_Generic((type)0, other: 1, default: 0), #type)

SAME(mc_loader, void (*)(const char *, mc_load *, void *));
SAME(mc_done, void (*)(const char *, const mc_error *, void *));
SAME(mc_destroy, void (*)(void *));
SAME(mc_logger, void (*)(mc_log_level, const char *, void *));
SAME(mc_status, int32_t);
SAME(mc_option, int32_t);
SAME(mc_statistic, int32_t);
SAME(mc_log_level, int32_t);

MEMBER(status, 0, int32_t);
MEMBER(code, 4, int32_t);
MEMBER(line, 8, uint32_t);
MEMBER(column, 12, uint32_t);
MEMBER(message, 16, char *);
_Static_assert(sizeof(mc_error) == 512 && _Alignof(mc_error) == 4, "mc_error");

#define OUTCOME(name, at, type)                                \
    _Static_assert(offsetof(mc_outcome, name) == (at), #name); \
    _Static_assert(_Generic(&((mc_outcome *)0)->name, type *: 1, default: 0), #name)

typedef void (*wake_function)(void *);
OUTCOME(manifest, 0, const char *);
OUTCOME(wake, sizeof(void *), wake_function);
OUTCOME(wake_data, 2 * sizeof(void *), void *);
OUTCOME(error, 3 * sizeof(void *), mc_error);

VALUE(MC_OK, 0);
VALUE(MC_NOT_FOUND, 1);
VALUE(MC_INVALID_ARGUMENT, 2);
VALUE(MC_INVALID_MANIFEST, 3);
VALUE(MC_LOAD_FAILED, 4);
VALUE(MC_LOAD_CYCLE, 5);
VALUE(MC_TIMEOUT, 6);
VALUE(MC_INTERNAL, 7);
VALUE(MC_STALE, 8);
VALUE(MC_BEGUN, 9);
VALUE(MC_PENDING, 10);

VALUE(MC_TTL_FOREVER, UINT64_MAX);
VALUE(MC_TTL_DEFAULT, 300000);

VALUE(MC_OPT_TTL_MS, 1);
VALUE(MC_OPT_STALE_IF_ERROR_MS, 2);
VALUE(MC_OPT_RETRY_MS, 3);
VALUE(MC_OPT_STALE_WHILE_REVALIDATE_MS, 4);
VALUE(MC_OPT_NEGATIVE_TTL_MS, 5);
VALUE(MC_OPT_MAX_ENTRIES, 6);
VALUE(MC_OPT_MAX_BYTES, 7);
VALUE(MC_OPT_MAX_MANIFEST_BYTES, 8);
VALUE(MC_OPT_WAIT_MS, 9);
VALUE(MC_OPT_SYNTAX, 10);
VALUE(MC_OPT_FAILURE_TTL_MS, 11);

VALUE(MC_SYNTAX_JSON, 0);
VALUE(MC_SYNTAX_JSONC, 1);

VALUE(MC_LOG_OFF, 0);
VALUE(MC_LOG_ERROR, 1);
VALUE(MC_LOG_WARN, 2);
VALUE(MC_LOG_INFO, 3);
VALUE(MC_LOG_DEBUG, 4);

VALUE(MC_STAT_TOTAL_ENTRIES, 1);
VALUE(MC_STAT_EXPIRED_ENTRIES, 2);
VALUE(MC_STAT_TTL_MS, 3);
VALUE(MC_STAT_HITS, 4);
VALUE(MC_STAT_MISSES, 5);
VALUE(MC_STAT_LOADS, 6);
VALUE(MC_STAT_LOAD_FAILURES, 7);
VALUE(MC_STAT_NOT_FOUND, 8);
VALUE(MC_STAT_WAITS, 9);
VALUE(MC_STAT_DISCARDED, 10);
VALUE(MC_STAT_LOAD_TIME_MS, 11);
VALUE(MC_STAT_BYTES, 12);
VALUE(MC_STAT_STALE_HITS, 13);
VALUE(MC_STAT_NEGATIVE_HITS, 14);
VALUE(MC_STAT_UNCHANGED, 15);
VALUE(MC_STAT_EVICTIONS, 16);
VALUE(MC_STAT_TIMEOUTS, 17);

TEST(mc_thread_is_the_address_1) {
    CHECK((uintptr_t)MC_THREAD == 1);
}

static void fail_at_length(const char *plugin_id, mc_load *load, void *user_data) {
    char message[2000];
    (void)plugin_id, (void)user_data;
    memset(message, 'x', sizeof message);
    message[sizeof message - 1] = '\0';
    mc_load_fail(load, 0, message);
}

TEST(a_long_message_stays_within_the_512_bytes_of_an_mc_error) {
    _Alignas(mc_error) unsigned char memory[16 + 512 + 16];
    mc_error *error = (mc_error *)(memory + 16);
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    memset(memory, 0xA5, sizeof memory);
    CHECK(mc_get(cache, "weather", fail_at_length, NULL, error) == NULL);
    CHECK(error->status == MC_LOAD_FAILED && strlen(error->message) == 495);
    for (size_t i = 0; i < 16; i++) {
        CHECK(memory[i] == 0xA5 && memory[16 + 512 + i] == 0xA5);
    }
    mc_free(cache);
}
