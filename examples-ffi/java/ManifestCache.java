import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.jna.*;
import com.sun.jna.ptr.PointerByReference;
import java.util.Map;
import java.util.concurrent.*;
import java.util.function.BiFunction;

/** A cache whose loads are futures, with JNA. */
final class ManifestCache {
    static final int BEGUN = 9, PENDING = 10, OPT_FAILURE_TTL_MS = 11;
    static final long TTL_DEFAULT = 300_000, TTL_FOREVER = -1;

    interface Done extends Callback {
        void done(Pointer manifest, Pointer error, Pointer waiter);
    }

    // An owned string is a Pointer. Of a String JNA returns a copy, and nothing could free it.
    interface Functions extends Library {
        Pointer mc_new(long ttlMs);
        int mc_begin_async(Pointer cache, String pluginId, Pointer within, Done done,
                Pointer waiter, PointerByReference load, PointerByReference manifest,
                Pointer error);
        Pointer mc_end(PointerByReference load, Pointer error);
        int mc_set_option(Pointer cache, int option, long value);
        NativeLong mc_clear(Pointer cache, String pluginId);
        long mc_stat(Pointer cache, int which);
        void mc_free(Pointer cache);
        NativeLong mc_string_len(Pointer string);
        void mc_string_free(Pointer string);
        int mc_load_directory(Pointer answer, String root);
        void mc_load_fail(Pointer answer, int code, String message);
    }

    // The default of JNA is the encoding of the locale.
    static final Functions MC = Native.load("manifest_cache", Functions.class,
            Map.of(Library.OPTION_STRING_ENCODING, "UTF-8"));
    private final Map<Pointer, CompletableFuture<String>> waiters = new ConcurrentHashMap<>();
    // It is a field because JNA does not keep a callback from being collected.
    private final Done done = (manifest, error, waiter) ->
            settle(waiters.remove(waiter), manifest, error);
    final Pointer cache = MC.mc_new(TTL_DEFAULT);

    /** What the loader throws reaches this caller. For all others the load has failed. */
    CompletableFuture<String> get(String pluginId, Pointer within,
            BiFunction<String, Pointer, CompletableFuture<?>> loader) {
        var load = new PointerByReference();
        var manifest = new PointerByReference();
        // Four bytes each for status, code, line and column, then the message.
        var error = new Memory(512);
        var future = new CompletableFuture<String>();
        waiters.put(error, future); // no other call has memory at this address
        // A NUL in the id would end it.
        int status = MC.mc_begin_async(cache, pluginId, within, done, error, load, manifest, error);
        if (status == PENDING) return future;
        waiters.remove(error);
        if (status != BEGUN) {
            settle(future, manifest.getValue(), error);
            return future;
        }
        CompletableFuture.completedFuture(load.getValue())
                .thenCompose(answer -> loader.apply(pluginId, answer))
                .whenComplete((nothing, thrown) -> {
                    Throwable cause = thrown == null ? null : thrown.getCause();
                    if (thrown != null) MC.mc_load_fail(load.getValue(), 0, cause.getMessage());
                    Pointer ended = MC.mc_end(load, error);
                    if (thrown != null) future.completeExceptionally(cause);
                    else settle(future, ended, error);
                });
        return future;
    }

    // What depends on the future runs on another thread, and not within mc_end().
    private static void settle(CompletableFuture<String> future, Pointer manifest, Pointer error) {
        if (manifest == null) {
            var message = String.format("status %d at %d:%d %s", error.getInt(0), error.getInt(8),
                    error.getInt(12), error.getString(16, "UTF-8"));
            future.completeAsync(() -> { throw new IllegalStateException(message); });
            return;
        }
        byte[] text = manifest.getByteArray(0, MC.mc_string_len(manifest).intValue());
        MC.mc_string_free(manifest);
        future.completeAsync(() -> new String(text, UTF_8));
    }
}
