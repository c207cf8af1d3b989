/**
 * @file
 * manifest_cache: plugin manifests in memory, each for its time to live.
 *
 *     static void load(const char *plugin_id, mc_load *answer, void *root) {
 *         (void)plugin_id;
 *         mc_load_directory(answer, (const char *)root);
 *     }
 *
 *     mc_cache *cache = mc_new(MC_TTL_DEFAULT);
 *     mc_error error;
 *     const char *manifest = mc_get(cache, "weather", load, (void *)"/usr/lib/plugins", &error);
 *     if (manifest == NULL)
 *         fprintf(stderr, "%s\n", error.message);
 *     mc_string_free(manifest);
 *     mc_free(cache);
 *
 * Ownership: what mc_get(), mc_stats() and mc_entries() return is given back with
 * mc_string_free(), what mc_new() returns with mc_free(). Nothing else is owned by the caller.
 * What the caller passes in stays the caller's, and is not used after the call.
 *
 * Threads: every function may be called from any thread at any time, except that mc_free() must be
 * the last call on its cache. None may be called from a signal handler.
 *
 * Errors: a call that can fail takes an mc_error of the caller's. There is no "last error" hidden
 * in the thread.
 *
 * Times are in milliseconds on a monotonic clock.
 *
 * Generated from the Rust sources in src/capi by cbindgen; do not edit.
 */

#ifndef MANIFEST_CACHE_H
#define MANIFEST_CACHE_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of this header, first part; mc_version() says that of the library.
 */
#define MC_VERSION_MAJOR 0

/**
 * The version of this header, second part.
 */
#define MC_VERSION_MINOR 1

/**
 * The version of this header, third part.
 */
#define MC_VERSION_PATCH 0

/**
 * A time to live that never ends.
 */
#define MC_TTL_FOREVER UINT64_MAX


/**
 * A time to live of five minutes, in milliseconds.
 */
#define MC_TTL_DEFAULT 300000

/**
 * Option: the time to live of what is stored from now on, in milliseconds; MC_TTL_FOREVER is
 * for ever, 0 stores nothing. At first what mc_new() was given.
 */
#define MC_OPT_TTL_MS 1

/**
 * Option: how long past its expiry a manifest is still returned, with MC_STALE, when its
 * reload fails or brings an invalid one. "Not found" is an answer, not a failure. Default 0,
 * off.
 */
#define MC_OPT_STALE_IF_ERROR_MS 2

/**
 * Option: how long the loader is left alone after such a failure. Default 1 000.
 */
#define MC_OPT_RETRY_MS 3

/**
 * Option: how long past its expiry a manifest is still returned, with MC_OK, to others while
 * one caller reloads it, instead of having them wait. So with it MC_OK no longer means fresh.
 * Default 0, off.
 */
#define MC_OPT_STALE_WHILE_REVALIDATE_MS 4

/**
 * Option: how long "not found" is remembered. mc_clear() forgets it. Default 0, off.
 */
#define MC_OPT_NEGATIVE_TTL_MS 5

/**
 * Option: how many entries are held at most, remembered "not found"s included. What has
 * expired goes first, then what was not used lately (by SIEVE). Default 0, no bound.
 */
#define MC_OPT_MAX_ENTRIES 6

/**
 * Option: how long all manifests held may be together, in bytes; a longer one is returned but
 * not stored. Default 0, no bound.
 */
#define MC_OPT_MAX_BYTES 7

/**
 * Option: a manifest of more bytes is invalid. Default 16 MiB; from 1 to SIZE_MAX / 2.
 */
#define MC_OPT_MAX_MANIFEST_BYTES 8

/**
 * Option: how long a call waits for another thread's load before it returns MC_TIMEOUT. The
 * load it waited for is then fenced as by mc_clear(). Default 30 000; 0 is for ever.
 */
#define MC_OPT_WAIT_MS 9

/**
 * For mc_set_logger(): nothing.
 */
#define MC_LOG_OFF 0

/**
 * For mc_set_logger(): failures.
 */
#define MC_LOG_ERROR 1

/**
 * For mc_set_logger(): and what the cache had to help itself with.
 */
#define MC_LOG_WARN 2

/**
 * For mc_set_logger(): and what was cleared.
 */
#define MC_LOG_INFO 3

/**
 * For mc_set_logger(): and everything else.
 */
#define MC_LOG_DEBUG 4

/**
 * For mc_stat(): total_entries of mc_stats().
 */
#define MC_STAT_TOTAL_ENTRIES 1

/**
 * For mc_stat(): expired_entries of mc_stats().
 */
