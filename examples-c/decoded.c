/*
 * A plugin host that uses its manifests decoded, with jansson: decoded [directory [plugin]]
 *
 * The cache keeps what the host made of each manifest. A hit returns it, and decodes nothing. The
 * loader refuses manifests that break the host's rules; then the last good one stays in use.
 */

#include <jansson.h>
#include <manifest_cache.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What this host needs of a manifest. The strings belong to the json. */
struct plugin {
    json_t *json;
    const char *name, *version;
};

/* The address of this variable stands for the type of a struct plugin. */
static const char PLUGIN;

static unsigned decodings;

static void destroy(void *value) {
    struct plugin *plugin = value;
    json_decref(plugin->json);
    free(plugin);
}

/* Decodes a manifest, or returns NULL and says why not. */
static struct plugin *decode(const char *text, char *why, size_t size) {
    json_error_t error;
    struct plugin *plugin = calloc(1, sizeof *plugin);
    if (plugin == NULL) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    decodings++;
    plugin->json = json_loadb(text, mc_string_len(text), 0, &error);
    if (plugin->json != NULL && json_unpack_ex(plugin->json, &error, 0, "{s:s, s:s}", "name",
                                               &plugin->name, "version", &plugin->version) == 0)
        return plugin;
    snprintf(why, size, "%s", error.text);
    destroy(plugin);
    return NULL;
}

/* What the loader works with: the directory, or a text instead of what is there. */
struct source {
    const char *root, *text;
};

static void load(const char *plugin_id, mc_load *answer, void *user_data) {
    const struct source *source = user_data;
    char why[JSON_ERROR_TEXT_LENGTH];
    (void)plugin_id;
    if (source->text != NULL)
        mc_load_json(answer, source->text, strlen(source->text));
    else
        mc_load_directory(answer, source->root);
    /* NULL if there is no manifest; then the load has failed, and mc_get() will say so. */
    const char *text = mc_load_text(answer);
    if (text == NULL || mc_string_value(text, &PLUGIN) != NULL)
        return; /* a file that has not changed is decoded already */
    struct plugin *plugin = decode(text, why, sizeof why);
    if (plugin == NULL)
        mc_load_fail(answer, 1, why);
    else
        mc_load_value(answer, &PLUGIN, plugin, destroy);
}

/* Prints a plugin, and returns whether there is one. */
static bool show(mc_cache *cache, const char *plugin_id, struct source *source) {
    mc_error error;
    const char *manifest = mc_get(cache, plugin_id, load, source, &error);
    if (error.status != MC_OK)
        puts(error.message);
    /* The value is valid as long as the string. */
    const struct plugin *plugin = mc_string_value(manifest, &PLUGIN);
    if (plugin != NULL)
        printf("%s: %s %s%s, decoded %u times\n", plugin_id, plugin->name, plugin->version,
               error.status == MC_STALE ? ", the last good one" : "", decodings);
    mc_string_free(manifest);
    return plugin != NULL;
}

int main(int argc, char **argv) {
    struct source source = {argc > 1 ? argv[1] : "plugins", NULL};
    const char *plugin_id = argc > 2 ? argv[2] : "weather";
    mc_cache *cache = mc_new(60 * 1000);
    mc_set_option(cache, MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);

    bool good = show(cache, plugin_id, &source); /* loaded and decoded */
    good = show(cache, plugin_id, &source) && good;
    mc_advance(cache, 3600 * 1000);                 /* an hour later it has expired */
    good = show(cache, plugin_id, &source) && good; /* the file is still the same */
    source.text = "{\"name\": \"an update without a version\"}";
    mc_advance(cache, 3600 * 1000);
    good = show(cache, plugin_id, &source) && good; /* refused: the last good one stays */

    mc_free(cache);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
