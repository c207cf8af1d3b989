/*
 * Edits a manifest on disk while threads get it without pause, and prints what they saw and how
 * soon: hot_reload [directory [plugin]]. It edits a copy of the plugin's manifest.
 */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <manifest_cache.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MANIFEST "sample/manifest.json"
#define NEXT "sample/manifest.next"

enum {
    READERS = 3,
    EDITS = 8,
    TTL_MS = 20,
    RETRY_MS = 10,
    GRACE_MS = 10000, /* for both stale options */
    SETTLE_MS = 150,  /* the cache reads a file again until it is 100 ms old */
    QUIET_MS = 300,
    PAUSE_MS = 60,      /* in the middle of an edit, so that some reloads see it */
    DEADLINE_MS = 5000, /* until all readers must see an edit */
};

struct scene {
    mc_cache *cache;
    char *texts[EDITS + 1]; /* one for each edit, all of one length: the size never differs */
    size_t bytes;
    atomic_bool over;
    atomic_ulong gets, stale, not_found, broken; /* since the last row */
    uint64_t loads, unchanged;                   /* statistics at the last row */
    pthread_mutex_t lock;                        /* guards the members below */
    int arrived;                                 /* readers that have seen this edit */
    double first_ms, last_ms;                    /* when the first and the last saw it */
    mc_error reason;                             /* the last error */
};

static char directory[] = "/tmp/hot_reload.XXXXXX";

static void check(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "hot_reload: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void sleep_ms(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    check(nanosleep(&time, NULL) == 0, "nanosleep");
}

static void load(const char *plugin_id, mc_load *answer, void *root) {
    (void)plugin_id;
    mc_load_directory(answer, root);
}

static void arrive(struct scene *scene) {
    pthread_mutex_lock(&scene->lock);
    scene->last_ms = now_ms();
    if (scene->arrived++ == 0)
        scene->first_ms = scene->last_ms;
    pthread_mutex_unlock(&scene->lock);
}

/* No edit begins before all readers saw the last one, so an older text is an error too. */
static bool is_old_or_new(struct scene *scene, const char *manifest, int *seen) {
    if (mc_string_len(manifest) != scene->bytes)
        return false;
    if (memcmp(manifest, scene->texts[*seen], scene->bytes) == 0)
        return true;
    if (*seen == EDITS || memcmp(manifest, scene->texts[*seen + 1], scene->bytes) != 0)
        return false;
    ++*seen;
    arrive(scene);
    return true;
}

static void count_error(struct scene *scene, const mc_error *error) {
    pthread_mutex_lock(&scene->lock);
    scene->reason = *error;
    pthread_mutex_unlock(&scene->lock);
    if (error->status == MC_STALE)
        scene->stale++;
    else if (error->status == MC_NOT_FOUND)
        scene->not_found++;
    else
        scene->broken++;
}

static void *read_all_the_time(void *argument) {
    struct scene *scene = argument;
    int seen = 0;
    while (!scene->over) {
        mc_error error;
        const char *manifest = mc_get(scene->cache, "sample", load, ".", &error);
        scene->gets++;
        if (error.status != MC_OK)
            count_error(scene, &error);
        if (manifest != NULL && !is_old_or_new(scene, manifest, &seen))
            scene->broken++;
        mc_string_free(manifest);
    }
    return NULL;
}

static int create(const char *path) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    check(file >= 0, path);
    return file;
}

static void append(int file, const char *text, size_t bytes) {
    errno = ENOSPC; /* a short write sets no errno */
    check(write(file, text, bytes) == (ssize_t)bytes, "write");
}

/* Returns, as all edits do, the time at which the file began to be complete. */
static double by_rename(const char *text, size_t bytes) {
    const int file = create(NEXT);
    append(file, text, bytes);
    check(close(file) == 0, NEXT);
    const double start = now_ms();
    check(rename(NEXT, MANIFEST) == 0, MANIFEST);
    return start;
}

static double in_place(const char *text, size_t bytes) {
    const size_t half = bytes / 2;
    const int file = create(MANIFEST);
    sleep_ms(PAUSE_MS);
    append(file, text, half);
    sleep_ms(PAUSE_MS);
    const double start = now_ms();
    append(file, text + half, bytes - half);
    check(close(file) == 0, MANIFEST);
    return start;
}

static double after_deletion(const char *text, size_t bytes) {
    check(unlink(MANIFEST) == 0, MANIFEST);
    sleep_ms(PAUSE_MS);
    return by_rename(text, bytes);
}

static const struct {
    const char *name;
    double (*apply)(const char *text, size_t bytes);
    int last;
} kinds[] = {
    {"replaced by rename", by_rename, 5},
    {"truncated, then written in two halves", in_place, 7},
    {"deleted, put back by rename", after_deletion, EDITS},
};

static bool wait_for_readers(struct scene *scene) {
    int arrived = 0;
    for (int ms = 0; ms < DEADLINE_MS && arrived < READERS; ms++) {
        sleep_ms(1);
        pthread_mutex_lock(&scene->lock);
        arrived = scene->arrived;
        pthread_mutex_unlock(&scene->lock);
    }
    return arrived == READERS;
}

static void forget_counts(struct scene *scene) {
    scene->gets = scene->stale = scene->not_found = 0;
    scene->loads = mc_stat(scene->cache, MC_STAT_LOADS);
    scene->unchanged = mc_stat(scene->cache, MC_STAT_UNCHANGED);
    pthread_mutex_lock(&scene->lock);
    scene->arrived = 0;
    pthread_mutex_unlock(&scene->lock);
}