#define MC_STAT_EXPIRED_ENTRIES 2

/**
 * For mc_stat(): ttl_seconds of mc_stats(), in milliseconds.
 */
#define MC_STAT_TTL_MS 3

/**
 * For mc_stat(): hits of mc_stats().
 */
#define MC_STAT_HITS 4

/**
 * For mc_stat(): misses of mc_stats().
 */
#define MC_STAT_MISSES 5

/**
 * For mc_stat(): loads of mc_stats().
 */
#define MC_STAT_LOADS 6

/**
 * For mc_stat(): load_failures of mc_stats().
 */
#define MC_STAT_LOAD_FAILURES 7

/**
 * For mc_stat(): not_found of mc_stats().
 */
#define MC_STAT_NOT_FOUND 8

/**
 * For mc_stat(): waits of mc_stats().
 */
#define MC_STAT_WAITS 9

/**
 * For mc_stat(): discarded of mc_stats().
 */
#define MC_STAT_DISCARDED 10

/**
 * For mc_stat(): load_time_ms of mc_stats().
 */
#define MC_STAT_LOAD_TIME_MS 11

/**
 * For mc_stat(): bytes of mc_stats().
 */
#define MC_STAT_BYTES 12

/**
 * For mc_stat(): stale_hits of mc_stats().
 */
#define MC_STAT_STALE_HITS 13

/**
 * For mc_stat(): negative_hits of mc_stats().
 */
#define MC_STAT_NEGATIVE_HITS 14

/**
 * For mc_stat(): unchanged of mc_stats().
 */
#define MC_STAT_UNCHANGED 15

/**
 * For mc_stat(): evictions of mc_stats().
 */
#define MC_STAT_EVICTIONS 16

/**
 * For mc_stat(): timeouts of mc_stats().
 */
#define MC_STAT_TIMEOUTS 17

/**
 * A cache of manifests. Any number of them may exist, and any thread may use any of them at
 * any time.
 */
typedef struct mc_cache mc_cache;

/**
 * A load in progress, to be answered by the loader that was given it with the mc_load_
 * functions.
 *
 * Valid only until the loader returns, and only on the thread that called it. The last answer
 * stands.
 */
typedef struct mc_load mc_load;

/**
 * How a call ended; one of the constants below.
 */
typedef int32_t mc_status;

/**
 * Brings a plugin's manifest: called by mc_get() when there is no fresh one.
 *
 * It runs on the thread that called mc_get(), with no lock held, and answers through load. If
 * it returns without an answer, the load has failed (MC_LOAD_FAILED). plugin_id is the pointer
 * that mc_get() was given, user_data likewise.
 *
 * It may call any function of this library on any cache, mc_get() for other plugins included,
 * except mc_free() on the cache that called it. Waiting for another thread that calls mc_get()
 * for the same plugin ends only with MC_TIMEOUT.
 *
 * A C++ exception may leave it: it passes through mc_get() to its caller, and threads that
 * waited get MC_LOAD_FAILED. It must not be left by longjmp(), pthread_exit(),
 * pthread_cancel() and their kin (a Go panic recovered further up, an exception of Mono, Ruby's
 * throw, Lua's error): they skip the clean-up, and later calls for this plugin end with
 * MC_TIMEOUT, or on the same thread with MC_LOAD_CYCLE.
 */
typedef void (*mc_loader)(const char *plugin_id, mc_load *load, void *user_data);

/**
 * What went wrong, in 512 bytes that the caller provides, for instance on the stack. They need
 * not be initialized.
 *
 * A call that takes one fills it whenever it returns, also with MC_OK. Only when a loader's
 * exception passes through the call is it left as it was.
 */
typedef struct {
  /**
   * MC_OK or what kind of error it is.
   */
  mc_status status;
  /**
   * errno of a file operation or the code given to mc_load_fail(); 0 if there is none.
   */
  int32_t code;
  /**
   * Line of the manifest, from 1; 0 if the error has no place in it.
   */
  uint32_t line;
  /**
   * Column in that line in bytes, from 1; 0 if the error has no place in the manifest.
   */
  uint32_t column;
  /**
   * One line of UTF-8 for a person, naming the plugin and the file; empty with MC_OK. Long
   * ids and paths lack their middle, control characters are escaped.
   */
  char message[496];
} mc_error;

/**
 * Told what a cache does: level is MC_LOG_ERROR to MC_LOG_DEBUG, message one line that is
 * valid during the call. See mc_set_logger().
 */
typedef void (*mc_logger)(int32_t level, const char *message, void *user_data);

