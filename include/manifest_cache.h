/**
 * @file
 * manifest_cache: a cache of plugin manifests in memory, each with a time to live.
 *
 *     static void bring(const char *plugin_id, mc_load *load, void *root) {
 *         (void)plugin_id;
 *         mc_load_directory(load, (const char *)root);
 *     }
 *
 *     mc_cache *cache = mc_new(MC_TTL_DEFAULT);
 *     mc_error error;
 *     const char *manifest = mc_get(cache, "weather", bring, (void *)"/usr/lib/plugins", &error);
 *     if (manifest == NULL)
 *         fprintf(stderr, "%s\n", error.message);
 *     mc_string_free(manifest);
 *     mc_free(cache);
 *
 * There are three ways to get a manifest. All share the same loads, also on one cache.
 *
 * - A thread that may wait uses mc_get(), which calls a loader of the host, as above.
 * - Code that nothing should call back uses mc_begin() and mc_end(), such as bindings to languages
 *   with exceptions, signals or a stack of their own.
 *
 *     mc_load *load;
 *     if (mc_begin(cache, "weather", NULL, &load, &manifest, &error) == MC_BEGUN) {
 *         mc_load_directory(load, "/usr/lib/plugins");
 *         manifest = mc_end(&load, &error);
 *     }
 *
 * - A thread that must never wait, such as that of an event loop or one that fibers share, uses
 *   mc_begin_async(). It answers and ends the load when the manifest has arrived; if another caller
 *   is loading it, done is called when that load ends.
 *
 *     switch (mc_begin_async(cache, "weather", NULL, done, request, &load, &manifest, &error)) {
 *     case MC_BEGUN: send_request(request, load); break; // later: mc_load_json(), mc_end()
 *     case MC_PENDING: break;                            // later: done()
 *     default: finish(request, manifest, &error);        // now: MC_OK, MC_STALE or an error
 *     }
 *
 * Ownership: free what mc_get(), mc_begin(), mc_end(), mc_stats() and mc_entries() return with
 * mc_string_free(), end what mc_begin() begins with mc_end(), and free what mc_new() returns with
 * mc_free(). The caller must not free the strings of mc_load_cached() and mc_version(). What the
 * caller passes in stays the caller's and is not used after the call, except a logger and an
 * mc_done with their user_data, see mc_set_logger() and mc_begin_async().
 *
 * Threads: every function may be called from any thread at any time, except that mc_free() must
 * be the last call on its cache. None may be called from a signal handler.
 *
 * Errors: a function that can fail takes an mc_error of the caller's, which may be NULL. NULL for
 * a cache, a load or an id, and an id that is not UTF-8, are reported as MC_INVALID_ARGUMENT where
 * the function can report an error; otherwise the call does nothing. One exception: mc_clear() with
 * a NULL id clears all plugins.
 *
 * Times are in milliseconds. The time that the machine was suspended counts for the expiry of
 * manifests, but not for waits. Setting the clock of the day changes nothing.
 *
 * Generated from the Rust sources in src/capi by cbindgen; do not edit.
 */

#ifndef MANIFEST_CACHE_H
#define MANIFEST_CACHE_H

#include <stddef.h>
#include <stdint.h>

/**
 * The major version of this header; mc_version() returns that of the library.
 */
#define MC_VERSION_MAJOR 0

/**
 * The minor version of this header.
 */
#define MC_VERSION_MINOR 1

/**
 * The patch version of this header.
 */
#define MC_VERSION_PATCH 0

/**
 * A time to live that never ends, for times in milliseconds.
 */
#define MC_TTL_FOREVER UINT64_MAX

/**
 * For the parameter within of mc_begin() and mc_begin_async(): the innermost load of this thread.
 */
#define MC_THREAD ((mc_load *)1)


/**
 * A time to live of five minutes, in milliseconds.
 */
#define MC_TTL_DEFAULT 300000

/**
 * For MC_OPT_SYNTAX: JSON as RFC 8259 defines it.
 */
#define MC_SYNTAX_JSON 0

/**
 * For MC_OPT_SYNTAX: JSON with comments, as Visual Studio Code and browsers' extensions have it.
 * Besides what JSON allows, a manifest may have a byte order mark at its start, comments of both
 * kinds that C has, and a comma after the last member of an object or the last element of an
 * array. The manifest is returned byte for byte as it was loaded, so the caller needs a parser
 * that reads these.
 */
#define MC_SYNTAX_JSONC 1

/**
 * A cache of manifests. A process may have any number of them, and any thread may use any of them
 * at any time.
 */
typedef struct mc_cache mc_cache;

/**
 * A load in progress. The loader, or the caller of mc_begin(), answers it with the mc_load_
 * functions; the last answer counts.
 *
 * A load that a loader is given is valid only until the loader returns, and only on the thread
 * that runs the loader. A load from mc_begin() or mc_begin_async() is valid until mc_end(), on any
 * thread, but on one thread at a time. It must be ended: until then, who gets the plugin waits.
 */
typedef struct mc_load mc_load;

