// The host in C#, for Mono: mono host.exe DIRECTORY

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using static ManifestCache;

static class Host
{
    static readonly IntPtr cache = mc_new(TtlDefault);
    static readonly Dictionary<string, string> needs =
        new Dictionary<string, string> { ["chicken"] = "egg", ["egg"] = "chicken" };
    static string root;

    static async Task Load(string pluginId, IntPtr answer)
    {
        if (pluginId == "cursed") throw new InvalidOperationException("the loader raised this");
        if (needs.TryGetValue(pluginId, out string needed)) await Get(cache, needed, answer, Load);
        await Task.Run(() => mc_load_directory(answer, root));
    }

    static async Task<string> Outcome(string pluginId, Func<string, IntPtr, Task> loader)
    {
        try
        {
            string manifest = await Get(cache, pluginId, IntPtr.Zero, loader);
            return $"{pluginId}: {Encoding.UTF8.GetByteCount(manifest)} bytes {manifest}";
        }
        catch (Exception exception)
        {
            return $"{pluginId}: {exception.Message}";
        }
    }

    static async Task Show(string what, string pluginId)
    {
        Console.WriteLine($"{what} {await Outcome(pluginId, Load)}");
    }

    static async Task Share(string pluginId)
    {
        var waiting = new TaskCompletionSource<bool>();
        var loader = Outcome(pluginId, async (id, answer) =>
        {
            await waiting.Task;
            await Load(id, answer);
        });
        var waiter = Outcome(pluginId, Load);
        waiting.SetResult(true);
        Console.WriteLine($"waiter {await waiter}\nloader {await loader}");
    }

    static void Main(string[] args)
    {
        root = args[0];
        Run().GetAwaiter().GetResult(); // the compiler of Mono knows no asynchronous Main
    }

    static async Task Run()
    {
        // Console uses the encoding of the locale, and Encoding.UTF8 writes a byte order mark.
        var utf8 = new UTF8Encoding(false);
        Console.SetOut(new StreamWriter(Console.OpenStandardOutput(), utf8) { AutoFlush = true });
        mc_set_option(cache, OptFailureTtlMs, TtlForever);
        var names = Directory.GetFileSystemEntries(root).Select(Path.GetFileName)
            .Where(name => name[0] != '.').OrderBy(name => name, StringComparer.Ordinal);
        foreach (string name in names) await Show("load", name);
        await Show("hit", "weather");
        mc_clear(cache, "weather");
        await Show("miss", "weather");
        await Show("not found", "absent");
        mc_clear(cache, "notes");
        await Share("notes");
        await Share("cursed");
        await Show("cycle", "chicken");
        var statistics = new[] {
            ("entries", 1), ("misses", 5), ("loads", 6), ("failures", 7), ("not found", 8),
        };
        foreach (var one in statistics)
            Console.WriteLine($"{one.Item1}: {mc_stat(cache, one.Item2)}");
        mc_free(cache);
    }
}
