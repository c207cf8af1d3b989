using System;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading.Tasks;

// A cache whose loads are tasks.
static class ManifestCache
{
    public const int OptFailureTtlMs = 11;
    public const ulong TtlDefault = 300_000, TtlForever = ulong.MaxValue;
    const int Begun = 9, Pending = 10;
    const string Library = "manifest_cache";
    const UnmanagedType Utf8 = UnmanagedType.LPUTF8Str;

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate void Done(IntPtr manifest, IntPtr error, IntPtr waiter);

    // An owned string is an IntPtr. As a string the runtime would copy it and free it with free(),
    // which is a crash.
    [DllImport(Library)] static extern int mc_begin_async(
        IntPtr cache, [MarshalAs(Utf8)] string pluginId, IntPtr within, Done done, IntPtr waiter,
        out IntPtr load, out IntPtr manifest, byte[] error);
    [DllImport(Library)] static extern IntPtr mc_end(ref IntPtr load, byte[] error);
    [DllImport(Library)] public static extern IntPtr mc_new(ulong ttl);
    [DllImport(Library)] public static extern int mc_set_option(
        IntPtr cache, int option, ulong value);
    [DllImport(Library)] public static extern UIntPtr mc_clear(
        IntPtr cache, [MarshalAs(Utf8)] string pluginId);
    [DllImport(Library)] public static extern ulong mc_stat(IntPtr cache, int which);
    [DllImport(Library)] public static extern void mc_free(IntPtr cache);
    [DllImport(Library)] static extern UIntPtr mc_string_len(IntPtr text);
    [DllImport(Library)] static extern void mc_string_free(IntPtr text);
    [DllImport(Library)] public static extern int mc_load_directory(
        IntPtr answer, [MarshalAs(Utf8)] string root);
    [DllImport(Library)] static extern void mc_load_fail(
        IntPtr answer, int code, [MarshalAs(Utf8)] string message);

    static readonly Done done = Told; // keeps it from being collected while C can call it

    // What the loader throws reaches this caller. For all others the load has failed.
    public static async Task<string> Get(
        IntPtr cache, string pluginId, IntPtr within, Func<string, IntPtr, Task> loader)
    {
        // Continuations must not run within mc_end().
        var told = new TaskCompletionSource<(IntPtr, byte[])>(
            TaskCreationOptions.RunContinuationsAsynchronously);
        var waiter = GCHandle.Alloc(told);
        var error = new byte[512];
        // A NUL in the id would end it.
        int status = mc_begin_async(cache, pluginId, within, done, GCHandle.ToIntPtr(waiter),
            out IntPtr load, out IntPtr manifest, error);
        if (status == Pending)
            (manifest, error) = await told.Task;
        waiter.Free();
        if (status == Begun)
        {
            try { await loader(pluginId, load); }
            catch (Exception exception)
            {
                mc_load_fail(load, 0, exception.Message);
                mc_string_free(mc_end(ref load, null));
                throw;
            }
            manifest = mc_end(ref load, error);
        }
        return Take(manifest, error);
    }

    static void Told(IntPtr manifest, IntPtr error, IntPtr waiter)
    {
        var copy = new byte[512];
        Marshal.Copy(error, copy, 0, copy.Length);
        var told = GCHandle.FromIntPtr(waiter).Target as TaskCompletionSource<(IntPtr, byte[])>;
        told.SetResult((manifest, copy));
    }

    static string Take(IntPtr manifest, byte[] error)
    {
        if (manifest == IntPtr.Zero)
        {
            // Four bytes each for status, code, line and column, then the message.
            string place = $"{BitConverter.ToInt32(error, 8)}:{BitConverter.ToInt32(error, 12)}";
            string message = Encoding.UTF8.GetString(error, 16, 496).Split('\0')[0];
            throw new Exception($"status {BitConverter.ToInt32(error, 0)} at {place} {message}");
        }
        var text = new byte[(int)mc_string_len(manifest)];
        Marshal.Copy(manifest, text, 0, text.Length);
        mc_string_free(manifest);
        return Encoding.UTF8.GetString(text);
    }
}