/**
 * How a call ended: one of the status constants, MC_OK to MC_PENDING.
 */
typedef int32_t mc_status;

/**
 * A function of the host that destroys a value; see mc_string_attach().
 */
typedef void (*mc_destroy)(void *value);

/**
 * What went wrong. The caller provides these 512 bytes, for instance on the stack, and need not
 * initialize them.
 *
 * A function that takes an mc_error fills it whenever it returns, also with MC_OK. It leaves it
 * unchanged only when an exception of a loader passes through. With MC_STALE, code, line and
 * column are those of the reload that failed.
 */
typedef struct {
  /**
   * The kind of error, or MC_OK.
   */
  mc_status status;
  /**
   * errno of a file operation, or the code given to mc_load_fail(), which can be any number; 0
   * if there is none.
   */
  int32_t code;
  /**
   * Line of the manifest, from 1; 0 if the error has no place in the manifest.
   */
  uint32_t line;
  /**
   * Column in that line in bytes, from 1; 0 if the error has no place in the manifest.
   */
  uint32_t column;
  /**
   * One line of UTF-8 for a person. It names the plugin and the file, and is empty with MC_OK.
   * Long ids and paths are shortened in the middle; control characters are escaped.
   */
  char message[496];
} mc_error;

/**
 * A function of the host that brings a plugin's manifest. mc_get() calls it when the cache has no
 * fresh manifest.
 *
 * It runs on the thread that called mc_get(), with no lock held, and answers through load. If it
 * returns without an answer, the load fails with MC_LOAD_FAILED. plugin_id and user_data are the
 * pointers that mc_get() was given.
 *
 * It may call any function of this library on any cache, also mc_get() and mc_begin() for other
 * plugins, except mc_free() on the cache that called it. If the loader waits for another thread,
 * and that thread gets the same plugin, both wait until the call of the other thread returns
 * MC_TIMEOUT.
 *
 * A C++ exception may leave the loader only if host and library use the same unwinder, as they do
 * when both are linked to the shared libgcc_s. With another one (-static-libgcc, LLVM's libunwind)
 * the process aborts. The exception passes through mc_get() to the caller, and threads that wait
 * for this load get MC_LOAD_FAILED. The classes of manifest_cache.hpp let no exception through
 * mc_get() and work with any unwinder.
 *
 * longjmp(), pthread_exit(), pthread_cancel() and the like (a Go panic that is recovered in a
 * caller, an exception of Mono, Ruby's throw, Lua's error) must not leave the loader. They skip
 * the library's clean-up, so this load never ends: later calls for this plugin return MC_TIMEOUT,
 * or MC_LOAD_CYCLE on the same thread. Such hosts use mc_begin() and mc_end().
 */
typedef void (*mc_loader)(const char *plugin_id, mc_load *load, void *user_data);

/**
 * A function of the host that receives the outcome of an asynchronous wait; see mc_begin_async().
 *
 * manifest is the manifest, which the function owns and frees with mc_string_free(), or NULL.
 * error is valid during the call. It says MC_OK or MC_STALE with a manifest, and otherwise why
 * there is none, as for mc_get().
 *
 * It runs on the thread that ends the load, within its mc_end() or mc_get(); or on a thread that
 * calls mc_purge(), mc_free() or a get, if that ends the wait. No lock is held. It may call any
 * function of this library except mc_free() on the cache of the wait. It must not be left by an
 * exception or longjmp().
 */
typedef void (*mc_done)(const char *manifest, const mc_error *error, void *user_data);

/**
 * An option of mc_set_option(): one of the MC_OPT_ constants. The values of those that end in _MS
 * are milliseconds.
 */
typedef int32_t mc_option;

/**
 * A statistic of mc_stat(): one of the MC_STAT_ constants. A get is a call of mc_get(), mc_begin()
 * or mc_begin_async().
 */
typedef int32_t mc_statistic;

/**
 * How important a log message is: one of the MC_LOG_ constants. A logger receives the messages of
 * its level and of all lower numbers.
 */
typedef int32_t mc_log_level;

/**
 * A function of the host that receives log messages: level is MC_LOG_ERROR to MC_LOG_DEBUG, and
 * message is one line that is valid during the call. See mc_set_logger().
 */
typedef void (*mc_logger)(mc_log_level level, const char *message, void *user_data);

/**
 * Where mc_outcome_done() puts the outcome of an asynchronous wait. The host provides it as the
 * user_data of mc_begin_async(), sets wake, wake_data and error.status first, and keeps it until
 * it has been told.
 */
typedef struct {
  /**
   * The manifest, which the host then owns and frees with mc_string_free(), or NULL.
   */
  const char *manifest;
  /**
   * Called last, when the outcome is complete, as mc_done would be; for instance it unlocks what
   * the host waits for. It may be NULL.
   */
  void (*wake)(void *wake_data);
  /**
   * The argument of wake.
   */
  void *wake_data;
  /**
   * As mc_done gets it. The status is written after all else and with release order, so a host
   * that sets it to -1 before can also poll it.
   */
  mc_error error;
} mc_outcome;

