/* Prints the manifest of one plugin: quickstart [directory [plugin]] */

#include <manifest_cache.h>
#include <stdio.h>
#include <stdlib.h>

/* Called only while the cache has no fresh manifest of this plugin. */
static void load(const char *plugin_id, mc_load *answer, void *root) {
    (void)plugin_id; /* mc_load_directory() knows it */
    mc_load_directory(answer, root);
}

int main(int argc, char **argv) {
    char *root = argc > 1 ? argv[1] : "plugins";
    const char *plugin_id = argc > 2 ? argv[2] : "weather";

    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    mc_error error;
    const char *manifest = mc_get(cache, plugin_id, load, root, &error);
    if (manifest == NULL) {
        fprintf(stderr, "%s\n", error.message);
        mc_free(cache);
        return EXIT_FAILURE;
    }
    printf("%s\n", manifest);
    mc_string_free(manifest);

    mc_string_free(mc_get(cache, plugin_id, load, root, NULL)); /* from memory */

    const char *stats = mc_stats(cache);
    printf("%s\n", stats);
    mc_string_free(stats);
    mc_free(cache);
    return EXIT_SUCCESS;
}
