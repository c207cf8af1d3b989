<?php

// The host in PHP, with its FFI: php host.php DIRECTORY

declare(strict_types=1);

const TTL_DEFAULT = 300_000;
const STATISTICS = [
    'entries' => 1, 'hits' => 4, 'misses' => 5, 'loads' => 6, 'failures' => 7, 'not found' => 8,
];

// An owned string is a char *, which stays a pointer in PHP. PHP would turn a const char * into a
// string and lose the pointer, which could then not be freed.
$mc = FFI::cdef(<<<'C'
    typedef struct mc_cache mc_cache;
    typedef struct mc_load mc_load;
    typedef void (*mc_loader)(const char *plugin_id, mc_load *load, void *user_data);
    typedef struct { int32_t status, code; uint32_t line, column; char message[496]; } mc_error;
    mc_cache *mc_new(uint64_t ttl_ms);
    char *mc_get(mc_cache *cache, const char *plugin_id, mc_loader loader, void *user_data,
                 mc_error *error);
    size_t mc_clear(mc_cache *cache, const char *plugin_id);
    uint64_t mc_stat(const mc_cache *cache, int32_t which);
    void mc_free(mc_cache *cache);
    size_t mc_string_len(const char *string);
    void mc_string_free(const char *string);
    int32_t mc_load_directory(mc_load *load, const char *root);
    void mc_load_fail(mc_load *load, int32_t code, const char *message);
    C, 'libmanifest_cache.so.0');
$root = $argv[1];

$load = function (string $pluginId, FFI\CData $answer) use ($mc, $root): void {
    if ($pluginId === 'cursed') {
        throw new RuntimeException('the loader raised this');
    }
    $mc->mc_load_directory($answer, $root);
};

// An exception or exit() that leaves a callback ends the program with a fatal error, without
// running catch or finally. exit() cannot be caught here.
$guarded = function (string $pluginId, FFI\CData $answer) use ($mc, $load): void {
    try {
        $load($pluginId, $answer);
    } catch (Throwable $error) {
        $mc->mc_load_fail($answer, 0, $error->getMessage());
    }
};
// PHP makes a C function of a closure and keeps it until the program ends, so do this only once.
$loaders = $mc->new('mc_loader[1]');
$loaders[0] = $guarded;
$loader = $loaders[0];

$show = function (
    FFI\CData $cache, string $what, string $pluginId, ?FFI\CData $loader
) use ($mc): void {
    $error = $mc->new('mc_error');
    // A NUL in the id would end it.
    $manifest = $mc->mc_get($cache, $pluginId, $loader, null, FFI::addr($error));
    if ($manifest !== null) {
        $text = FFI::string($manifest, $mc->mc_string_len($manifest));
        $mc->mc_string_free($manifest);
        printf("%s %s: %d bytes %s\n", $what, $pluginId, strlen($text), $text);
    } else {
        $place = "$error->line:$error->column";
        $message = FFI::string($error->message);
        printf("%s %s: status %d at %s %s\n", $what, $pluginId, $error->status, $place, $message);
    }
};

$cache = $mc->mc_new(TTL_DEFAULT);
foreach (preg_grep('/^[^.]/', scandir($root)) as $name) {
    $show($cache, 'load', $name, $loader);
}
$show($cache, 'hit', 'weather', $loader);
$mc->mc_clear($cache, 'weather');
$show($cache, 'miss', 'weather', null);
$show($cache, 'not found', 'absent', $loader);
$show($cache, 'raise', 'cursed', $loader);
$show($cache, 'raise again', 'cursed', $loader);
foreach (STATISTICS as $name => $which) {
    printf("%s: %d\n", $name, $mc->mc_stat($cache, $which));
}
$mc->mc_free($cache);