/**
 * The call succeeded.
 */
#define MC_OK 0

/**
 * There is no such plugin or no such file; or the loader is NULL and the cache has no fresh
 * manifest.
 */
#define MC_NOT_FOUND 1

/**
 * An argument is invalid: NULL where that is not allowed, an id that is not UTF-8, an unknown
 * option or a value that it does not allow, an id or file name that mc_load_directory() cannot
 * use, or mc_load_unchanged() with nothing cached.
 */
#define MC_INVALID_ARGUMENT 2

/**
 * The manifest is not a JSON object in UTF-8 in the syntax that MC_OPT_SYNTAX selects, or is too
 * large. Unless it is too large, line and column of the error say where it is wrong.
 */
#define MC_INVALID_MANIFEST 3

/**
 * The loader failed, gave no answer or threw an exception, or its file could not be read; or the
 * cache was freed before the load ended.
 */
#define MC_LOAD_FAILED 4

/**
 * The load would have waited for itself. The message names the cycle (a -> b -> a).
 */
#define MC_LOAD_CYCLE 5

/**
 * Another caller's load of this plugin did not end within MC_OPT_WAIT_MS.
 */
#define MC_TIMEOUT 6

/**
 * A bug in this library; please report it. Any function that reports a status can report it.
 */
#define MC_INTERNAL 7

/**
 * The call returned an expired manifest, as MC_OPT_STALE_IF_ERROR_MS allows. The message says why
 * its reload failed.
 */
#define MC_STALE 8

/**
 * mc_begin() or mc_begin_async() began a load, which the caller is to answer and to end with
 * mc_end(). This is no error.
 */
#define MC_BEGUN 9

/**
 * mc_begin_async() waits for the load of another caller, and its mc_done function will receive the
 * outcome. This is no error.
 */
#define MC_PENDING 10

/**
 * The time to live of manifests stored from now on, in milliseconds. With MC_TTL_FOREVER they
 * never expire; with 0 nothing is stored. Default: what mc_new() was given.
 */
#define MC_OPT_TTL_MS 1

/**
 * How long after its expiry a manifest is still returned, with MC_STALE, when its reload fails or
 * brings an invalid manifest. "Not found" is not a failure. Default 0: not at all.
 */
#define MC_OPT_STALE_IF_ERROR_MS 2

/**
 * After a failed reload for which an expired manifest was returned: how long the loader is not
 * called again. Default 1 000.
 */
#define MC_OPT_RETRY_MS 3

/**
 * How long after its expiry a manifest is still returned, with MC_OK, to callers that would have
 * to wait while another caller reloads it. With this option MC_OK does not mean fresh. Default 0:
 * not at all.
 */
#define MC_OPT_STALE_WHILE_REVALIDATE_MS 4

/**
 * How long "not found" is remembered, so that the loader is not called (negative caching).
 * mc_clear() and mc_put() drop what is remembered. Default 0: not at all.
 */
#define MC_OPT_NEGATIVE_TTL_MS 5

/**
 * How many entries the cache holds at most, remembered "not found"s and failures included. To make
 * room it evicts expired entries first, then entries that were not used recently (chosen by the
 * SIEVE algorithm). Default 0: no bound.
 */
#define MC_OPT_MAX_ENTRIES 6

/**
 * How many bytes the entries of the cache occupy at most. An entry counts the length of its
 * manifest, the length of its id, and 384 bytes for all that the cache keeps with it; a remembered
 * failure has no manifest but counts the length of its message. The cache evicts as for
 * MC_OPT_MAX_ENTRIES. A manifest whose entry alone exceeds the bound is
 * returned but not stored. Default
 * 0: no bound.
 */
#define MC_OPT_MAX_BYTES 7

/**
 * The largest manifest, in bytes. A longer one is MC_INVALID_MANIFEST, also if a load finds it
 * unchanged. From 1 to PTRDIFF_MAX. Default 16 MiB.
 */
#define MC_OPT_MAX_MANIFEST_BYTES 8

/**
 * How long a call waits for another caller's load before it returns MC_TIMEOUT. That load goes on,
 * and what it brings is still cached unless a later load has ended before, but no further call
 * waits for it: the next one runs its own loader. Default 30 000; 0 means for ever.
 */
#define MC_OPT_WAIT_MS 9

/**
 * The syntax of manifests that are loaded or put from now on: MC_SYNTAX_JSON or MC_SYNTAX_JSONC.
 * What is cached already is not checked again. Default MC_SYNTAX_JSON.
 */
#define MC_OPT_SYNTAX 10

/**
 * How long a failed load or an invalid manifest is remembered: calls get the same error again, and
 * the loader is not called. So a broken manifest is not read at each call. mc_clear() and mc_put()
 * drop what is remembered. While MC_OPT_STALE_IF_ERROR_MS allows the expired manifest to be
 * returned, MC_OPT_RETRY_MS applies instead. Default 0: not at all.
 */
#define MC_OPT_FAILURE_TTL_MS 11

