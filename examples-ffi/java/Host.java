// The host in Java, with JNA: java -cp .:jna.jar Host DIRECTORY

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.jna.Pointer;
import java.io.PrintStream;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public final class Host {
    static final PrintStream OUT = new PrintStream(System.out, true, UTF_8);
    static final ManifestCache.Functions MC = ManifestCache.MC;
    static final Map<String, String> NEEDS = Map.of("chicken", "egg", "egg", "chicken");
    static final Map<Integer, String> STATISTICS = new TreeMap<>(Map.of(
            1, "entries", 5, "misses", 6, "loads", 7, "failures", 8, "not found"));
    static final ManifestCache CACHE = new ManifestCache();
    static String root;

    static CompletableFuture<?> load(String pluginId, Pointer answer) {
        if (pluginId.equals("cursed")) throw new IllegalStateException("the loader raised this");
        var needed = NEEDS.containsKey(pluginId)
                ? CACHE.get(NEEDS.get(pluginId), answer, Host::load)
                : CompletableFuture.completedFuture("");
        return needed.thenRunAsync(() -> MC.mc_load_directory(answer, root));
    }

    static void show(String what, String pluginId, CompletableFuture<String> future) {
        String text;
        try {
            String manifest = future.join();
            text = manifest.getBytes(UTF_8).length + " bytes " + manifest;
        } catch (CompletionException e) {
            text = e.getCause().getMessage();
        }
        OUT.printf("%s %s: %s\n", what, pluginId, text);
    }

    static void show(String what, String pluginId) {
        show(what, pluginId, CACHE.get(pluginId, null, Host::load));
    }

    static void share(String pluginId) {
        var waiting = new CompletableFuture<Void>();
        var loader = CACHE.get(pluginId, null,
                (id, answer) -> waiting.thenCompose(nothing -> load(id, answer)));
        var waiter = CACHE.get(pluginId, null, Host::load);
        waiting.complete(null);
        show("waiter", pluginId, waiter);
        show("loader", pluginId, loader);
    }

    public static void main(String[] args) throws java.io.IOException {
        root = args[0];
        MC.mc_set_option(CACHE.cache, ManifestCache.OPT_FAILURE_TTL_MS, ManifestCache.TTL_FOREVER);
        try (var plugins = Files.list(Path.of(root))) {
            plugins.map(path -> path.getFileName().toString())
                    .filter(name -> !name.startsWith("."))
                    .sorted()
                    .forEach(name -> show("load", name));
        }
        show("hit", "weather");
        MC.mc_clear(CACHE.cache, "weather");
        show("miss", "weather");
        show("not found", "absent");
        MC.mc_clear(CACHE.cache, "notes");
        share("notes");
        share("cursed");
        show("cycle", "chicken");
        STATISTICS.forEach((which, name) ->
                OUT.printf("%s: %d\n", name, MC.mc_stat(CACHE.cache, which)));
        MC.mc_free(CACHE.cache);
    }
}
