/* mc_load_file() and mc_load_directory(): reading, errors, and renewal of unchanged files. */

#include "check.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void write_plugin(const char *root, const char *plugin_id, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, plugin_id);
    mkdir(root, 0777);
    CHECK(mkdir(path, 0777) == 0);
    snprintf(path, sizeof path, "%s/%s/manifest.json", root, plugin_id);
    write_file(path, text);
}

static mc_status returned;

static void load_file(const char *plugin_id, mc_load *load, void *path) {
    (void)plugin_id;
    returned = mc_load_file(load, path);
}

static void load_directory(const char *plugin_id, mc_load *load, void *root) {
    (void)plugin_id;
    returned = mc_load_directory(load, root);
}

/* Loads from this path, which must fail, and checks that mc_load_file() returned the status. */
static mc_error refused(const char *path) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_error error = refusal(cache, "weather", load_file, (void *)path);
    CHECK(error.status == returned);
    CHECK(strstr(error.message, "weather") != NULL && strstr(error.message, path) != NULL);
    mc_free(cache);
    return error;
}

TEST(a_file_is_returned_byte_for_byte) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    write_file("weather.json", "\n" SUN "\r\n");
    CHECK(gives(cache, "weather", load_file, "weather.json", "\n" SUN "\r\n"));
    CHECK(returned == MC_OK);
    remove("weather.json");
    CHECK(gives(cache, "weather", load_never, NULL, "\n" SUN "\r\n"));
    mc_free(cache);
}

TEST(a_missing_file_is_not_found) {
    CHECK(refused("missing.json").status == MC_NOT_FOUND);
    CHECK(refused("missing/weather.json").status == MC_NOT_FOUND);
    write_file("file", SUN);
    CHECK(refused("file/weather.json").status == MC_NOT_FOUND);
    CHECK(symlink("missing.json", "dangling.json") == 0);
    CHECK(refused("dangling.json").status == MC_NOT_FOUND);
}

TEST(a_file_without_read_permission_is_a_failure_with_errno) {
    write_file("secret.json", SUN);
    CHECK(chmod("secret.json", 0) == 0);
    /* The superuser may read every file, so become another user. */
    if (geteuid() == 0 && seteuid(65534) != 0) {
        fputs("cannot become another user\n", stderr);
        abort();
    }
    mc_error error = refused("secret.json");
    CHECK(error.status == MC_LOAD_FAILED && error.code == EACCES);
}

/* This is an error for the superuser too. */
TEST(a_loop_of_symbolic_links_is_a_failure_with_errno) {
    CHECK(symlink("loop.json", "loop.json") == 0);
    mc_error error = refused("loop.json");
    CHECK(error.status == MC_LOAD_FAILED && error.code == ELOOP);
}

TEST(a_directory_is_refused_as_a_file) {
    CHECK(mkdir("directory", 0777) == 0);
    CHECK(refused("directory").status == MC_LOAD_FAILED);
}

TEST(a_fifo_is_refused_without_blocking) {
    CHECK(mkfifo("fifo", 0666) == 0);
    CHECK(refused("fifo").status == MC_LOAD_FAILED);
}

TEST(a_device_is_refused_without_blocking) {
    CHECK(refused("/dev/null").status == MC_LOAD_FAILED);
    CHECK(refused("/dev/zero").status == MC_LOAD_FAILED);
}

TEST(an_invalid_file_is_reported_with_path_line_and_column) {
    write_file("weather.json", "{\n\"a\" 1}");
    mc_error error = refused("weather.json");
    CHECK(error.status == MC_INVALID_MANIFEST && error.line == 2 && error.column == 5);
    write_file("empty.json", "");
    CHECK(refused("empty.json").status == MC_INVALID_MANIFEST);
}