/**
 * Entries held: manifests, expired ones included, and remembered "not found"s and failures.
 */
#define MC_STAT_TOTAL_ENTRIES 1

/**
 * Entries held whose time to live is over. The cache drops such an entry when it is loaded again,
 * cleared, purged or evicted.
 */
#define MC_STAT_EXPIRED_ENTRIES 2

/**
 * The time to live of new entries, in milliseconds; MC_TTL_FOREVER if they never expire.
 */
#define MC_STAT_TTL_MS 3

/**
 * Gets and calls of mc_revision() that returned a fresh manifest or its revision at once.
 */
#define MC_STAT_HITS 4

/**
 * Gets that began a load, that would have closed a cycle, or that had a NULL loader and found
 * nothing.
 */
#define MC_STAT_MISSES 5

/**
 * Loads begun.
 */
#define MC_STAT_LOADS 6

/**
 * Loads that failed, brought an invalid manifest, gave no answer or threw an exception.
 */
#define MC_STAT_LOAD_FAILURES 7

/**
 * Loads that answered "not found".
 */
#define MC_STAT_NOT_FOUND 8

/**
 * Gets that waited for another caller's load, whatever its outcome.
 */
#define MC_STAT_WAITS 9

/**
 * Loads whose outcome was not cached because mc_clear(), mc_put() or a load that began later came
 * first.
 */
#define MC_STAT_DISCARDED 10

/**
 * Time spent in loads that have ended, in milliseconds.
 */
#define MC_STAT_LOAD_TIME_MS 11

/**
 * Bytes that the entries occupy, counted as MC_OPT_MAX_BYTES says.
 */
#define MC_STAT_BYTES 12

/**
 * Gets that returned an expired manifest at once, as MC_OPT_STALE_IF_ERROR_MS or
 * MC_OPT_STALE_WHILE_REVALIDATE_MS allows.
 */
#define MC_STAT_STALE_HITS 13

/**
 * Gets answered at once by a remembered "not found" or failure.
 */
#define MC_STAT_NEGATIVE_HITS 14

/**
 * Loads that found the expired manifest to be unchanged.
 */
#define MC_STAT_UNCHANGED 15

/**
 * Entries removed because of MC_OPT_MAX_ENTRIES or MC_OPT_MAX_BYTES.
 */
#define MC_STAT_EVICTIONS 16

/**
 * Waits that ended with MC_TIMEOUT.
 */
#define MC_STAT_TIMEOUTS 17

/**
 * No messages.
 */
#define MC_LOG_OFF 0

/**
 * Loads that failed, also reloads for which an expired manifest was returned.
 */
#define MC_LOG_ERROR 1

/**
 * Also warnings, such as a wait that timed out.
 */
#define MC_LOG_WARN 2

/**
 * Also what was cleared.
 */
#define MC_LOG_INFO 3

/**
 * Also hits, loads, what they cached, and what had expired.
 */
#define MC_LOG_DEBUG 4

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Answers with the manifest itself: len bytes at json, which are copied. They need not end with a
 * NUL.
 *
 * Returns MC_OK; MC_INVALID_MANIFEST if the text is not a JSON object in UTF-8 in the syntax that
 * MC_OPT_SYNTAX selects, or is longer than MC_OPT_MAX_MANIFEST_BYTES (16 MiB by default);
 * MC_INVALID_ARGUMENT if json is NULL or len is above PTRDIFF_MAX. After an error the load fails
 * with it, unless the loader gives another answer. An object without members ({}) is returned but
 * not cached.
 */
mc_status mc_load_json(mc_load *load, const char *json, size_t len);

/**
 * Answers with the content of the file at path, as mc_load_json() does.
 *
 * Returns what mc_load_json() returns, and also MC_NOT_FOUND if there is no such file or the path
 * is too long for one, or MC_LOAD_FAILED if it cannot be read or is not a regular file (a
 * directory, a FIFO, a device). The error's code is then the errno of the operation that failed.
 *
 * The call never blocks on a FIFO or a device. If another process holds a lease on the file, as
 * file servers do, it waits until that process or the kernel ends the lease, as open() does.
 *
 * The cache remembers with the entry which file it read. When the entry has expired and the file
 * is still the same (path, device, inode, size, times), the entry is renewed and the file is not
 * read. The file is read again if it could have changed without a change of these: if it changed
 * less than 100 ms before it was read (2.1 s where times are whole seconds), and always on a file
 * system that is not known to be local (NFS, SMB, FUSE). Equal bytes count as unchanged too. A
 * file longer than MC_OPT_MAX_MANIFEST_BYTES is refused even if it is unchanged and was shorter
 * than that option before.
 *
 * To change a file, write a new one and rename it over the old one: that is always noticed, and no
 * reader sees half of it. A file that changes while it is read is read again, at most twice; then
 * the load fails with MC_LOAD_FAILED. A file read when half of it was written is
 * MC_INVALID_MANIFEST, unless that half happens to be a valid manifest.
 */
mc_status mc_load_file(mc_load *load, const char *path);

