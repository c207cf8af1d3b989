/*
 * A small plugin host. It gets the manifest of every plugin in a directory, first from disk, then
 * from memory on several threads at once, and prints the sizes and times.
 */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <manifest_cache.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    THREADS = 4,
    GETS = 1000, /* of each manifest, on each thread */
    ROWS = 12,   /* of the table at most */
};

struct plugin {
    char *id;
    char *path; /* of the manifest */
    size_t bytes;
    bool exact;     /* the manifest has the same bytes as the file */
    unsigned loads; /* the loader counts them; it runs on the main thread only */
    double cold_ns;
    double warm_ns; /* of all hits on all threads */
    unsigned long hits;
    mc_error error;
};

struct host {
    mc_cache *cache;
    struct plugin *plugins; /* after the cold pass, the refused ones come last */
    size_t count;
    size_t loaded;
    pthread_mutex_t lock; /* guards warm_ns and hits of the plugins while threads run */
};

static void fail(const char *what) {
    fprintf(stderr, "plugin_host: %s\n", what);
    exit(EXIT_FAILURE);
}

static void *allocated(void *memory) {
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

static char *join(const char *directory, const char *name) {
    const size_t size = strlen(directory) + strlen(name) + sizeof "/";
    char *path = allocated(malloc(size));
    snprintf(path, size, "%s/%s", directory, name);
    return path;
}

static double nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Skips hidden directories, "." and "..". */
static void add_if_plugin(struct host *host, const char *root, const char *name) {
    char *directory = join(root, name);
    struct stat status;
    if (name[0] != '.' && stat(directory, &status) == 0 && S_ISDIR(status.st_mode)) {
        struct plugin *plugin = &host->plugins[host->count++];
        plugin->id = allocated(strdup(name));
        plugin->path = join(directory, "manifest.json");
    }
    free(directory);
}

static bool find_plugins(struct host *host, const char *root) {
    struct dirent **entries;
    const int found = scandir(root, &entries, NULL, alphasort);
    if (found < 0)
        return false;
    host->plugins = allocated(calloc((size_t)found + 1, sizeof *host->plugins));
    for (int i = 0; i < found; i++) {
        add_if_plugin(host, root, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return true;
}

static void load(const char *plugin_id, mc_load *answer, void *user_data) {
    struct plugin *plugin = user_data;
    (void)plugin_id;
    plugin->loads++;
    mc_load_file(answer, plugin->path);
}

static bool same_as_file(const char *manifest, const char *path) {
    const size_t bytes = mc_string_len(manifest);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return false;
    char *text = allocated(malloc(bytes + 1)); /* one more byte, to notice a longer file */
    const size_t read = fread(text, 1, bytes + 1, file);
    const bool same = read == bytes && memcmp(text, manifest, bytes) == 0;
    free(text);
    fclose(file);
    return same;
}

static void get_cold(mc_cache *cache, struct plugin *plugin) {
    const double start = nanoseconds(CLOCK_MONOTONIC);
    const char *manifest = mc_get(cache, plugin->id, load, plugin, &plugin->error);
    plugin->cold_ns = nanoseconds(CLOCK_MONOTONIC) - start;
    if (manifest != NULL) {
        plugin->bytes = mc_string_len(manifest);
        plugin->exact = same_as_file(manifest, plugin->path);
    }
    mc_string_free(manifest);
}

/* Largest first. Refused plugins have no bytes and come last. */
static int by_size(const void *a, const void *b) {
    const struct plugin *left = a, *right = b;
    if (left->bytes != right->bytes)
        return left->bytes > right->bytes ? -1 : 1;
    return strcmp(left->id, right->id);
}

static void cold_pass(struct host *host) {
    unsigned loads = 0;
    size_t exact = 0;
    for (size_t i = 0; i < host->count; i++) {
        struct plugin *plugin = &host->plugins[i];
        get_cold(host->cache, plugin);
        host->loaded += plugin->error.status == MC_OK;
        exact += plugin->exact;
        loads += plugin->loads;
    }
    printf("cold pass: %u loads, %zu byte-exact, %zu refused\n", loads, exact,
           host->count - host->loaded);
    qsort(host->plugins, host->count, sizeof *host->plugins, by_size);
}

static void get_warm(struct host *host, struct plugin *plugin) {
    unsigned long hits = 0;
    const double start = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < GETS; i++) {
        /* Without a loader the call only looks into the cache. */
        const char *manifest = mc_get(host->cache, plugin->id, NULL, NULL, NULL);
        hits += manifest != NULL;
        mc_string_free(manifest);
    }
    const double took = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start;
    pthread_mutex_lock(&host->lock);
    plugin->warm_ns += hits > 0 ? took : 0;
    plugin->hits += hits;
    pthread_mutex_unlock(&host->lock);
}

static void *work(void *argument) {
    struct host *host = argument;
    mc_string_free(mc_stats(host->cache)); /* a thread's first call takes longer */
    for (size_t i = 0; i < host->loaded; i++)
        get_warm(host, &host->plugins[i]);
    return NULL;
}

static void warm_pass(struct host *host) {
    pthread_t threads[THREADS];
    unsigned long hits = 0;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, host) != 0)
            fail("cannot start a thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < host->loaded; i++)
        hits += host->plugins[i].hits;
    const unsigned long misses = THREADS * GETS * host->loaded - hits;
    printf("warm pass: %lu hits, %lu misses%s\n", hits, misses,
           misses > 0 ? " ({} is never cached)" : "");
}

/* What a host does after a plugin was updated. */
static void reload(mc_cache *cache, struct plugin *plugin) {
    mc_clear(cache, plugin->id);
    const char *manifest = mc_get(cache, plugin->id, load, plugin, &plugin->error);
    if (manifest != NULL)
        printf("reload:    %s was cleared and loaded again\n", plugin->id);
    else
        printf("reload:    %s\n", plugin->error.message);
    mc_string_free(manifest);
}

static void print_row(const char *name, const struct plugin *plugin) {
    const double warm_ns = plugin->hits > 0 ? plugin->warm_ns / (double)plugin->hits : 0;
    printf("%-24s %9zu %6u %10.1f %10.1f %10lu\n", name, plugin->bytes, plugin->loads,
           plugin->cold_ns / 1e3, warm_ns, plugin->hits);
}

static void print_table(const struct host *host) {
    struct plugin total = {0};
    printf("\n%-24s %9s %6s %10s %10s %10s\n", "plugin, largest first", "bytes", "loads",
           "cold (us)", "warm (ns)", "hits");
    for (size_t i = 0; i < host->loaded; i++) {
        const struct plugin *plugin = &host->plugins[i];
        total.bytes += plugin->bytes;
        total.loads += plugin->loads;
        total.cold_ns += plugin->cold_ns;
        total.warm_ns += plugin->warm_ns;
        total.hits += plugin->hits;
        if (i < ROWS)
            print_row(plugin->id, plugin);
    }
    if (host->loaded > ROWS)
        printf("... and %zu more\n", host->loaded - ROWS);
    print_row("all", &total);
    printf("cold: the first mc_get(), from disk\n"
           "warm: processor time of a hit and mc_string_free(), %d in a row on %d threads\n",
           GETS, THREADS);
}

static void print_refused(const struct host *host) {
    if (host->loaded < host->count)
        puts("\nrefused");
    for (size_t i = host->loaded; i < host->count; i++)
        printf("  %s\n", host->plugins[i].error.message);
}

static void print_statistics(const mc_cache *cache) {
    const char *stats = mc_stats(cache);
    const char *at = stats != NULL ? stats : "";
    char name[32], value[32];
    int used;
    puts("\nstatistics of the cache");
    while (sscanf(at, "%*1[{,]\"%31[^\"]\":%31[^,}]%n", name, value, &used) == 2) {
        printf("  %-15s %9s\n", name, strcmp(value, "null") == 0 ? "for ever" : value);
        at += used;
    }
    mc_string_free(stats);
}

static void serve(struct host *host) {
    cold_pass(host);
    if (host->loaded > 0) {
        warm_pass(host);
        reload(host->cache, &host->plugins[0]);
        print_table(host);
    }
    print_refused(host);
    print_statistics(host->cache);
}

static void free_host(struct host *host) {
    mc_free(host->cache);
    for (size_t i = 0; i < host->count; i++) {
        free(host->plugins[i].id);
        free(host->plugins[i].path);
    }
    free(host->plugins);
}

static int usage(void) {
    fputs("usage: plugin_host DIRECTORY\n"
          "Gets the manifest.json of each sub-directory, and lists those that are refused.\n"
          "The exit status is 0, or 2 if DIRECTORY cannot be read.\n",
          stderr);
    return 2;
}

int main(int argc, char **argv) {
    struct host host = {.lock = PTHREAD_MUTEX_INITIALIZER};
    if (argc != 2)
        return usage();
    if (!find_plugins(&host, argv[1])) {
        fprintf(stderr, "plugin_host: \"%s\": %s\n", argv[1], strerror(errno));
        return usage();
    }
    printf("plugins:   %zu in \"%s\", manifest_cache %s\n", host.count, argv[1], mc_version());
    /* A manifest changes only when its plugin is updated; then the host clears it. */
    host.cache = mc_new(MC_TTL_FOREVER);
    if (host.count > 0)
        serve(&host);
    else
        puts("The directory has no sub-directories, so there are no manifests to get.");
    free_host(&host);
    return EXIT_SUCCESS;
}