TEST(the_size_limit_of_a_file_is_sixteen_mebibytes) {
    enum { LARGEST = 16 * 1024 * 1024 };
    char *json = malloc(LARGEST + 2);
    memset(json, ' ', LARGEST + 1);
    memcpy(json, SUN, strlen(SUN));
    json[LARGEST + 1] = '\0';
    write_file("larger.json", json);
    json[LARGEST] = '\0';
    write_file("large.json", json);
    CHECK(refused("larger.json").status == MC_INVALID_MANIFEST);
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "weather", load_file, "large.json", json));
    mc_free(cache);
    free(json);
}

TEST(a_directory_is_searched_by_plugin_id) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    write_plugin("plugins", "weather", SUN);
    write_plugin("plugins", "w\303\244rme ...", RAIN);
    CHECK(gives(cache, "weather", load_directory, "plugins", SUN));
    CHECK(gives(cache, "w\303\244rme ...", load_directory, "plugins/", RAIN));
    CHECK(refusal(cache, "tide", load_directory, "plugins").status == MC_NOT_FOUND);
    CHECK(refusal(cache, "weather2", load_directory, "elsewhere").status == MC_NOT_FOUND);
    mc_free(cache);
}

TEST(an_id_that_is_not_a_plain_name_is_refused_without_touching_a_file) {
    const char *ids[] = {"",  ".",   "..",   "../weather", "/weather",  "weather/",
                         "/", "a/b", "a\\b", "\\",         "./weather", "../plugins/weather"};
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    /* These files exist, so that an id that leads to one would be found. */
    write_plugin("plugins", "weather", SUN);
    write_plugin("plugins", "a", SUN);
    write_plugin("plugins/a", "b", SUN);
    write_plugin("plugins", "a\\b", SUN);
    write_plugin("plugins", "\\", SUN);
    write_file("plugins/manifest.json", SUN);
    write_file("manifest.json", SUN);
    /* Touching this path would be a failure. */
    CHECK(symlink("loop", "loop") == 0);
    for (size_t n = 0; n < sizeof ids / sizeof *ids; n++) {
        mc_error error = refusal(cache, ids[n], load_directory, "plugins");
        CHECK(error.status == MC_INVALID_ARGUMENT && returned == MC_INVALID_ARGUMENT);
        error = refusal(cache, ids[n], load_directory, "loop");
        CHECK(error.status == MC_INVALID_ARGUMENT && error.code == 0);
    }
    mc_free(cache);
}

static void load_from_two_directories(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    if (mc_load_directory(load, "user") == MC_NOT_FOUND) {
        mc_load_directory(load, "system");
    }
}

TEST(a_loader_may_search_several_directories) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_loader load = load_from_two_directories;
    write_plugin("user", "weather", SUN);
    write_plugin("user", "broken", "{");
    write_plugin("system", "weather", RAIN);
    write_plugin("system", "broken", RAIN);
    write_plugin("system", "tide", RAIN);
    CHECK(gives(cache, "weather", load, NULL, SUN));
    CHECK(gives(cache, "tide", load, NULL, RAIN));
    CHECK(refusal(cache, "broken", load, NULL).status == MC_INVALID_MANIFEST);
    mc_error error = refusal(cache, "moon", load, NULL);
    CHECK(error.status == MC_NOT_FOUND && strstr(error.message, "system/moon") != NULL);
    mc_free(cache);
}

static void replace_file(const char *path, const char *text) {
    write_file("new.json", text);
    CHECK(rename("new.json", path) == 0);
}

static uint64_t revision_of(mc_cache *cache, mc_loader loader, void *user_data) {
    const char *manifest = mc_get(cache, "weather", loader, user_data, NULL);
    uint64_t revision = mc_string_revision(manifest);
    CHECK(revision != 0);
    mc_string_free(manifest);
    return revision;
}

/* With a limit of 0 no file can be opened, so a file that is renewed was not read. */
static void limit_open_files(rlim_t limit) {
    struct rlimit files;
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = limit < files.rlim_max ? limit : files.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
}