/**
 * Answers with the content of the file root/plugin_id/manifest.json, as mc_load_file() does. The
 * plugin id is one plain component of a path, or two that are separated by a slash if the first
 * one begins with an at sign, as in the scoped names of npm.
 *
 * Returns what mc_load_file() returns, and also MC_INVALID_ARGUMENT, without touching any file, if
 * the plugin id is anything else. A plain component is not empty, ".", or "..", and contains no
 * slash and no backslash.
 *
 * To search several directories, call it for one after the other until it does not return
 * MC_NOT_FOUND.
 */
mc_status mc_load_directory(mc_load *load, const char *root);

/**
 * Answers with the content of the file root/plugin_id/name, as mc_load_directory() does with the
 * name manifest.json.
 *
 * Returns what mc_load_directory() returns, and MC_INVALID_ARGUMENT, without touching any file,
 * also if the name is not one plain component of a path.
 */
mc_status mc_load_directory_file(mc_load *load, const char *root, const char *name);

/**
 * Answers that there is no such plugin: mc_get() returns NULL with MC_NOT_FOUND. The cache
 * remembers this only if MC_OPT_NEGATIVE_TTL_MS is set.
 */
void mc_load_not_found(mc_load *load);

/**
 * Answers that the load failed: mc_get() returns NULL with MC_LOAD_FAILED. The error's code is
 * code, which can be any number; 0 means none. The error's message contains message, which is
 * copied, is UTF-8 and may be NULL.
 *
 * A loader can refuse in this way what it has just answered with: it lets mc_load_directory() read
 * the manifest, checks mc_load_text(), and fails the load. With MC_OPT_STALE_IF_ERROR_MS the last
 * good manifest then stays in use, with its value.
 */
void mc_load_fail(mc_load *load, int32_t code, const char *message);

/**
 * Gives the manifest of this load a time to live of its own, in milliseconds. It may be called
 * before or after the answer. With MC_TTL_FOREVER the manifest never expires; with 0 nothing
 * of this load is cached, not even a failure or "not found". The last call counts.
 */
void mc_load_ttl(mc_load *load, uint64_t ttl_ms);

/**
 * Returns the expired manifest that this load is to replace, or NULL if the cache has none. The
 * string is borrowed until the load ends; do not free it. mc_string_len() and mc_string_revision()
 * accept it.
 */
const char *mc_load_cached(const mc_load *load);

/**
 * Answers that the expired manifest is still right. The cache keeps it, with its revision, for
 * another time to live: the one that mc_load_ttl() sets in this load, or else the one that
 * mc_load_ttl() gave it before, or else MC_OPT_TTL_MS.
 *
 * Returns MC_OK, or MC_INVALID_MANIFEST if the expired manifest is longer than
 * MC_OPT_MAX_MANIFEST_BYTES, or MC_INVALID_ARGUMENT if there is none; then the load fails.
 */
mc_status mc_load_unchanged(mc_load *load);

/**
 * Returns the manifest that this load is answered with so far, or NULL if it is answered with
 * none. So a host can decode or check what mc_load_directory() read, and refuse it with
 * mc_load_fail().
 *
 * The string is borrowed until the next answer or the end of the load; do not free it.
 * mc_string_len(), mc_string_revision() and mc_string_value() accept it.
 */
const char *mc_load_text(const mc_load *load);

/**
 * Attaches a value of the host, usually what it decoded, to the manifest that this load is
 * answered with. mc_string_value() returns it from then on, for this manifest. type is any address
 * that stands for the type of the value, such as that of a static variable; see mc_string_value().
 *
 * The library takes the value over in any case, and calls destroy(value) once when it is not
 * needed any more: after the last string of the manifest was freed and the cache has dropped it,
 * or at once if the value is not attached. mc_string_attach() says more. destroy may be NULL.
 *
 * A manifest that was found unchanged keeps the value that it has, and the new one is destroyed;
 * look with mc_string_value(mc_load_text(load), type) before you decode again. If another answer
 * replaces the manifest, its value is destroyed.
 *
 * Returns MC_OK if the manifest has a value of this type now, or else MC_INVALID_ARGUMENT: the
 * load is not answered with a manifest, its manifest has a value of another type, or load or type
 * is NULL.
 */
mc_status mc_load_value(mc_load *load, const void *type, void *value, mc_destroy destroy);

/**
 * Creates an empty cache. Its manifests stay fresh for ttl_ms milliseconds after their load:
 * MC_TTL_DEFAULT, MC_TTL_FOREVER, or any other number. With 0 the cache keeps nothing, but
 * concurrent calls still share one load.
 *
 * Returns the cache, to be freed with mc_free(), or NULL after a bug in this library. When memory
 * runs out, this and all other functions abort the process.
 */
mc_cache *mc_new(uint64_t ttl_ms);

