/* The host in C: host DIRECTORY. The hosts in other languages print the same. */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <inttypes.h>
#include <manifest_cache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* C has no exceptions. A loader raises by filling the error of its own caller, with this status. */
enum { RAISED = -1 };
typedef void loader(const char *plugin_id, mc_load *answer, mc_error *raised);
static mc_cache *cache;
static const char *root;

static const char *get(const char *plugin_id, mc_load *within, loader *load, mc_error *error) {
    mc_load *begun;
    const char *manifest;
    if (mc_begin(cache, plugin_id, within, &begun, &manifest, error) != MC_BEGUN)
        return manifest;
    mc_error raised = {.status = MC_OK};
    load(plugin_id, begun, &raised);
    if (raised.status != MC_OK)
        mc_load_fail(begun, 0, raised.message);
    manifest = mc_end(&begun, error);
    if (raised.status != MC_OK)
        *error = raised;
    return manifest;
}

static void load(const char *plugin_id, mc_load *answer, mc_error *raised) {
    if (strcmp(plugin_id, "cursed") == 0)
        *raised = (mc_error){.status = RAISED, .message = "the loader raised this"};
    else if (strcmp(plugin_id, "chicken") == 0)
        mc_string_free(get("egg", answer, load, raised));
    else if (strcmp(plugin_id, "egg") == 0)
        mc_string_free(get("chicken", answer, load, raised));
    if (raised->status == MC_OK)
        mc_load_directory(answer, root);
}

static void print(const char *what, const char *plugin_id, const char *manifest,
                  const mc_error *error) {
    printf("%s %s: ", what, plugin_id);
    if (manifest != NULL)
        printf("%zu bytes %s\n", mc_string_len(manifest), manifest);
    else if (error->status == RAISED)
        printf("%s\n", error->message);
    else
        printf("status %" PRId32 " at %" PRIu32 ":%" PRIu32 " %s\n", error->status, error->line,
               error->column, error->message);
    mc_string_free(manifest);
}

static void show(const char *what, const char *plugin_id, loader *load) {
    mc_error error;
    print(what, plugin_id, get(plugin_id, NULL, load, &error), &error);
}

static void done(const char *manifest, const mc_error *error, void *plugin_id) {
    print("waiter", plugin_id, manifest, error);
}

/* While it loads, another caller gets the plugin. It is on this thread, so it must not wait. */
static void load_shared(const char *plugin_id, mc_load *answer, mc_error *raised) {
    mc_load *none;
    const char *manifest;
    mc_begin_async(cache, plugin_id, NULL, done, (void *)plugin_id, &none, &manifest, NULL);
    load(plugin_id, answer, raised);
}

int main(int argc, char **argv) {
    struct dirent **plugins;
    root = argc == 2 ? argv[1] : ".";
    const int count = scandir(root, &plugins, NULL, alphasort);
    if (count < 0)
        return perror(root), EXIT_FAILURE;
    cache = mc_new(MC_TTL_DEFAULT);
    mc_set_option(cache, MC_OPT_FAILURE_TTL_MS, MC_TTL_FOREVER);
    for (int i = 0; i < count; free(plugins[i++]))
        if (plugins[i]->d_name[0] != '.')
            show("load", plugins[i]->d_name, load);
    free(plugins);
    show("hit", "weather", load);
    mc_clear(cache, "weather");
    show("miss", "weather", load);
    show("not found", "absent", load);
    mc_clear(cache, "notes");
    show("loader", "notes", load_shared);
    show("loader", "cursed", load_shared);
    show("cycle", "chicken", load);
    static const char *names[] = {"entries", "misses", "loads", "failures", "not found"};
    static const int32_t statistics[] = {MC_STAT_TOTAL_ENTRIES, MC_STAT_MISSES, MC_STAT_LOADS,
                                         MC_STAT_LOAD_FAILURES, MC_STAT_NOT_FOUND};
    for (int i = 0; i < 5; i++)
        printf("%s: %" PRIu64 "\n", names[i], mc_stat(cache, statistics[i]));
    mc_free(cache);
}