TEST(a_file_that_has_not_changed_is_renewed_without_being_read) {
    const struct {
        mc_loader load;
        const char *path;
    } ways[] = {{load_file, "plugins/weather/manifest.json"}, {load_directory, "plugins"}};
    write_plugin("plugins", "weather", SUN);
    /* The library does not trust the times of a file that changed a moment ago. */
    pause_ms(150);
    for (int n = 0; n < 2; n++) {
        mc_cache *cache = mc_new(1);
        uint64_t revision = revision_of(cache, ways[n].load, (void *)ways[n].path);
        limit_open_files(0);
        for (uint64_t times = 1; times <= 3; times++) {
            await_expiry(cache);
            CHECK(revision_of(cache, ways[n].load, (void *)ways[n].path) == revision);
            CHECK(mc_stat(cache, MC_STAT_UNCHANGED) == times);
        }
        mc_clear(cache, NULL);
        CHECK(refusal(cache, "weather", ways[n].load, (void *)ways[n].path).code == EMFILE);
        limit_open_files(64);
        CHECK(mc_stat(cache, MC_STAT_UNCHANGED) == 3);
        mc_free(cache);
    }
}

TEST(a_file_replaced_by_rename_is_read_again) {
    mc_cache *cache = mc_new(1);
    const char *texts[] = {SUN, "{\"name\":\"Fog\"}", "{\"name\":\"Ice\"}"};
    write_file("weather.json", texts[0]);
    pause_ms(150);
    CHECK(gives(cache, "weather", load_file, "weather.json", texts[0]));
    /* All have the same length. Only the first had its times settled before it was read. */
    for (int n = 1; n < 3; n++) {
        await_expiry(cache);
        replace_file("weather.json", texts[n]);
        CHECK(gives(cache, "weather", load_file, "weather.json", texts[n]));
    }
    CHECK(mc_stat(cache, MC_STAT_UNCHANGED) == 0 && mc_stat(cache, MC_STAT_LOADS) == 3);
    mc_free(cache);
}

TEST(another_file_with_the_same_bytes_is_unchanged) {
    mc_cache *cache = mc_new(1);
    write_file("weather.json", SUN);
    uint64_t revision = revision_of(cache, load_file, "weather.json");
    for (uint64_t times = 1; times <= 2; times++) {
        await_expiry(cache);
        replace_file("weather.json", SUN);
        CHECK(revision_of(cache, load_file, "weather.json") == revision);
        CHECK(mc_stat(cache, MC_STAT_UNCHANGED) == times);
    }
    mc_free(cache);
}

TEST(a_removed_file_is_not_found_even_if_a_stale_manifest_is_held) {
    mc_cache *cache = mc_new(1);
    set(cache, MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    write_file("weather.json", SUN);
    CHECK(gives(cache, "weather", load_file, "weather.json", SUN));
    await_expiry(cache);
    remove("weather.json");
    CHECK(refusal(cache, "weather", load_file, "weather.json").status == MC_NOT_FOUND);
    mc_free(cache);
}

TEST(a_half_written_file_is_refused_and_the_expired_manifest_is_returned) {
    mc_cache *cache = mc_new(1);
    mc_error error;
    set(cache, MC_OPT_STALE_IF_ERROR_MS, MC_TTL_FOREVER);
    set(cache, MC_OPT_RETRY_MS, 0);
    write_file("weather.json", SUN);
    CHECK(gives(cache, "weather", load_file, "weather.json", SUN));
    await_expiry(cache);
    write_file("weather.json", "{\"name\":");
    const char *manifest = mc_get(cache, "weather", load_file, "weather.json", &error);
    CHECK(manifest != NULL && strcmp(manifest, SUN) == 0);
    CHECK(returned == MC_INVALID_MANIFEST && error.status == MC_STALE && error.line == 1);
    CHECK(strstr(error.message, "weather.json") != NULL);
    mc_string_free(manifest);
    replace_file("weather.json", RAIN);
    CHECK(gives(cache, "weather", load_file, "weather.json", RAIN));
    mc_free(cache);
}
