/* The header included twice and used, in every dialect of C and C++: see tests/dialects.rs. */

#include "manifest_cache.h"
#include "manifest_cache.h"

#include <stddef.h>

void load_manifest(const char *plugin_id, mc_load *load, void *root);
size_t length_of_manifest(const char *plugin_id);

void load_manifest(const char *plugin_id, mc_load *load, void *root) {
    (void)plugin_id;
    mc_load_directory(load, (const char *)root);
}

size_t length_of_manifest(const char *plugin_id) {
    static char root[] = "plugins";
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error;
    const char *manifest = mc_get(cache, plugin_id, load_manifest, root, &error);
    size_t length = mc_string_len(manifest);
    if (error.status == MC_NOT_FOUND || mc_set_option(cache, MC_OPT_TTL_MS, 1) != MC_OK) {
        length = 0;
    }
    mc_string_free(manifest);
    mc_free(cache);
    return length;
}
