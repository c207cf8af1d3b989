// The host in Java, with JNA: java -cp .:jna.jar Host DIRECTORY

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.jna.*;
import java.io.PrintStream;
import java.nio.file.*;
import java.util.Map;

public final class Host {
    interface Loader extends Callback {
        void load(String pluginId, Pointer answer, Pointer userData);
    }

    // An owned string is a Pointer. JNA would copy a String and lose the pointer, which could then
    // not be freed.
    interface ManifestCache extends Library {
        Pointer mc_new(long ttlMs);
        Pointer mc_get(
                Pointer cache, String pluginId, Loader loader, Pointer userData, Pointer error);
        NativeLong mc_clear(Pointer cache, String pluginId);
        long mc_stat(Pointer cache, int which);
        void mc_free(Pointer cache);
        NativeLong mc_string_len(Pointer string);
        void mc_string_free(Pointer string);
        int mc_load_directory(Pointer answer, String root);
        void mc_load_fail(Pointer answer, int code, String message);
    }

    // The default of JNA is the encoding of the locale.
    static final ManifestCache MC = Native.load("manifest_cache", ManifestCache.class,
            Map.of(Library.OPTION_STRING_ENCODING, "UTF-8"));
    static final PrintStream OUT = new PrintStream(System.out, true, UTF_8);
    static final Map<Integer, String> STATISTICS = new java.util.TreeMap<>(Map.of(
            1, "entries", 4, "hits", 5, "misses", 6, "loads", 7, "failures", 8, "not found"));
    static String root;

    static void load(String pluginId, Pointer answer) {
        if (pluginId.equals("cursed")) throw new IllegalStateException("the loader raised this");
        MC.mc_load_directory(answer, root);
    }

    // JNA logs an exception that leaves a callback, and the load would fail without an answer.
    // The field is static because JNA does not keep a callback from being collected.
    static final Loader GUARDED = (pluginId, answer, userData) -> {
        try {
            load(pluginId, answer);
        } catch (Throwable e) {
            MC.mc_load_fail(answer, 0, e.getMessage());
        }
    };

    static void show(Pointer cache, String what, String pluginId, Loader loader) {
        // Four bytes each for status, code, line and column, then the message.
        var error = new Memory(512);
        // A NUL in the id would end it.
        Pointer manifest = MC.mc_get(cache, pluginId, loader, null, error);
        if (manifest != null) {
            byte[] text = manifest.getByteArray(0, MC.mc_string_len(manifest).intValue());
            MC.mc_string_free(manifest);
            String json = new String(text, UTF_8);
            OUT.printf("%s %s: %d bytes %s\n", what, pluginId, text.length, json);
        } else {
            OUT.printf("%s %s: status %d at %d:%d %s\n", what, pluginId, error.getInt(0),
                    error.getInt(8), error.getInt(12), error.getString(16, "UTF-8"));
        }
    }

    public static void main(String[] args) throws java.io.IOException {
        root = args[0];
        Pointer cache = MC.mc_new(300_000);
        try (var plugins = Files.list(Path.of(root))) {
            plugins.map(path -> path.getFileName().toString())
                    .filter(name -> !name.startsWith("."))
                    .sorted()
                    .forEach(name -> show(cache, "load", name, GUARDED));
        }
        show(cache, "hit", "weather", GUARDED);
        MC.mc_clear(cache, "weather");
        show(cache, "miss", "weather", null);
        show(cache, "not found", "absent", GUARDED);
        show(cache, "raise", "cursed", GUARDED);
        show(cache, "raise again", "cursed", GUARDED);
        STATISTICS.forEach((which, name) -> OUT.printf("%s: %d\n", name, MC.mc_stat(cache, which)));
        MC.mc_free(cache);
    }
}