/**
 * There is a manifest.
 */
#define MC_OK 0

/**
 * There is no such plugin, or no such file.
 */
#define MC_NOT_FOUND 1

/**
 * The call was wrong: a NULL where there must be none, an id that is not UTF-8, or an id that
 * mc_load_directory() cannot use as a file name.
 */
#define MC_INVALID_ARGUMENT 2

/**
 * The manifest is not a JSON object (RFC 8259) in UTF-8, or is too large; line and column say
 * where, unless it is too large.
 */
#define MC_INVALID_MANIFEST 3

/**
 * The loader failed, gave no answer or threw an exception, or its file could not be read.
 */
#define MC_LOAD_FAILED 4

/**
 * The load would have waited for itself; the message names the circle (a -> b -> a).
 */
#define MC_LOAD_CYCLE 5

/**
 * Another thread's load of this plugin did not end within MC_OPT_WAIT_MS.
 */
#define MC_TIMEOUT 6

/**
 * A bug in this library.
 */
#define MC_INTERNAL 7

/**
 * There is a manifest, but an expired one, as MC_OPT_STALE_IF_ERROR_MS allows; the message says
 * why its reload failed.
 */
#define MC_STALE 8

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Answers with the manifest itself, of which len bytes from json on are copied. The caller
 * keeps its buffer; no NUL need end it.
 *
 * Returns MC_OK, or MC_INVALID_MANIFEST at once if the text is not a JSON object (RFC 8259) in
 * UTF-8 or is longer than MC_OPT_MAX_MANIFEST_BYTES (16 MiB at first), or MC_INVALID_ARGUMENT for
 * NULL or a len that no object in memory can have; this is then what mc_get() returns too,
 * unless another answer follows. An object without members ({}) is handed out but not cached.
 */
mc_status mc_load_json(mc_load *load, const char *json, size_t len);

/**
 * Answers with the content of the file at path, as by mc_load_json().
 *
 * Returns the same, and also MC_NOT_FOUND if there is no such file, or MC_LOAD_FAILED if it
 * cannot be read or is not a regular file (a directory, a FIFO, a device). What errno said of
 * it is in the error's code. Never blocks on a FIFO or device.
 *
 * What was read is remembered with the entry: when it has expired and the file is still the
 * same (path, device, inode, size, times), it is renewed without being read. A file that
 * changed less than 100 ms before it was read is read again; equal bytes are unchanged too.
 *
 * A file replaced by rename is always seen, and seen whole. One that changes while it is read
 * is read again, twice at most, then it is MC_LOAD_FAILED; one caught half-written is
 * MC_INVALID_MANIFEST. A rewrite in place that leaves a valid manifest halfway cannot be told
 * from a whole one, so rename.
 */
mc_status mc_load_file(mc_load *load, const char *path);

/**
 * Answers with the content of the file root/plugin_id/manifest.json, as by mc_load_file().
 *
 * Returns the same, and MC_INVALID_ARGUMENT without touching any file if the plugin id is not
 * one plain component of a path: empty, ".", "..", or with a slash or backslash in it.
 *
 * To look in several directories, call it for one after the other until it does not return
 * MC_NOT_FOUND.
 */
mc_status mc_load_directory(mc_load *load, const char *root);

/**
 * Answers that there is no such plugin: mc_get() returns NULL with MC_NOT_FOUND. That is
 * cached only with MC_OPT_NEGATIVE_TTL_MS.
 */
void mc_load_not_found(mc_load *load);

/**
 * Answers that the load failed: mc_get() returns NULL with MC_LOAD_FAILED, the code given here
 * in the error's code, and the message, which is copied, in the error's message. The code can
 * be any number; 0 stands for none. The message may be NULL.
 */
void mc_load_fail(mc_load *load, int32_t code, const char *message);

/**
 * Gives the manifest that this load brings a time to live of its own, in milliseconds, before
 * or after it is answered; MC_TTL_FOREVER is for ever, with 0 it is not cached.
 */
void mc_load_ttl(mc_load *load, uint64_t ttl_ms);

/**
 * The expired manifest that this load is to replace, or NULL if there is none. It is borrowed
 * for the time of the load, and must not be given back. mc_string_len() and
 * mc_string_revision() may be used on it.
 */
const char *mc_load_cached(const mc_load *load);

/**
 * Answers that the expired manifest is still right: it is kept, with its revision, for another
 * time to live (its own, if it had one).
 *
 * Returns MC_OK, or MC_INVALID_ARGUMENT if there is none, with which the load fails.
 */
mc_status mc_load_unchanged(mc_load *load);

