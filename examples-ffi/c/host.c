/* The host in C: host DIRECTORY. The hosts in other languages print the same. */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <inttypes.h>
#include <manifest_cache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* C has no exceptions. The message of mc_load_fail() reaches the caller of mc_get(). */
static void load(const char *plugin_id, mc_load *answer, void *root) {
    if (strcmp(plugin_id, "cursed") == 0)
        mc_load_fail(answer, 0, "the loader raised this");
    else
        mc_load_directory(answer, root);
}

static void show(mc_cache *cache, const char *what, const char *plugin_id, mc_loader loader,
                 void *root) {
    mc_error error;
    const char *manifest = mc_get(cache, plugin_id, loader, root, &error);
    if (manifest != NULL)
        printf("%s %s: %zu bytes %s\n", what, plugin_id, mc_string_len(manifest), manifest);
    else
        printf("%s %s: status %" PRId32 " at %" PRIu32 ":%" PRIu32 " %s\n", what, plugin_id,
               error.status, error.line, error.column, error.message);
    mc_string_free(manifest);
}

static void print_statistic(const mc_cache *cache, const char *name, int32_t which) {
    printf("%s: %" PRIu64 "\n", name, mc_stat(cache, which));
}

int main(int argc, char **argv) {
    struct dirent **plugins;
    char *root = argc == 2 ? argv[1] : ".";
    const int count = scandir(root, &plugins, NULL, alphasort);
    if (count < 0) {
        perror(root);
        return EXIT_FAILURE;
    }
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    for (int i = 0; i < count; i++) {
        if (plugins[i]->d_name[0] != '.')
            show(cache, "load", plugins[i]->d_name, load, root);
        free(plugins[i]);
    }
    free(plugins);

    show(cache, "hit", "weather", load, root);
    mc_clear(cache, "weather");
    show(cache, "miss", "weather", NULL, NULL);
    show(cache, "not found", "absent", load, root);
    show(cache, "raise", "cursed", load, root);
    show(cache, "raise again", "cursed", load, root);

    print_statistic(cache, "entries", MC_STAT_TOTAL_ENTRIES);
    print_statistic(cache, "hits", MC_STAT_HITS);
    print_statistic(cache, "misses", MC_STAT_MISSES);
    print_statistic(cache, "loads", MC_STAT_LOADS);
    print_statistic(cache, "failures", MC_STAT_LOAD_FAILURES);
    print_statistic(cache, "not found", MC_STAT_NOT_FOUND);
    mc_free(cache);
    return EXIT_SUCCESS;
}