static void print_counts(struct scene *scene, const char *name) {
    printf("%-38s %8lu %6lu %9lu %6lu %9lu", name, scene->gets, scene->stale, scene->not_found,
           (unsigned long)(mc_stat(scene->cache, MC_STAT_LOADS) - scene->loads),
           (unsigned long)(mc_stat(scene->cache, MC_STAT_UNCHANGED) - scene->unchanged));
}

static void print_reason(struct scene *scene) {
    pthread_mutex_lock(&scene->lock);
    const mc_error reason = scene->reason;
    pthread_mutex_unlock(&scene->lock);
    const char *name = reason.status == MC_STALE       ? "MC_STALE"
                       : reason.status == MC_NOT_FOUND ? "MC_NOT_FOUND"
                                                       : "error";
    printf("  %s: %s\n", name, reason.message);
}

static void watch_quiet_file(struct scene *scene) {
    sleep_ms(SETTLE_MS);
    forget_counts(scene);
    sleep_ms(QUIET_MS);
    print_counts(scene, "left alone");
    puts("");
}

static bool watch_edit(struct scene *scene, int edit) {
    size_t kind = 0;
    while (edit > kinds[kind].last)
        kind++;
    sleep_ms(edit * 7 % TTL_MS); /* so that edits come at different times after a load */
    forget_counts(scene);
    const double start = kinds[kind].apply(scene->texts[edit], scene->bytes);
    const bool seen = wait_for_readers(scene);
    const bool lost = scene->not_found > 0 && kinds[kind].apply != after_deletion;
    print_counts(scene, kinds[kind].name);
    if (seen)
        printf(" %6.1f %6.1f\n", scene->first_ms - start, scene->last_ms - start);
    else
        printf(" not seen in %d ms\n", DEADLINE_MS);
    if (edit == kinds[kind].last && scene->stale + scene->not_found > 0)
        print_reason(scene);
    return seen && !lost;
}

static bool play(struct scene *scene) {
    pthread_t readers[READERS];
    bool good = true;
    for (int i = 0; i < READERS; i++)
        check((errno = pthread_create(&readers[i], NULL, read_all_the_time, scene)) == 0,
              "pthread_create");
    printf("%-38s %8s %6s %9s %6s %9s %6s %6s\n", "the file is", "gets", "stale", "not found",
           "loads", "unchanged", "first", "last");
    watch_quiet_file(scene);
    for (int edit = 1; edit <= EDITS && good; edit++)
        good = watch_edit(scene, edit);
    scene->over = true;
    for (int i = 0; i < READERS; i++)
        check((errno = pthread_join(readers[i], NULL)) == 0, "pthread_join");
    return good && scene->broken == 0;
}

/* Wraps the sample with a number. The first half of such a text is never valid JSON. */
static void make_texts(struct scene *scene, const char *sample) {
    const size_t room = mc_string_len(sample) + 64;
    for (int i = 0; i <= EDITS; i++) {
        scene->texts[i] = malloc(room);
        check(scene->texts[i] != NULL, "malloc");
        scene->bytes =
            (size_t)snprintf(scene->texts[i], room, "{\"version\": %d, \"plugin\": %s}", i, sample);
    }
}

static void set_up(struct scene *scene, const char *sample) {
    make_texts(scene, sample);
    by_rename(scene->texts[0], scene->bytes);
    scene->cache = mc_new(TTL_MS);
    errno = EINVAL;
    check(mc_set_option(scene->cache, MC_OPT_STALE_IF_ERROR_MS, GRACE_MS) == MC_OK &&
              mc_set_option(scene->cache, MC_OPT_STALE_WHILE_REVALIDATE_MS, GRACE_MS) == MC_OK &&
              mc_set_option(scene->cache, MC_OPT_RETRY_MS, RETRY_MS) == MC_OK,
          "mc_set_option");
}

static void tear_down(struct scene *scene) {
    mc_free(scene->cache);
    for (int i = 0; i <= EDITS; i++)
        free(scene->texts[i]);
}

static void remove_directory(void) {
    unlink(NEXT); /* exists only after a failure */
    unlink(MANIFEST);
    rmdir("sample");
    if (rmdir(directory) != 0)
        perror(directory);
}

static void enter_directory(void) {
    check(mkdtemp(directory) != NULL, directory);
    check(chdir(directory) == 0, directory);
    check(atexit(remove_directory) == 0, "atexit");
    check(mkdir("sample", 0700) == 0, "sample");
}

int main(int argc, char **argv) {
    struct scene scene = {.lock = PTHREAD_MUTEX_INITIALIZER};
    char *root = argc > 1 ? argv[1] : "plugins";
    const char *plugin_id = argc > 2 ? argv[2] : "weather";
    mc_error error;
    mc_cache *source = mc_new(0);
    const char *sample = mc_get(source, plugin_id, load, root, &error);
    mc_free(source);
    if (sample == NULL) {
        fprintf(stderr, "%s\n", error.message);
        return EXIT_FAILURE;
    }
    enter_directory();
    set_up(&scene, sample);
    mc_string_free(sample);
    printf("%d threads get a copy of %s, time to live %d ms, while its file is edited.\n"
           "unchanged: loads that found the same file, with one stat once it is 100 ms old\n"
           "first, last: ms from an edit until the first and the last reader saw it\n\n",
           READERS, plugin_id, TTL_MS);
    const bool good = play(&scene);
    puts(good ? "\nReaders saw the old text or the new one, never anything else."
              : "\nFAILED: readers saw something else, or did not see an edit in time.");
    if (!good)
        print_reason(&scene);
    tear_down(&scene);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