/**
 * Makes a new, empty cache whose manifests stay fresh for ttl_ms milliseconds after their
 * load: MC_TTL_DEFAULT, MC_TTL_FOREVER, or any other number. With 0 nothing is kept, though
 * concurrent calls still share one load.
 *
 * Returns the cache, to be freed with mc_free(), or NULL after a bug in this library. When
 * memory runs out, this and all other functions abort the process.
 */
mc_cache *mc_new(uint64_t ttl_ms);

/**
 * The manifest of a plugin, loaded if need be.
 *
 * A fresh manifest is returned at once: without calling the loader, without a lock, without
 * waiting for any load. Otherwise the loader is called on this thread; if another thread is
 * loading this plugin already, this call waits and shares that load's outcome, whatever it is,
 * for at most MC_OPT_WAIT_MS. Loads of different plugins run side by side.
 *
 * plugin_id is any UTF-8 string; the empty one is an id like others. With a NULL loader the
 * call only looks: it neither loads nor waits, and says MC_NOT_FOUND if no fresh manifest is
 * there. user_data is passed on to the loader. error may be NULL.
 *
 * Returns the manifest, byte for byte as it was loaded, with MC_OK, or with MC_STALE if it is
 * an expired one (see MC_OPT_STALE_IF_ERROR_MS), as a string to be given back with
 * mc_string_free(). The string never changes and stays valid until then, whatever happens to
 * the cache. Callers may be given the same pointer, each with a share of its own to give back.
 *
 * Returns NULL if there is no manifest, and says why in error: MC_NOT_FOUND,
 * MC_INVALID_ARGUMENT, MC_INVALID_MANIFEST, MC_LOAD_FAILED, MC_LOAD_CYCLE, MC_TIMEOUT or
 * MC_INTERNAL. No failure is cached, and "not found" only with MC_OPT_NEGATIVE_TTL_MS: the next
 * call loads again. So test the pointer, then read the error.
 *
 * An exception that the loader throws passes through to this call's caller; error is then left
 * as it was.
 */
const char *mc_get(mc_cache *cache,
                   const char *plugin_id,
                   mc_loader loader,
                   void *user_data,
                   mc_error *error);

/**
 * Forgets the manifest of one plugin, or of all plugins if plugin_id is NULL. The empty string
 * is an ordinary id.
 *
 * An mc_get() that begins after this returned neither shares a load that began before nor sees
 * what it brings: it loads anew. Loads in progress end normally for those who already wait,
 * but are not cached. Strings handed out stay valid.
 *
 * Returns how many manifests were forgotten, expired ones included; 0 if cache is NULL or the
 * id is not UTF-8.
 */
size_t mc_clear(mc_cache *cache, const char *plugin_id);

/**
 * Stores a manifest that the caller already has: len bytes from json on, which are copied.
 *
 * It is stored as what a load brings: not with a time to live of 0, nor if it is longer than
 * MC_OPT_MAX_BYTES. It is newer than any load in progress, which is fenced as by mc_clear(): what
 * that brings is not cached. An object without members ({}) clears the plugin, as it is never
 * cached.
 *
 * Returns MC_OK, or MC_INVALID_MANIFEST or MC_INVALID_ARGUMENT, with which nothing has
 * changed.
 */
mc_status mc_put(mc_cache *cache,
                 const char *plugin_id,
                 const char *json,
                 size_t len,
                 mc_error *error);

/**
 * The revision of the fresh manifest of a plugin, or 0 if there is none. Never loads, and
 * never blocks.
 *
 * With mc_string_revision() it tells a caller that keeps something made of a manifest whether
 * that is still of the current one. An answer other than 0 is a use of the entry, and counts
 * as a hit.
 */
uint64_t mc_revision(const mc_cache *cache, const char *plugin_id);

