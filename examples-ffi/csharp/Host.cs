// The host in C#, for Mono: mono host.exe DIRECTORY

using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;

static class Host
{
    const string Library = "manifest_cache";
    const UnmanagedType Utf8 = UnmanagedType.LPUTF8Str;

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate void Loader([MarshalAs(Utf8)] string pluginId, IntPtr answer, IntPtr userData);

    // An owned string is an IntPtr. As a string the runtime would copy it and free it with free(),
    // which is a crash.
    [DllImport(Library)] static extern IntPtr mc_get(
        IntPtr cache, [MarshalAs(Utf8)] string pluginId, Loader loader, IntPtr userData,
        byte[] error);
    [DllImport(Library)] static extern IntPtr mc_new(ulong ttl);
    [DllImport(Library)] static extern UIntPtr mc_clear(
        IntPtr cache, [MarshalAs(Utf8)] string pluginId);
    [DllImport(Library)] static extern ulong mc_stat(IntPtr cache, int which);
    [DllImport(Library)] static extern void mc_free(IntPtr cache);
    [DllImport(Library)] static extern UIntPtr mc_string_len(IntPtr text);
    [DllImport(Library)] static extern void mc_string_free(IntPtr text);
    [DllImport(Library)] static extern int mc_load_directory(
        IntPtr answer, [MarshalAs(Utf8)] string root);
    [DllImport(Library)] static extern void mc_load_fail(
        IntPtr answer, int code, [MarshalAs(Utf8)] string message);

    static readonly Loader guarded = Guarded; // keeps it from being collected while C can call it
    static string root;
    static void Load(string pluginId, IntPtr answer)
    {
        if (pluginId == "cursed") throw new InvalidOperationException("the loader raised this");
        mc_load_directory(answer, root);
    }

    // Mono carries an exception past mc_get() without running its clean-up. Later calls for this
    // plugin would return MC_TIMEOUT or MC_LOAD_CYCLE.
    static void Guarded(string pluginId, IntPtr answer, IntPtr userData)
    {
        try { Load(pluginId, answer); }
        catch (Exception exception) { mc_load_fail(answer, 0, exception.Message); }
    }

    static void Show(IntPtr cache, string what, string pluginId, Loader loader)
    {
        // Four bytes each for status, code, line and column, then the message.
        var error = new byte[512];
        // A NUL in the id would end it.
        IntPtr manifest = mc_get(cache, pluginId, loader, IntPtr.Zero, error);
        if (manifest != IntPtr.Zero)
        {
            var text = new byte[(int)mc_string_len(manifest)];
            Marshal.Copy(manifest, text, 0, text.Length);
            mc_string_free(manifest);
            string json = Encoding.UTF8.GetString(text);
            Console.WriteLine($"{what} {pluginId}: {text.Length} bytes {json}");
            return;
        }
        int status = BitConverter.ToInt32(error, 0);
        string place = $"{BitConverter.ToInt32(error, 8)}:{BitConverter.ToInt32(error, 12)}";
        string message = Encoding.UTF8.GetString(error, 16, 496).Split('\0')[0];
        Console.WriteLine($"{what} {pluginId}: status {status} at {place} {message}");
    }

    static void Main(string[] args)
    {
        // Console uses the encoding of the locale, and Encoding.UTF8 writes a byte order mark.
        var utf8 = new UTF8Encoding(false);
        Console.SetOut(new StreamWriter(Console.OpenStandardOutput(), utf8) { AutoFlush = true });
        root = args[0];
        IntPtr cache = mc_new(300_000);
        var names = Directory.GetFileSystemEntries(root).Select(Path.GetFileName)
            .Where(name => name[0] != '.').OrderBy(name => name, StringComparer.Ordinal);
        foreach (string name in names) Show(cache, "load", name, guarded);
        Show(cache, "hit", "weather", guarded);
        mc_clear(cache, "weather");
        Show(cache, "miss", "weather", null);
        Show(cache, "not found", "absent", guarded);
        Show(cache, "raise", "cursed", guarded);
        Show(cache, "raise again", "cursed", guarded);
        var statistics = new[] {
            ("entries", 1), ("hits", 4), ("misses", 5), ("loads", 6), ("failures", 7),
            ("not found", 8),
        };
        foreach (var one in statistics)
            Console.WriteLine($"{one.Item1}: {mc_stat(cache, one.Item2)}");
        mc_free(cache);
    }
}
