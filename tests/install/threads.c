/*
 * A host that tests itself under ThreadSanitizer: threads [race]
 *
 * Its threads share nothing but a cache, of which they call every function that hands text from one
 * to another. So there is no race in it, unless it is asked for one: then its loader counts in a
 * variable that no lock protects.
 */

#include <manifest_cache.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS 4
#define ROUNDS 25

static mc_cache *cache;
static int races;
static int loads;

static void load(const char *plugin_id, mc_load *load, void *user_data) {
    struct timespec time = {0, 1000000};
    const char *cached = mc_load_cached(load);
    char text[100];
    (void)user_data;
    if (races) {
        loads++;
    }
    nanosleep(&time, NULL); /* so that others wait for this load */
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"cached\":%zu}", plugin_id, mc_string_len(cached));
    mc_load_json(load, text, strlen(text));
}

static void logger(mc_log_level level, const char *message, void *user_data) {
    (void)user_data;
    if (level < MC_LOG_ERROR || strlen(message) == 0) {
        abort();
    }
}

/* A copy of the string, which is given back: memory of the library and of the host in turn. */
static char *copy_of(const char *string) {
    char *copy = string != NULL ? malloc(strlen(string) + 1) : NULL;
    if (copy == NULL) {
        abort();
    }
    strcpy(copy, string);
    mc_string_free(string);
    return copy;
}

static void *work(void *name) {
    char id[] = "plugin A";
    for (int round = 0; round < ROUNDS; round++) {
        mc_error error;
        id[7] = (char)('A' + round % 5);
        char *got = copy_of(mc_get(cache, id, load, NULL, &error));
        char *again = copy_of(mc_get(cache, id, load, NULL, &error));
        char *own = copy_of(mc_get(cache, name, load, NULL, &error));
        char *stats = copy_of(mc_stats(cache));
        char *entries = copy_of(mc_entries(cache));
        if (round % 3 == 0) {
            mc_put(cache, id, again, strlen(again), &error);
        } else {
            mc_clear(cache, round % 10 == 1 ? NULL : id);
        }
        mc_revision(cache, id);
        free(got), free(again), free(own), free(stats), free(entries);
    }
    return NULL;
}

int main(int argc, char **argv) {
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    pthread_t threads[THREADS];
    races = argc > 1 && strcmp(argv[1], "race") == 0;
    cache = mc_new(MC_TTL_DEFAULT);
    mc_set_logger(cache, logger, NULL, MC_LOG_DEBUG);
    mc_set_option(cache, MC_OPT_MAX_ENTRIES, 6);
    for (int n = 0; n < THREADS; n++) {
        pthread_create(&threads[n], NULL, work, names[n]);
    }
    for (int n = 0; n < THREADS; n++) {
        pthread_join(threads[n], NULL);
    }
    mc_free(cache);
    return 0;
}