/**
 * Statistics as a JSON object, in this order:
 *
 * - total_entries: entries held: manifests, expired ones included, and remembered "not
 *   found"s.
 * - expired_entries: those of them whose time to live is over; they go when they are loaded
 *   again or cleared.
 * - ttl_seconds: the time to live of new entries, a number that may have decimals, or null
 *   for MC_TTL_FOREVER.
 * - hits: calls of mc_get() or mc_revision() answered with a fresh manifest at once.
 * - misses: calls that called the loader, closed a circle, or looked and found nothing.
 * - loads: loaders called.
 * - load_failures: loads that failed, brought no valid manifest, gave no answer or threw.
 * - not_found: loads that answered so.
 * - waits: calls that waited for another thread's load, however that ended.
 * - discarded: loads whose outcome was not cached because mc_clear(), mc_put() or MC_TIMEOUT
 *   came between.
 * - load_time_ms: time spent in loads, all together.
 * - bytes: length of the manifests held, all together.
 * - stale_hits: calls answered with an expired manifest at once, as a stale option allows.
 * - negative_hits: calls answered at once by a remembered "not found".
 * - unchanged: loads that found the expired manifest to be still right.
 * - evictions: entries that had to go because of MC_OPT_MAX_ENTRIES or MC_OPT_MAX_BYTES.
 * - timeouts: waits that ended with MC_TIMEOUT.
 *
 * Every mc_get() with valid arguments is counted in exactly one of hits, stale_hits,
 * negative_hits, misses and waits.
 *
 * Returns a string to be given back with mc_string_free(), or NULL if cache is NULL or after a
 * bug in this library. Does not hold up hits.
 */
const char *mc_stats(const mc_cache *cache);

/**
 * One statistic as a number: which is one of the MC_STAT_ constants. 0 for any other number,
 * and if cache is NULL.
 */
uint64_t mc_stat(const mc_cache *cache, int32_t which);

/**
 * The entries as a JSON array, in no order, each an object:
 *
 * - plugin_id: the plugin.
 * - age_ms: time since it was stored or renewed.
 * - ttl_ms: its time to live, or null for ever.
 * - bytes: length of the manifest; 0 for a remembered "not found".
 * - revision: as by mc_string_revision(); 0 for a remembered "not found".
 * - expired: true once the time to live is over.
 *
 * Returns a string to be given back with mc_string_free(), or NULL if cache is NULL or after a
 * bug in this library. Does not hold up hits.
 */
const char *mc_entries(const mc_cache *cache);

/**
 * Drops the entries that have expired and that no stale option can serve any more. Loads in
 * progress are not fenced.
 *
 * Returns how many went; 0 if cache is NULL.
 */
size_t mc_purge(mc_cache *cache);

/**
 * Sets an option, one of MC_OPT_TTL_MS to MC_OPT_WAIT_MS, from now on and while other threads use
 * the cache. A bound holds when this returns.
 *
 * Returns MC_OK, or MC_INVALID_ARGUMENT for an option there is not or a value that cannot be, with
 * which nothing has changed.
 */
mc_status mc_set_option(mc_cache *cache, int32_t option, uint64_t value);

/**
 * Has a logger told what this cache does, up to a level; NULL, MC_LOG_OFF or an unknown level
 * ends that.
 *
 * It is called on the thread that does what it tells of, with no lock held, from several
 * threads at once. It may call this library; what any logger would be told of that is dropped.
 * It must not throw, and user_data must outlive the cache, as a thread may still be calling a
 * logger that was replaced.
 *
 * MC_LOG_ERROR: loads that failed. MC_LOG_WARN: calls that gave up waiting. MC_LOG_INFO: what
 * was cleared. MC_LOG_DEBUG: hits, loads, what they cached and what had expired. What an
 * exception brings to an end is not told.
 */
void mc_set_logger(mc_cache *cache, mc_logger logger, void *user_data, int32_t level);

/**
 * Frees a cache. It must be the last call on it, with no other in progress, not even in a
 * loader that the cache called. Strings handed out stay valid. NULL is fine.
 */
void mc_free(mc_cache *cache);

/**
 * The version of the library that is running, "MAJOR.MINOR.PATCH", to be compared with the
 * MC_VERSION_ macros of the header that the caller was compiled with. Returns a static string
 * that must not be freed.
 */
const char *mc_version(void);

/**
 * Gives back a string that this library returned.
 *
 * Each returned string is given back once, from any thread, also after mc_free() and in
 * destructors that run at thread exit or process exit. Afterwards the pointer must not be
 * used. Never pass it to free(). NULL is fine.
 *
 * To hand them out again, a thread may keep up to 16 strings, of 256 KiB together, allocated
 * after they were given back and cleared; it lets them go when it ends.
 */
void mc_string_free(const char *string);

/**
 * Length in bytes of a string that this library returned, without counting them and without
 * the NUL at the end.
 *
 * Only for such strings, not for others; 0 for NULL.
 */
size_t mc_string_len(const char *string);

/**
 * The revision of a manifest that mc_get() returned: a number that it was given when it was
 * made, unique among all caches of the process, never used again, and never 0.
 *
 * Only for such strings; 0 for NULL and for what mc_stats() or mc_entries() returned.
 */
uint64_t mc_string_revision(const char *string);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MANIFEST_CACHE_H */
