/* For tests of mc_begin(), mc_begin_async() and mc_end(). */

#ifndef LOADS_H
#define LOADS_H

#include "threads.h"

/* Begins a load, which the cache must need. */
static inline mc_load *begun(mc_cache *cache, const char *plugin_id, mc_load *within) {
    mc_load *load = NULL;
    const char *manifest = SUN;
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(mc_begin(cache, plugin_id, within, &load, &manifest, &error) == MC_BEGUN);
    CHECK(load != NULL && manifest == NULL);
    CHECK(error.status == MC_OK && error.code == 0 && error.message[0] == '\0');
    return load;
}

/* Ends a load. Returns whether mc_end() returned this text and reported MC_OK. */
static inline int ends_with(mc_load *load, const char *text) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    const char *manifest = mc_end(&load, &error);
    int same = manifest != NULL && strcmp(manifest, text) == 0;
    CHECK(load == NULL && error.status == (manifest != NULL ? MC_OK : error.status));
    mc_string_free(manifest);
    return same;
}

/* Answers a load with this text and ends it. */
static inline int ends(mc_load *load, const char *text) {
    CHECK(mc_load_json(load, text, strlen(text)) == MC_OK);
    return ends_with(load, text);
}

static inline void *end_on_a_thread(void *load) {
    CHECK(ends((mc_load *)load, SUN));
    return NULL;
}

/* Ends a load, which must fail, and returns the error. */
static inline mc_error fails(mc_load *load) {
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(mc_end(&load, &error) == NULL && load == NULL);
    CHECK(error.status != MC_OK && error.message[0] != '\0');
    return error;
}

/* Calls mc_begin(), which must fail, and returns the error. */
static inline mc_error refused(mc_cache *cache, const char *plugin_id, mc_load *within) {
    mc_load *load = (mc_load *)&load;
    const char *manifest = SUN;
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    mc_status status = mc_begin(cache, plugin_id, within, &load, &manifest, &error);
    CHECK(load == NULL && manifest == NULL && error.status == status);
    CHECK(status != MC_OK && status < MC_STALE && error.message[0] != '\0');
    return error;
}

/* Whether mc_begin() returns this manifest at once. */
static inline int is_there(mc_cache *cache, const char *plugin_id, const char *text) {
    mc_load *load = (mc_load *)&load;
    const char *manifest = NULL;
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(mc_begin(cache, plugin_id, NULL, &load, &manifest, &error) == MC_OK);
    CHECK(load == NULL && manifest != NULL && error.status == MC_OK);
    int same = strcmp(manifest, text) == 0;
    mc_string_free(manifest);
    return same;
}

/* What an mc_done was told. It is read when the call that ended the load has returned. */
typedef struct {
    int calls;
    int turn; /* how many mc_done had been called before */
    pthread_t thread;
    mc_error error;
    char manifest[64];
} told;

static int turns;

/* An mc_done that notes in a told what it is told. */
static inline void note(const char *manifest, const mc_error *error, void *user_data) {
    told *it = (told *)user_data;
    it->turn = turns++;
    it->thread = pthread_self();
    it->error = *error;
    CHECK((manifest != NULL) == (error->status == MC_OK || error->status == MC_STALE));
    snprintf(it->manifest, sizeof it->manifest, "%s", manifest != NULL ? manifest : "");
    mc_string_free(manifest);
    it->calls++;
}

/* Begins an asynchronous wait for the load of another caller, which must be in progress. */
static inline void pends_for(mc_cache *cache, const char *plugin_id, mc_load *within, mc_done done,
                             void *user_data) {
    mc_load *load = (mc_load *)&load;
    const char *manifest = SUN;
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    mc_status status =
        mc_begin_async(cache, plugin_id, within, done, user_data, &load, &manifest, &error);
    CHECK(status == MC_PENDING && load == NULL && manifest == NULL);
    CHECK(error.status == MC_OK && error.message[0] == '\0');
}

static inline void pends(mc_cache *cache, const char *plugin_id, mc_load *within, told *it) {
    memset(it, 0, sizeof *it);
    pends_for(cache, plugin_id, within, note, it);
    CHECK(it->calls == 0);
}

/* Calls mc_begin_async(), which must return this status at once, and may begin a load. */
static inline mc_load *at_once(mc_cache *cache, const char *plugin_id, mc_load *within,
                               mc_status status, const char *text, mc_error *error) {
    told none;
    mc_load *load = NULL;
    const char *manifest = NULL;
    memset(&none, 0, sizeof none);
    CHECK(mc_begin_async(cache, plugin_id, within, note, &none, &load, &manifest, error) == status);
    CHECK((load != NULL) == (status == MC_BEGUN) && (manifest != NULL) == (text != NULL));
    CHECK(manifest == NULL || strcmp(manifest, text) == 0);
    mc_string_free(manifest);
    CHECK(none.calls == 0);
    return load;
}

/* Whether a wait was told this text, once. */
static inline int was_told(const told *it, const char *text) {
    return it->calls == 1 && it->error.status == MC_OK && strcmp(it->manifest, text) == 0;
}

/* Whether a wait was told this error, once. */
static inline int was_refused(const told *it, mc_status status) {
    return it->calls == 1 && it->error.status == status && it->error.message[0] != '\0';
}

#endif
