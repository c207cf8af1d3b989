/* mc_load_directory() and mc_load_directory_file(): the path for each plugin id and file name. */

#include "check.h"

#include <sys/stat.h>

#define SUN "{\"name\":\"Sun\"}"
#define RAIN "{\"name\":\"Rain\"}"

/* Writes a file and the directories above it. */
static void write_file(const char *path, const char *text) {
    char part[256];
    for (const char *slash = path; (slash = strchr(slash, '/')) != NULL; slash++) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        mkdir(part, 0777);
    }
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

static mc_status said;

static void load_directory(const char *plugin_id, mc_load *load, void *root) {
    (void)plugin_id;
    said = mc_load_directory(load, root);
}

/* Loads the file of this name from plugins/. */
static void load_named(const char *plugin_id, mc_load *load, void *name) {
    (void)plugin_id;
    said = mc_load_directory_file(load, "plugins", name);
}

TEST(the_host_chooses_the_file_name) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    write_file("plugins/weather/plugin.json", SUN);
    write_file("plugins/weather/manifest.json", RAIN);
    CHECK(gives(cache, "weather", load_named, "plugin.json", SUN));
    CHECK(mc_clear(cache, NULL) == 1);
    CHECK(gives(cache, "weather", load_named, "manifest.json", RAIN));
    mc_error error = refusal(cache, "tide", load_named, "plugin.json");
    CHECK(error.status == MC_NOT_FOUND && said == MC_NOT_FOUND);
    CHECK(strstr(error.message, "plugins/tide/plugin.json") != NULL);
    mc_free(cache);
}

TEST(a_file_name_that_is_not_one_plain_component_touches_no_file) {
    const char *names[] = {"",
                           ".",
                           "..",
                           "../weather/plugin.json",
                           "/plugin.json",
                           "a/plugin.json",
                           "plugin.json/",
                           "\\",
                           "a\\plugin.json"};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    /* What these names would lead to exists. */
    write_file("plugins/weather/plugin.json", SUN);
    write_file("plugins/weather/a/plugin.json", SUN);
    write_file("plugins/weather/\\", SUN);
    write_file("plugins/weather/a\\plugin.json", SUN);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        mc_error error = refusal(cache, "weather", load_named, (void *)names[n]);
        CHECK(error.status == MC_INVALID_ARGUMENT && said == MC_INVALID_ARGUMENT);
        CHECK(strstr(error.message, "weather") != NULL);
        CHECK(strstr(error.message, "file name") != NULL && strstr(error.message, "use ") != NULL);
    }
    mc_free(cache);
}

TEST(an_id_may_have_a_scope) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    write_file("plugins/@sky/weather/manifest.json", SUN);
    write_file("plugins/@sky/weather/plugin.json", RAIN);
    CHECK(gives(cache, "@sky/weather", load_directory, "plugins", SUN));
    CHECK(mc_clear(cache, "@sky/weather") == 1);
    CHECK(gives(cache, "@sky/weather", load_named, "plugin.json", RAIN));
    mc_error error = refusal(cache, "@sea/tide", load_directory, "plugins");
    CHECK(error.status == MC_NOT_FOUND);
    CHECK(strstr(error.message, "plugins/@sea/tide/manifest.json") != NULL);
    mc_free(cache);
}

TEST(a_malformed_scope_touches_no_file) {
    const char *ids[] = {"@",          "@/",      "@/weather", "@sky/",          "@sky/.",
                         "@sky/..",    "@sky//a", "@sky/a/b",  "@sky/../@sky/a", "@../weather",
                         "@./weather", "sky/@a",  "sky@a/b",   "@sky\\a",        "@sky/a\\b"};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    /* Were a file touched, a path in circles would be a failure. */
    CHECK(symlink("circle", "circle") == 0);
    for (size_t n = 0; n < sizeof ids / sizeof *ids; n++) {
        mc_error error = refusal(cache, ids[n], load_directory, "circle");
        CHECK(error.status == MC_INVALID_ARGUMENT && said == MC_INVALID_ARGUMENT);
        CHECK(error.code == 0 && strstr(error.message, "@scope/name") != NULL);
    }
    mc_free(cache);
}

TEST(an_id_too_long_for_a_file_name_is_not_found) {
    char id[301];
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mkdir("plugins", 0777);
    mc_error error = refusal(cache, id, load_directory, "plugins");
    CHECK(error.status == MC_NOT_FOUND && error.code == 0);
    mc_free(cache);
}

static void load_null(const char *plugin_id, mc_load *load, void *which) {
    (void)plugin_id;
    const char *root = which == NULL ? NULL : "plugins";
    const char *name = which == NULL ? "manifest.json" : NULL;
    CHECK(mc_load_directory_file(load, root, name) == MC_INVALID_ARGUMENT);
}

TEST(r14_a_root_or_a_name_of_null_is_an_invalid_argument) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(refusal(cache, "weather", load_null, NULL).status == MC_INVALID_ARGUMENT);
    CHECK(refusal(cache, "weather", load_null, cache).status == MC_INVALID_ARGUMENT);
    CHECK(mc_load_directory_file(NULL, "plugins", "manifest.json") == MC_INVALID_ARGUMENT);
    mc_free(cache);
}