/**
 * Drops the manifest of one plugin, or of all plugins if plugin_id is NULL. The empty string is an
 * ordinary id.
 *
 * The call also fences the loads of the plugin that are in progress, even if it drops no entry: an
 * mc_get() that begins after this returned does not share such a load and does not see its
 * outcome, but loads again. A fenced load ends normally for its caller and for those who wait
 * already, but its outcome is not cached. Strings returned before stay valid.
 *
 * Returns how many entries were dropped, expired ones included; 0 if cache is NULL or the id is
 * not UTF-8.
 */
size_t mc_clear(mc_cache *cache, const char *plugin_id);

/**
 * Stores a manifest that the caller already has: len bytes at json, which are copied.
 *
 * It replaces the plugin's entry. It is not stored if it is an object without members ({}), if the
 * time to live is 0, or if its entry alone exceeds MC_OPT_MAX_BYTES; the old entry is dropped all
 * the same. It is newer than any load in progress: those of this plugin are fenced as by
 * mc_clear().
 *
 * Returns MC_OK, or MC_INVALID_MANIFEST or MC_INVALID_ARGUMENT; then nothing changes. error may be
 * NULL.
 */
mc_status mc_put(mc_cache *cache,
                 const char *plugin_id,
                 const char *json,
                 size_t len,
                 mc_error *error);

/**
 * Returns the revision of the fresh manifest of a plugin, or 0 if the cache has none, for NULL,
 * and for an id that is not UTF-8. Never loads and never blocks.
 *
 * Compare it with mc_string_revision() to see whether data derived from a manifest is current. An
 * answer other than 0 counts as a hit and as a use of the entry.
 */
uint64_t mc_revision(const mc_cache *cache, const char *plugin_id);

/**
 * Returns the entries as a JSON array in no particular order. Each is an object with these
 * members:
 *
 * - plugin_id: the id of the plugin.
 * - age_ms: milliseconds since it was stored or renewed.
 * - ttl_ms: its time to live in milliseconds, or null if it never expires.
 * - bytes: length of the manifest; 0 for a remembered "not found" or failure.
 * - revision: as mc_string_revision() returns it; 0 for a remembered "not found" or failure.
 * - expired: whether the time to live is over.
 *
 * The string is to be freed with mc_string_free(). Returns NULL if cache is NULL or after a bug in
 * this library. The call does not delay hits.
 */
const char *mc_entries(const mc_cache *cache);

/**
 * Drops the entries that have expired and that no stale option allows to be returned any more.
 * Loads in progress are not fenced. Asynchronous waits that have lasted for MC_OPT_WAIT_MS end
 * with MC_TIMEOUT: this call runs their mc_done functions.
 *
 * Returns how many entries were dropped; 0 if cache is NULL.
 */
size_t mc_purge(mc_cache *cache);

/**
 * Makes the cache behave as if ms milliseconds had passed, for a host's tests of expiry: entries
 * expire, and calls that wait for another caller's load time out. Other caches do not notice, and
 * the time cannot be set back. Advance by a second more than a time to live, as an entry can
 * expire late. NULL is allowed.
 */
void mc_advance(mc_cache *cache, uint64_t ms);

/**
 * Frees a cache. It must be the last call on it: no other call may be in progress, and a loader,
 * an mc_done function or a logger must not free the cache that called it. Strings returned before
 * stay valid. NULL is allowed.
 *
 * Loads from mc_begin() and mc_begin_async() may still be in progress, and may be ended later or
 * meanwhile, on any thread. Who waits for such a load gets MC_LOAD_FAILED: this call runs their
 * mc_done functions. mc_end() then returns what the load brought, and stores nothing. The logger
 * is not called after this has returned, unless an mc_end() on another thread was calling it.
 */
void mc_free(mc_cache *cache);

/**
 * Returns the version of the library that is running, "MAJOR.MINOR.PATCH". The MC_VERSION_ macros
 * are the version of the header that the caller was compiled with. The string is static; do not
 * free it.
 */
const char *mc_version(void);

/**
 * Returns the manifest of a plugin, and loads it if the cache has no fresh one.
 *
 * A fresh manifest is returned at once: the call takes no lock, does not call the loader and waits
 * for no load. Otherwise the call runs the loader on this thread. If another thread is loading
 * this plugin already, the call waits for that load instead, for at most MC_OPT_WAIT_MS, and
 * shares its outcome. Loads of different plugins run at the same time.
 *
 * plugin_id is any UTF-8 string; the empty string is an ordinary id. user_data is passed to the
 * loader. error may be NULL. With a NULL loader the call neither loads nor waits: if the cache has
 * no fresh manifest, it fails with the failure that is remembered, or else with MC_NOT_FOUND.
 *
 * Returns the manifest, byte for byte as it was loaded, to be freed with mc_string_free(). The
 * error says MC_OK, or MC_STALE if the manifest has expired (see MC_OPT_STALE_IF_ERROR_MS). The
 * string never changes and stays valid until it is freed, whatever happens to the cache. Several
 * calls may return the same pointer; each of them is to be freed once.
 *
 * Returns NULL if there is no manifest. The error says why: MC_NOT_FOUND, MC_INVALID_ARGUMENT,
 * MC_INVALID_MANIFEST, MC_LOAD_FAILED, MC_LOAD_CYCLE, MC_TIMEOUT or MC_INTERNAL. Failures and "not
 * found" are cached only with MC_OPT_FAILURE_TTL_MS and MC_OPT_NEGATIVE_TTL_MS; otherwise the next
 * call loads again. To tell success from failure, compare the pointer with NULL.
 *
 * An exception that the loader throws passes through this call, which leaves error unchanged.
 */
