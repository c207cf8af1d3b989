<?php

// The host in PHP, with its FFI: php host.php DIRECTORY

declare(strict_types=1);

const BEGUN = 9, OPT_FAILURE_TTL_MS = 11;
const TTL_DEFAULT = 300_000, TTL_FOREVER = -1; // PHP has no unsigned integers
const STATISTICS = ['entries' => 1, 'misses' => 5, 'loads' => 6, 'failures' => 7, 'not found' => 8];
const NEEDS = ['chicken' => 'egg', 'egg' => 'chicken'];

// An owned string is a char *, which stays a pointer in PHP. PHP would turn a const char * into a
// string and lose the pointer, which could then not be freed.
$mc = FFI::cdef(<<<'C'
    typedef struct mc_cache mc_cache;
    typedef struct mc_load mc_load;
    typedef struct { int32_t status, code; uint32_t line, column; char message[496]; } mc_error;
    mc_cache *mc_new(uint64_t ttl_ms);
    int32_t mc_begin(mc_cache *cache, const char *plugin_id, mc_load *within, mc_load **load,
                     char **manifest, mc_error *error);
    char *mc_end(mc_load **load, mc_error *error);
    int32_t mc_set_option(mc_cache *cache, int32_t option, uint64_t value);
    size_t mc_clear(mc_cache *cache, const char *plugin_id);
    uint64_t mc_stat(const mc_cache *cache, int32_t which);
    void mc_free(mc_cache *cache);
    size_t mc_string_len(const char *string);
    void mc_string_free(const char *string);
    int32_t mc_load_directory(mc_load *load, const char *root);
    void mc_load_fail(mc_load *load, int32_t code, const char *message);
    C, 'libmanifest_cache.so.0');
$root = $argv[1];
$cache = $mc->mc_new(TTL_DEFAULT);

// Throws what the loader throws, or an exception for the error of the cache.
$get = function (string $pluginId, ?FFI\CData $within, callable $loader) use ($mc, $cache): string {
    [$load, $manifest, $error] = [$mc->new('mc_load *'), $mc->new('char *'), $mc->new('mc_error')];
    $outputs = [FFI::addr($load), FFI::addr($manifest), FFI::addr($error)];
    // A NUL in the id would end it.
    try {
        if ($mc->mc_begin($cache, $pluginId, $within, ...$outputs) === BEGUN) {
            $loader($pluginId, $load);
            $manifest = $mc->mc_end(FFI::addr($load), FFI::addr($error));
        }
        if ($manifest === null || FFI::isNull($manifest)) {
            $place = "$error->line:$error->column";
            throw new Exception("status $error->status at $place " . FFI::string($error->message));
        }
        return FFI::string($manifest, $mc->mc_string_len($manifest));
    } catch (Throwable $thrown) {
        if (!FFI::isNull($load)) { // it has not ended
            $mc->mc_load_fail($load, 0, $thrown->getMessage());
            $manifest = $mc->mc_end(FFI::addr($load), null);
        }
        throw $thrown;
    } finally {
        $mc->mc_string_free($manifest);
    }
};

$load = function (string $pluginId, FFI\CData $answer) use ($mc, $root, $get, &$load): void {
    if ($pluginId === 'cursed') {
        throw new RuntimeException('the loader raised this');
    }
    if (isset(NEEDS[$pluginId])) {
        $get(NEEDS[$pluginId], $answer, $load);
    }
    $mc->mc_load_directory($answer, $root);
};

$outcome = function (string $pluginId) use ($get, $load): string {
    try {
        $manifest = $get($pluginId, null, $load);
        return "$pluginId: " . strlen($manifest) . " bytes $manifest\n";
    } catch (Exception $exception) {
        return "$pluginId: {$exception->getMessage()}\n";
    }
};

// PHP has no threads, so nobody waits while a plugin loads. Who comes later gets the same.
$share = function (string $pluginId) use ($outcome): void {
    $loader = $outcome($pluginId);
    echo "waiter {$outcome($pluginId)}loader $loader";
};

$mc->mc_set_option($cache, OPT_FAILURE_TTL_MS, TTL_FOREVER);
foreach (preg_grep('/^[^.]/', scandir($root)) as $name) {
    echo "load {$outcome($name)}";
}
echo "hit {$outcome('weather')}";
$mc->mc_clear($cache, 'weather');
echo "miss {$outcome('weather')}";
echo "not found {$outcome('absent')}";
$mc->mc_clear($cache, 'notes');
$share('notes');
$share('cursed');
echo "cycle {$outcome('chicken')}";
foreach (STATISTICS as $name => $which) {
    echo "$name: {$mc->mc_stat($cache, $which)}\n";
}
$mc->mc_free($cache);