const char *mc_get(mc_cache *cache,
                   const char *plugin_id,
                   mc_loader loader,
                   void *user_data,
                   mc_error *error);

/**
 * Gets a manifest without a loader. If the cache needs the manifest, the call begins a load and
 * returns it: the caller answers it with the mc_load_ functions and ends it with mc_end(). Apart
 * from this it does what mc_get() does: a fresh manifest is returned at once, and if another
 * caller is loading this plugin already, the call waits for that load.
 *
 * within says which load waits for this call, so that the cache finds loads that would wait for
 * each other in a cycle:
 *
 * - NULL: none. This is right for a call that is not made for another load, and for one whose
 *   outcome no load waits for.
 * - A load that has not ended, of any cache: that load waits for this call.
 * - MC_THREAD: the innermost load of this thread. Of the loads that were begun on this thread with
 *   MC_THREAD, or that mc_get() began for its loader, it is the last one that has not ended. The
 *   load that this call begins is then the innermost one until it ends.
 *
 * Code that runs on fibers, coroutines or tasks must not use MC_THREAD, because what shares a
 * thread would be taken for one nest of loads. A call made within a load of the same plugin, or
 * that would wait for a load that waits for it, fails with MC_LOAD_CYCLE.
 *
 * Returns one of these, and sets *load and *manifest, both to NULL where nothing else is said:
 *
 * - MC_OK: *manifest is the manifest, to be freed with mc_string_free().
 * - MC_STALE: the same with an expired manifest. The error says why its reload failed.
 * - MC_BEGUN: *load is a load that the caller is to answer and to end. The load may be used on any
 *   thread, by one thread at a time.
 * - an error as of mc_get(): the error says more. MC_INVALID_ARGUMENT also if load or manifest is
 *   NULL.
 *
 * error may be NULL. It says MC_OK with MC_BEGUN.
 */
mc_status mc_begin(mc_cache *cache,
                   const char *plugin_id,
                   mc_load *within,
                   mc_load **load,
                   const char **manifest,
                   mc_error *error);

/**
 * Does what mc_begin() does, but never waits. Where mc_begin() would wait for the load of another
 * caller, this returns MC_PENDING, and done receives the outcome of that load.
 *
 * After MC_PENDING the library calls done exactly once: when that load ends, in the order in which
 * the waits for it began, after the threads that wait have woken. A wait that has lasted for
 * MC_OPT_WAIT_MS ends with MC_TIMEOUT in the next mc_purge(), or in the next call that gets this
 * plugin and finds no fresh manifest, so a host without such calls calls mc_purge() from time to
 * time. mc_free() ends it with MC_LOAD_FAILED. A wait cannot be cancelled: user_data must stay
 * valid until done is called.
 *
 * done may be called on another thread before this returns, but never on this one. This call
 * writes load, manifest and error even then, so they must not be in memory that done frees, nor
 * may error be that of an mc_outcome. After any other status than MC_PENDING done is never called.
 * In a forked child it is not called for the waits that began in the parent.
 *
 * Returns MC_PENDING or what mc_begin() returns. error says MC_OK with MC_PENDING.
 * MC_INVALID_ARGUMENT also if done is NULL.
 */
mc_status mc_begin_async(mc_cache *cache,
                         const char *plugin_id,
                         mc_load *within,
                         mc_done done,
                         void *user_data,
                         mc_load **load,
                         const char **manifest,
                         mc_error *error);

/**
 * Ends a load from mc_begin() or mc_begin_async() with its last answer, and sets *load to NULL.
 * A load without an answer has failed with MC_LOAD_FAILED.
 *
 * In this order, the outcome is stored unless the load was fenced (see mc_clear()), threads that
 * wait for the load wake, their mc_done functions are called, and this returns. It may be called
 * on any thread. Using a load after its end is an error that debug builds of this library answer
 * by ending the process with a message.
 *
 * Returns what mc_get() would: the manifest, to be freed with mc_string_free(), or NULL. The
 * error, which may be NULL, says MC_OK, MC_STALE, or why there is no manifest. MC_INVALID_ARGUMENT
 * if load or *load is NULL, or if *load was given to a loader, whose mc_get() ends it.
 */
const char *mc_end(mc_load **load, mc_error *error);

/**
 * An mc_done that runs no code of the host except wake: it copies the outcome to the mc_outcome
 * that user_data points to. It is for languages that should run little or nothing on the thread
 * that ends another caller's load, because an exception could arise there or because the thread is
 * not theirs. Pass it to mc_begin_async(); do not call it.
 */
void mc_outcome_done(const char *manifest, const mc_error *error, void *outcome);

/**
 * Sets an option from now on. Other threads may use the cache meanwhile. When this returns, the
 * cache holds no more than a new bound allows.
 *
 * Returns MC_OK, or MC_INVALID_ARGUMENT if the option or value is invalid or cache is NULL; then
 * nothing changes.
 */
mc_status mc_set_option(mc_cache *cache, mc_option option, uint64_t value);

/**
 * Returns all statistics as a JSON object. Its members are the MC_STAT_ constants in the order
 * of their numbers, with their names in lower case and without the prefix: "total_entries" is
 * MC_STAT_TOTAL_ENTRIES. Instead of MC_STAT_TTL_MS there is "ttl_seconds": the time to live in
 * seconds, a number that may have decimals, or null for MC_TTL_FOREVER.
 *
 * Every get with valid arguments is counted in exactly one of hits, stale_hits, negative_hits,
 * misses and waits.
 *
 * The string is to be freed with mc_string_free(). Returns NULL if cache is NULL or after a bug in
 * this library. The call does not delay hits.
 */
const char *mc_stats(const mc_cache *cache);

/**
 * Returns one statistic as a number. Returns 0, which is also a valid value, if there is no such
 * statistic or cache is NULL.
 */
uint64_t mc_stat(const mc_cache *cache, mc_statistic statistic);

/**
 * Sets the function that receives this cache's log messages up to a level. A NULL logger,
 * MC_LOG_OFF or an unknown level ends logging.
 *
 * The logger runs on the thread whose call the message is about, with no lock held. It can run on
 * several threads at the same time. It may call this library; messages about those calls are
 * dropped. It must not be left by an exception or longjmp(). user_data must stay valid as long as
 * the cache, because a thread may still be calling a logger that was replaced.
 *
 * Nothing is logged about a load that ends with an exception.
 */
void mc_set_logger(mc_cache *cache, mc_logger logger, void *user_data, mc_log_level level);

/**
 * Frees a string that this library returned.
 *
 * Each returned string is to be freed once, on any thread, also after mc_free(), and also in
 * destructors that run at thread exit or process exit. Do not use the pointer afterwards, and
 * never pass it to free(). NULL is allowed.
 *
 * Each thread keeps references to up to 1024 strings, 1 MiB together, to return them again
 * quickly; the list of them takes 36 KiB. Such a string can stay in memory after it was freed and
 * cleared, until the thread uses its place for another string or ends.
 */
void mc_string_free(const char *string);

/**
 * Returns the length in bytes of a string that this library returned, without the NUL at its end.
 * The length is stored, so the string is not searched. Returns 0 for NULL.
 */
size_t mc_string_len(const char *string);

/**
 * Returns the revision of a manifest that mc_get() returned. A manifest gets its revision when it
 * is made. Revisions are unique among all caches of the process, never used again, and never 0.
 *
 * Returns 0 for NULL and for what mc_stats() or mc_entries() returned.
 */
uint64_t mc_string_revision(const char *string);

/**
 * Returns the value that is attached to a manifest, if it is of this type; NULL otherwise.
 *
 * type is any address that stands for a type: in C usually that of a static variable, in C++ that
 * of an inline variable of a template. Only the address counts, so that no value is ever taken for
 * one of another type, also across shared objects.
 *
 * The value is borrowed as long as the caller holds the string, or as long as the string is valid
 * if it is borrowed itself. This costs a hit next to nothing: it takes no lock.
 */
void *mc_string_value(const char *manifest, const void *type);

/**
 * Attaches a value to a manifest, if it has none yet. A manifest keeps the first value that is
 * attached to it, by this function or by mc_load_value().
 *
 * Returns the value that is attached now, if it is of this type: the given one, or the one that
 * another thread attached before. Returns NULL if that is of another type, or if manifest or type
 * is NULL. The value is borrowed as mc_string_value() says.
 *
 * The library takes the value over in any case, and calls destroy(value) once in each process: at
 * once if the value was not attached; otherwise after the last string of the manifest was freed
 * and the cache has dropped it. A forked child destroys its own copy. destroy may be NULL.
 *
 * destroy runs on whatever thread that happens, within any function of this library or at the exit
 * of a thread, with no lock held. It may call any function of this library, but must not be left
 * by an exception or longjmp(). It must not close the shared object that its own code is in. A
 * value must not own a string of its own manifest: neither would ever be freed.
 *
 * A thread that keeps references to a manifest with a value (see mc_string_free()) lets go of them
 * at its next mc_get(), mc_begin(), mc_revision() or mc_string_free() after the manifest was
 * cleared or replaced; the thread that cleared or replaced it does so at once. So a thread that is
 * idle keeps such a value until it calls one of these or ends, and what is still kept at the end
 * of the process is not destroyed.
 */
void *mc_string_attach(const char *manifest, const void *type, void *value, mc_destroy destroy);

#ifdef __cplusplus
}  /* extern "C" */
#endif  /* __cplusplus */

#endif  /* MANIFEST_CACHE_H */
