/**
 * @file
 * The cache for C++17: what manifest_cache.h declares, in classes that give back what they own.
 *
 *     manifest_cache::Cache cache;
 *     manifest_cache::Manifest manifest =
 *         cache.get("weather", [](std::string_view, manifest_cache::Load &load) {
 *             load.directory("/usr/lib/plugins");
 *         });
 *     std::cout << manifest.view() << '\n';
 *
 * A program that must not be called back, or whose thread must not wait, begins a load, answers it
 * when it can, and ends it; Cache::begin_async() never waits:
 *
 *     manifest_cache::Begun begun = cache.begin("weather");
 *     if (begun.load) {
 *         begun.load.directory("/usr/lib/plugins");
 *         begun.manifest = begun.load.end();
 *     }
 *
 * A program that uses manifests decoded lets the cache keep what it decoded, for each manifest
 * once:
 *
 *     const manifest_cache::Decoded<Plugin> plugin = cache.get<Plugin>("weather", load, decode);
 *     std::cout << plugin->name << '\n';
 *
 * The classes are a header alone over the C library, so a program links nothing more than that.
 * They allocate nothing on a hit, unless the id is a std::string_view of 128 bytes or more, or the
 * callable of Cache::begin_async() is larger than a pointer.
 * manifest_cache.h is the reference of what each function does; this header says what C++ adds.
 *
 * Errors: a function that fails throws manifest_cache::Error. Those of Cache::get(), begin(),
 * begin_async(), put() and set(), and BegunLoad::end(), each have a second form with an mc_error at
 * the end, which fills that instead.
 *
 * Exceptions of a loader: Cache::get() catches what its loader throws, ends the load with
 * Load::fail() and the exception's what(), and throws the same exception again once the C library
 * has returned. So no exception passes through the C library, and any C++ runtime and unwinder
 * will do.
 *
 * Without exceptions (-fno-exceptions): Error and the functions that throw it do not exist. Use
 * the forms with an mc_error; the few functions that have none say what they do instead. A program
 * may have both kinds of files in it, but must not pass a Cache from one kind to the other. RTTI is
 * not needed.
 *
 * Threads: any thread may use a Cache at any time. Moving, assigning and destroying one is for
 * one thread, with no other call in progress.
 */

#ifndef MANIFEST_CACHE_HPP
#define MANIFEST_CACHE_HPP

#include "manifest_cache.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/** What manifest_cache.hpp declares. */
namespace manifest_cache {

#ifndef __cpp_exceptions
// Other names for the linker, which takes functions of one name for the same function.
inline namespace without_exceptions {
#endif

/** A time to live that never ends. */
inline constexpr std::chrono::milliseconds ttl_forever = std::chrono::milliseconds::max();

#ifdef __cpp_exceptions
/** Says why a call failed: a status for the program, and what() for a person. */
class Error : public std::runtime_error {
public:
    /** Takes over what a C function filled in. */
    explicit Error(const mc_error &error)
        : std::runtime_error(error.message), status_(error.status), code_(error.code),
          line_(error.line), column_(error.column) {}

    /** For what is no more than a status. */
    Error(mc_status status, const char *message) : std::runtime_error(message), status_(status) {}

    /** MC_NOT_FOUND, MC_INVALID_ARGUMENT, MC_INVALID_MANIFEST and so on. */
    mc_status status() const noexcept { return status_; }

    /** errno, or the code given to Load::fail(); 0 if there is none. */
    std::int32_t code() const noexcept { return code_; }

    /** Line of the manifest, from 1; 0 if the error has no place in it. */
    std::uint32_t line() const noexcept { return line_; }

    /** Column in that line in bytes, from 1; 0 if the error has no place in the manifest. */
    std::uint32_t column() const noexcept { return column_; }

private:
    mc_status status_;
    std::int32_t code_ = 0;
    std::uint32_t line_ = 0;
    std::uint32_t column_ = 0;
};
#endif

/**
 * A parameter that takes any kind of text and passes it to C, where a text ends with a NUL.
 *
 * It can be made of a const char *, a std::string, a std::string_view, or of anything that has a
 * c_str(), such as std::filesystem::path on POSIX. It borrows that text, so use it for parameters
 * only. Only a std::string_view is copied; one shorter than 128 bytes needs no allocation.
 *
 * C reads a text up to its first NUL, which could make it the id of another plugin. So a NUL inside
 * a std::string or std::string_view throws Error with MC_INVALID_ARGUMENT. Without exceptions the
 * text becomes NULL, which every function refuses.
 */
class CString {
public:
    /** Of a C string. */
    CString(const char *text) noexcept : text_(text) {}

    /** Of a string. */
    CString(const std::string &text) : text_(has_nul(text) ? nullptr : text.c_str()) {}

    /** Of a part of a string, which has no NUL at its end. */
    CString(std::string_view text) {
        if (has_nul(text))
            return;
        if (text.size() >= sizeof short_) {
            long_ = text;
            text_ = long_.c_str();
            return;
        }
        text.copy(short_, text.size());
        short_[text.size()] = '\0';
        text_ = short_;
    }

    /** Of what has a c_str(), which is taken as it is. */
    template <class Path, class = std::enable_if_t<std::is_same_v<
                              decltype(std::declval<const Path &>().c_str()), const char *>>>
    CString(const Path &path) noexcept : text_(path.c_str()) {}

    /** NULL is no string. */
    CString(std::nullptr_t) = delete;

    CString(const CString &) = delete;
    CString &operator=(const CString &) = delete;

    /** The C string. */
    const char *c_str() const noexcept { return text_; }

private:
    static bool has_nul(std::string_view text) {
        const bool has_nul = text.find('\0') != std::string_view::npos;
#ifdef __cpp_exceptions
        if (has_nul)
            throw Error(MC_INVALID_ARGUMENT, "an id, path or message has a NUL character in it");
#endif
        return has_nul;
    }

    const char *text_ = nullptr;
    char short_[128];
    std::string long_{};
};

/** A time as C functions take it. A negative time becomes 0, ttl_forever MC_TTL_FOREVER. */
inline std::uint64_t to_milliseconds(std::chrono::milliseconds time) noexcept {
    if (time == ttl_forever)
        return MC_TTL_FOREVER;
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

/** The bytes of a text for C, where NULL is no text, not even an empty one. */
inline const char *to_bytes(std::string_view text) noexcept {
    return text.data() == nullptr ? "" : text.data();
}

/**
 * Its address stands for the type T of a value: see mc_string_value(). Two types of one name in one
 * program are the same type, as everywhere in C++.
 */
template <class T> inline char type_of_value = 0;

/** For C: destroys a value of type T that was made by new. */
template <class T> void destroy_value(void *value) noexcept {
    delete static_cast<T *>(value);
}

/**
 * Owns the text of a manifest and frees it when it is destroyed. It may outlive its Cache. It can
 * also hold nothing, as it does after it was moved from.
 */
class Manifest {
public:
    /** Nothing. */
    Manifest() noexcept = default;

    /** Takes over a string that mc_get() returned; of NULL it makes nothing. */
    static Manifest adopt(const char *owned) noexcept {
        Manifest manifest;
        manifest.text_.reset(owned);
        return manifest;
    }

    /** Whether there is a manifest. */
    explicit operator bool() const noexcept { return text_ != nullptr; }

    /** The text, valid as long as this owns it; it never changes. Its data() ends with a NUL. */
    std::string_view view() const noexcept {
        return text_ == nullptr ? std::string_view() : std::string_view(text_.get(), size());
    }

    /** The text, as by view(). */
    operator std::string_view() const & noexcept { return view(); }

    /** A temporary Manifest gives its text back at once, so keep it in a variable first. */
    operator std::string_view() const && = delete;

    /** The text for C; NULL if there is nothing. */
    const char *c_str() const noexcept { return text_.get(); }

    /** Length in bytes, without counting them. */
    std::size_t size() const noexcept { return mc_string_len(text_.get()); }

    /** See mc_string_revision(). */
    std::uint64_t revision() const noexcept { return mc_string_revision(text_.get()); }

    /**
     * The value of type T that is attached, such as by Cache::get<T>(); NULL if there is none.
     * Valid as long as this owns the manifest.
     */
    template <class T> const T *value() const noexcept {
        return static_cast<const T *>(mc_string_value(text_.get(), &type_of_value<T>));
    }

    /** Leaves it to the caller to give the string back with mc_string_free(). */
    const char *release() noexcept { return text_.release(); }

private:
    struct GiveBack {
        void operator()(const char *text) const noexcept { mc_string_free(text); }
    };
    std::unique_ptr<const char, GiveBack> text_{};
};

/**
 * A manifest, and the value of type T that was decoded from it: what Cache::get<T>() returns. It is
 * used as a const T & or, by * and ->, as a pointer. Threads share the value, so it must be of a
 * type that several threads can read at the same time.
 *
 * The value is destroyed after the last Decoded and Manifest of this manifest was destroyed and the
 * cache has dropped it, on whatever thread that happens; mc_string_attach() says more. It can also
 * hold nothing, as it does after it was moved from.
 */
template <class T> class Decoded {
public:
    /** Nothing. */
    Decoded() noexcept = default;

    /** Takes over a manifest that has a value of this type; of another one it makes nothing. */
    explicit Decoded(Manifest manifest, bool is_stale = false) noexcept
        : is_stale_(is_stale), value_(manifest.value<T>()) {
        if (value_ != nullptr)
            manifest_ = std::move(manifest);
    }

    /** Takes over what another holds, which then holds nothing. */
    Decoded(Decoded &&other) noexcept
        : manifest_(std::move(other.manifest_)), is_stale_(std::exchange(other.is_stale_, false)),
          value_(std::exchange(other.value_, nullptr)) {}

    /** The same. */
    Decoded &operator=(Decoded &&other) noexcept {
        Decoded taken(std::move(other));
        std::swap(manifest_, taken.manifest_);
        std::swap(is_stale_, taken.is_stale_);
        std::swap(value_, taken.value_);
        return *this;
    }

    Decoded(const Decoded &) = delete;
    Decoded &operator=(const Decoded &) = delete;
    ~Decoded() = default;

    /** Whether there is a value. */
    explicit operator bool() const noexcept { return value_ != nullptr; }

    /** The value, valid as long as this owns it. */
    const T &operator*() const & noexcept { return *value_; }

    /** The same. */
    operator const T &() const & noexcept { return *value_; }

    /** A temporary may let go of its value at once, so keep it in a variable first. */
    const T &operator*() const && = delete;
    /** The same. */
    operator const T &() const && = delete;

    /** A member of the value. */
    const T *operator->() const noexcept { return value_; }

    /** The manifest that the value was decoded from. */
    const Manifest &manifest() const & noexcept { return manifest_; }
    /** A temporary gives its manifest back at once, so keep it in a variable first. */
    const Manifest &manifest() const && = delete;

    /** Its text, as by Manifest::view(). */
    std::string_view text() const & noexcept { return manifest_.view(); }
    /** The same. */
    std::string_view text() const && = delete;

    /** Its revision: see mc_string_revision(). */
    std::uint64_t revision() const noexcept { return manifest_.revision(); }

    /** Whether it is an expired manifest, because its reload failed: see MC_STALE. */
    bool is_stale() const noexcept { return is_stale_; }

private:
    Manifest manifest_{};
    bool is_stale_ = false;
    const T *value_ = nullptr;
};

/**
 * A load to answer, such as by json() or directory(). The last answer counts. What a loader is
 * given may be used only until the loader returns; what Cache::begin() returns is a BegunLoad.
 */
class Load {
public:
    /** Of the load that a C loader was given, or that mc_begin() began. This does not own it. */
    explicit Load(mc_load *load) noexcept : load_(load) {}

    /** See mc_load_json(). */
    mc_status json(std::string_view text) noexcept {
        return mc_load_json(load_, to_bytes(text), text.size());
    }

    /** See mc_load_file(). */
    mc_status file(const CString &path) noexcept { return mc_load_file(load_, path.c_str()); }

    /** See mc_load_directory(). */
    mc_status directory(const CString &root) noexcept {
        return mc_load_directory(load_, root.c_str());
    }

    /** See mc_load_directory_file(). */
    mc_status directory(const CString &root, const CString &name) noexcept {
        return mc_load_directory_file(load_, root.c_str(), name.c_str());
    }

    /** See mc_load_not_found(). */
    void not_found() noexcept { mc_load_not_found(load_); }

    /** See mc_load_fail(). */
    void fail(std::int32_t code, const CString &message) noexcept {
        mc_load_fail(load_, code, message.c_str());
    }

    /** See mc_load_ttl(). */
    void ttl(std::chrono::milliseconds ttl) noexcept { mc_load_ttl(load_, to_milliseconds(ttl)); }

    /** See mc_load_cached(). If there is no such manifest, data() is NULL. */
    std::string_view cached() const noexcept {
        const char *text = mc_load_cached(load_);
        return text == nullptr ? std::string_view() : std::string_view(text, mc_string_len(text));
    }

    /** See mc_load_unchanged(). */
    mc_status unchanged() noexcept { return mc_load_unchanged(load_); }

    /**
     * The manifest that this load is answered with so far, until the next answer: see
     * mc_load_text(). If there is none, data() is NULL. A loader can check what directory() read,
     * and refuse it with fail().
     */
    std::string_view text() const noexcept {
        const char *text = mc_load_text(load_);
        return text == nullptr ? std::string_view() : std::string_view(text, mc_string_len(text));
    }

    /**
     * Attaches a value to the manifest that this load is answered with: see mc_load_value(). For
     * loads that Cache::begin() began; Cache::get<T>() does it by itself.
     */
    template <class Value> mc_status value(Value &&value) {
        using T = std::decay_t<Value>;
        return mc_load_value(load_, &type_of_value<T>, new T(std::forward<Value>(value)),
                             destroy_value<T>);
    }

    /** Whether that manifest has a value of this type already, as one that is unchanged can. */
    template <class T> bool has_value() const noexcept {
        return mc_string_value(mc_load_text(load_), &type_of_value<T>) != nullptr;
    }

    /** For C functions. */
    mc_load *handle() const noexcept { return load_; }

protected:
    /** The load, or NULL. */
    mc_load *load_;
};

/**
 * Owns a load that Cache::begin() or Cache::begin_async() began: answer it, then call end(). Both
 * may be done on any thread, by one thread at a time.
 *
 * If it is destroyed or assigned to before its end, the load fails with MC_LOAD_FAILED, whatever
 * it was answered with, and who waits for it is told so.
 *
 * It can also hold nothing, as it does after end() and after it was moved from. Its functions then
 * do nothing, and those that can report an error report MC_INVALID_ARGUMENT.
 */
class BegunLoad final : public Load {
public:
    /** Nothing. */
    BegunLoad() noexcept : Load(nullptr) {}

    /** Takes over a load that mc_begin() or mc_begin_async() began; of NULL it makes nothing. */
    static BegunLoad adopt(mc_load *owned) noexcept {
        BegunLoad load;
        load.load_ = owned;
        return load;
    }

    /** Takes over the load of another, which then holds nothing. */
    BegunLoad(BegunLoad &&other) noexcept : Load(other.release()) {}

    /** The same. The load held before fails. */
    BegunLoad &operator=(BegunLoad &&other) noexcept {
        BegunLoad taken(std::move(other));
        std::swap(load_, taken.load_);
        return *this;
    }

    BegunLoad(const BegunLoad &) = delete;
    BegunLoad &operator=(const BegunLoad &) = delete;

    /** Fails the load if it has not ended. */
    ~BegunLoad() {
        if (load_ != nullptr) {
            mc_load_fail(load_, 0, "its load was dropped before it ended; answer it and end it");
            mc_string_free(mc_end(&load_, nullptr));
        }
    }

    /** Whether there is a load. */
    explicit operator bool() const noexcept { return load_ != nullptr; }

#ifdef __cpp_exceptions
    /** Ends the load, and returns its manifest: see mc_end(). Throws Error if there is none. */
    Manifest end() {
        mc_error error;
        Manifest manifest = end(error);
        if (!manifest)
            throw Error(error);
        return manifest;
    }
#endif

    /** The same, but fills error and returns nothing where the other throws Error. */
    Manifest end(mc_error &error) noexcept { return Manifest::adopt(mc_end(&load_, &error)); }

    /** Leaves it to the caller to end the load with mc_end(). */
    mc_load *release() noexcept { return std::exchange(load_, nullptr); }
};

/**
 * Says which load waits for a call, so that the cache finds loads that would wait for each other in
 * a cycle: see mc_begin(). A parameter of this type takes a Load, or {} for none.
 */
class Within {
public:
    /** No load waits for the call. */
    Within() noexcept = default;

    /** This load, of any cache, waits for the call. A BegunLoad that holds nothing means none. */
    Within(const Load &load) noexcept : load_(load.handle()) {}

    /** The innermost load of this thread: see MC_THREAD. */
    static Within thread() noexcept {
        Within within;
        // MC_THREAD, without its old-style cast, of which compilers can warn.
        within.load_ = reinterpret_cast<mc_load *>(std::uintptr_t{1});
        return within;
    }

    /** For C functions. */
    mc_load *handle() const noexcept { return load_; }

private:
    mc_load *load_ = nullptr;
};

/** What Cache::begin() and Cache::begin_async() return: a manifest, a load, or neither. */
struct Begun {
    /** MC_OK or MC_STALE, MC_BEGUN, MC_PENDING, or an error; see mc_begin(). */
    mc_status status = MC_INTERNAL;

    /** The manifest, with MC_OK and MC_STALE. */
    Manifest manifest{};

    /** The load that the caller is to answer and to end, with MC_BEGUN. */
    BegunLoad load{};
};

/**
 * Keeps the manifests of plugins in memory, each for its time to live.
 *
 * A loader is anything that can be called with the id of a plugin and a Load &: a function, a
 * lambda, a std::function. It takes the id as a std::string_view, or as anything that a
 * const char * can become, such as a std::string. What it returns does not matter. Cache::get()
 * calls it on its own thread before it returns, or does not call it at all.
 *
 * A Cache that was moved from can only be assigned to or destroyed.
 */
class Cache {
public:
    /**
     * Makes a new, empty cache: see mc_new(). Throws Error after a bug in the library; without
     * exceptions handle() is NULL then, and every function refuses it.
     */
    explicit Cache(std::chrono::milliseconds ttl = std::chrono::milliseconds(MC_TTL_DEFAULT))
        : cache_(mc_new(to_milliseconds(ttl))) {
#ifdef __cpp_exceptions
        if (cache_ == nullptr)
            throw Error(MC_INTERNAL, "mc_new: a bug in manifest_cache");
#endif
    }

#ifdef __cpp_exceptions
    /** The manifest of a plugin, loaded if need be: see mc_get(). Throws Error if there is none. */
    template <class Loader> Manifest get(const CString &plugin_id, Loader &&loader) {
        mc_error error;
        Manifest manifest = get(plugin_id, std::forward<Loader>(loader), error);
        if (!manifest)
            throw Error(error);
        return manifest;
    }
#endif

    /**
     * The same, but fills error and returns nothing where the other throws Error. It also tells
     * MC_STALE from MC_OK.
     *
     * If the loader throws, both forms throw that exception again, also when an option would allow
     * an expired manifest instead; error then says how the load ended. For callers that waited the
     * load has failed with the exception's what(): they get MC_LOAD_FAILED, or MC_STALE with the
     * expired manifest.
     */
    template <class Loader>
    Manifest get(const CString &plugin_id, Loader &&loader, mc_error &error) {
        LoaderCall<std::remove_reference_t<Loader>> call{loader};
        Manifest manifest =
            Manifest::adopt(mc_get(cache_.get(), plugin_id.c_str(), call.run, &call, &error));
#ifdef __cpp_exceptions
        if (call.thrown)
            std::rethrow_exception(call.thrown);
#endif
        return manifest;
    }

#ifdef __cpp_exceptions
    /**
     * A plugin's manifest, loaded and decoded if need be, as a T:
     *
     *     auto plugin = cache.get<Plugin>("weather", load, [](std::string_view text) {
     *         return Plugin(text);
     *     });
     *
     * decode is anything that can be called with a std::string_view and returns a T, or what a T
     * can be made of. It is called once for each manifest that is brought, within the load, so that
     * callers which wait for the load share the value. A hit returns the same value again: it does
     * not call decode and allocates nothing. If a manifest has no value, because it came from put()
     * or from another form of get(), the first who asks decodes it. A manifest that a load finds
     * unchanged keeps its value.
     *
     * What decode throws within a load fails that load, and reaches the caller as what the loader
     * throws does. So decode may check the manifest by the host's own rules: what it refuses is not
     * stored, and with MC_OPT_STALE_IF_ERROR_MS the last good manifest stays, with its value.
     *
     * Throws Error where get() does, and with MC_INVALID_ARGUMENT if the manifest has a value of
     * another type: a manifest has one value.
     */
    template <class T, class Loader, class Decode>
    Decoded<T> get(const CString &plugin_id, Loader &&loader, Decode &&decode) {
        mc_error error;
        Decoded<T> decoded =
            get<T>(plugin_id, std::forward<Loader>(loader), std::forward<Decode>(decode), error);
        if (!decoded)
            throw Error(error);
        return decoded;
    }
#endif

    /**
     * The same, but fills error and returns nothing where the other throws Error; see get().
     * Without exceptions, decode can refuse nothing: let the loader check Load::text(), and call
     * Load::fail().
     */
    template <class T, class Loader, class Decode>
    Decoded<T> get(const CString &plugin_id, Loader &&loader, Decode &&decode, mc_error &error) {
        static_assert(std::is_object_v<T> && std::is_same_v<T, std::decay_t<T>>,
                      "a value is kept by itself, neither const nor a reference");
        const auto load = [&loader, &decode](const char *id, Load &answer) {
            call_loader(loader, id, answer);
            if (const std::string_view text = answer.text(); text.data() && !answer.has_value<T>())
                mc_load_value(answer.handle(), &type_of_value<T>, new T(std::invoke(decode, text)),
                              destroy_value<T>);
        };
        Manifest manifest = get(plugin_id, load, error);
        if (!manifest)
            return Decoded<T>();
        if (manifest.value<T>() == nullptr) {
            void *const value = new T(std::invoke(decode, manifest.view()));
            if (mc_string_attach(manifest.c_str(), &type_of_value<T>, value, destroy_value<T>) ==
                nullptr) {
                error = mc_error{};
                std::snprintf(error.message, sizeof error.message,
                              "plugin \"%.300s\": a value of another type is attached to the "
                              "manifest; decode it to one type",
                              plugin_id.c_str());
                error.status = MC_INVALID_ARGUMENT;
                return Decoded<T>();
            }
        }
        return Decoded<T>(std::move(manifest), error.status == MC_STALE);
    }

#ifdef __cpp_exceptions
    /**
     * Gets a manifest without a loader, or begins a load: see mc_begin(). Throws Error where that
     * returns an error.
     */
    Begun begin(const CString &plugin_id, Within within = Within()) {
        mc_error error;
        return checked(begin(plugin_id, within, error), error);
    }
#endif

    /** The same, but fills error and returns its status instead of throwing Error. */
    Begun begin(const CString &plugin_id, Within within, mc_error &error) {
        mc_load *load;
        const char *manifest;
        const mc_status status =
            mc_begin(cache_.get(), plugin_id.c_str(), within.handle(), &load, &manifest, &error);
        return Begun{status, Manifest::adopt(manifest), BegunLoad::adopt(load)};
    }

#ifdef __cpp_exceptions
    /**
     * The same, but never waits: see mc_begin_async(). If the status is MC_PENDING, done is called
     * later, exactly once, and possibly before this returns, on another thread.
     *
     * done is anything that can be called with a Manifest and a const mc_error &, such as a lambda.
     * It is copied or moved, and may be move-only. The copy is destroyed after it was called; if
     * the status is not MC_PENDING, before this returns. One that is trivially copyable and no
     * larger than a pointer needs no allocation. It must not throw: an exception that leaves it
     * ends the program by std::terminate(). In a forked child a copy that waits is never destroyed.
     */
    template <class Done>
    Begun begin_async(const CString &plugin_id, Done &&done, Within within = Within()) {
        mc_error error;
        return checked(begin_async(plugin_id, std::forward<Done>(done), within, error), error);
    }
#endif

    /** The same, but fills error and returns its status instead of throwing Error. */
    template <class Done>
    Begun begin_async(const CString &plugin_id, Done &&done, Within within, mc_error &error) {
        using Call = DoneCall<std::decay_t<Done>>;
        mc_load *load;
        const char *manifest;
        Call call(std::forward<Done>(done));
        const mc_status status =
            mc_begin_async(cache_.get(), plugin_id.c_str(), within.handle(), Call::run,
                           call.user_data(), &load, &manifest, &error);
        if (status == MC_PENDING)
            call.release(); // run() may have destroyed it already
        return Begun{status, Manifest::adopt(manifest), BegunLoad::adopt(load)};
    }

    /** The manifest of a plugin if a fresh one is there, else nothing. Neither loads nor waits. */
    Manifest look(const CString &plugin_id) {
        return Manifest::adopt(mc_get(cache_.get(), plugin_id.c_str(), nullptr, nullptr, nullptr));
    }

#ifdef __cpp_exceptions
    /** Stores a manifest: see mc_put(). Throws Error if it is refused. */
    void put(const CString &plugin_id, std::string_view json) {
        mc_error error;
        if (put(plugin_id, json, error) != MC_OK)
            throw Error(error);
    }
#endif

    /** The same, but fills error and returns its status instead of throwing Error. */
    mc_status put(const CString &plugin_id, std::string_view json, mc_error &error) {
        return mc_put(cache_.get(), plugin_id.c_str(), to_bytes(json), json.size(), &error);
    }

    /** Forgets the manifest of a plugin, and says whether there was one: see mc_clear(). */
    bool clear(const CString &plugin_id) {
        return plugin_id.c_str() != nullptr && mc_clear(cache_.get(), plugin_id.c_str()) != 0;
    }

    /** Forgets all manifests, and says how many there were: see mc_clear(). */
    std::size_t clear() noexcept { return mc_clear(cache_.get(), nullptr); }

    /** Behaves as if so much time had passed: see mc_advance(). */
    void advance(std::chrono::milliseconds time) noexcept {
        mc_advance(cache_.get(), to_milliseconds(time));
    }

    /** See mc_purge(). */
    std::size_t purge() noexcept { return mc_purge(cache_.get()); }

    /** See mc_revision(). */
    std::uint64_t revision(const CString &plugin_id) const {
        return mc_revision(cache_.get(), plugin_id.c_str());
    }

    /** What an option can be set to: an integer or a time, but neither a bool nor a fraction. */
    template <class Value>
    static constexpr bool is_option_value =
        (std::is_integral_v<Value> && !std::is_same_v<Value, bool>) ||
        std::is_convertible_v<Value, std::chrono::milliseconds>;

#ifdef __cpp_exceptions
    /**
     * Sets an option to an integer or a time: see mc_set_option(). Throws Error with
     * MC_INVALID_ARGUMENT if the value is negative, if the option does not allow it, or if there is
     * no such option.
     */
    template <class Value, class = std::enable_if_t<is_option_value<Value>>>
    void set(mc_option option, Value value) {
        mc_error error;
        if (set(option, value, error) != MC_OK)
            throw Error(error);
    }
#endif

    /** The same, but fills error and returns its status instead of throwing Error. */
    template <class Value, class = std::enable_if_t<is_option_value<Value>>>
    mc_status set(mc_option option, Value value, mc_error &error) {
        if constexpr (!std::is_integral_v<Value>) {
            const std::chrono::milliseconds time = value;
            if (time.count() >= 0)
                return set(option, to_milliseconds(time), error);
            return set(option, time.count(), error);
        } else {
            error = mc_error{};
            if constexpr (std::is_signed_v<Value>) {
                if (value < 0)
                    return refuse(option, std::to_string(value), error);
            }
            const auto number = static_cast<std::uint64_t>(value);
            if (mc_set_option(cache_.get(), option, number) != MC_OK)
                return refuse(option, std::to_string(number), error);
            return MC_OK;
        }
    }

    /**
     * From now on tells a logger what this cache does: see mc_set_logger(). A logger is anything
     * that can be called with a level and a const char *. It must not throw. It is not copied, so
     * it must outlive the cache.
     */
    template <class Logger> void set_logger(Logger &logger, mc_log_level level) {
        void *user_data;
        if constexpr (std::is_function_v<Logger>)
            user_data = reinterpret_cast<void *>(&logger);
        else
            user_data = const_cast<void *>(static_cast<const void *>(std::addressof(logger)));
        mc_logger call = [](mc_log_level at, const char *message, void *data) noexcept {
            std::invoke(*reinterpret_cast<Logger *>(data), at, message);
        };
        mc_set_logger(cache_.get(), call, user_data, level);
    }

    /** From now on tells no logger anything. */
    void no_logger() noexcept { mc_set_logger(cache_.get(), nullptr, nullptr, MC_LOG_OFF); }

    /** One statistic: see mc_stat(). */
    std::uint64_t stat(mc_statistic which) const noexcept { return mc_stat(cache_.get(), which); }

    /**
     * Statistics as a JSON object: see mc_stats(). Throws Error after a bug in the library; without
     * exceptions the text is empty then. The same holds for entries().
     */
    std::string stats() const { return text(mc_stats(cache_.get())); }

    /** The entries as a JSON array: see mc_entries(). */
    std::string entries() const { return text(mc_entries(cache_.get())); }

    /** The cache for C functions. This object still owns it. */
    mc_cache *handle() const noexcept { return cache_.get(); }

private:
    /**
     * A loader during one mc_get(), which calls run(). An exception of the loader is kept here
     * until mc_get() has returned.
     */
    template <class Loader> struct LoaderCall {
        Loader &loader;
#ifdef __cpp_exceptions
        std::exception_ptr thrown{};
#endif

        static void run(const char *plugin_id, mc_load *load, void *user_data) noexcept {
            LoaderCall &call = *static_cast<LoaderCall *>(user_data);
            Load answer(load);
#ifdef __cpp_exceptions
            try {
                Cache::call_loader(call.loader, plugin_id, answer);
            } catch (const std::exception &exception) {
                call.thrown = std::current_exception();
                mc_load_fail(load, 0, exception.what());
            } catch (...) {
                call.thrown = std::current_exception();
                mc_load_fail(load, 0, "the loader threw an exception that is no std::exception");
            }
#else
            Cache::call_loader(call.loader, plugin_id, answer);
#endif
        }
    };

    template <class Loader>
    static void call_loader(Loader &loader, const char *plugin_id, Load &load) {
        if constexpr (std::is_invocable_v<Loader &, std::string_view, Load &>)
            std::invoke(loader, std::string_view(plugin_id), load);
        else
            std::invoke(loader, plugin_id, load);
    }

    /**
     * A callable that waits for an outcome, which calls run(). It is on the heap, unless all of it
     * fits into the user_data.
     */
    template <class Done, bool fits = sizeof(Done) <= sizeof(void *) &&
                                      alignof(Done) <= alignof(void *) &&
                                      std::is_trivially_copyable_v<Done>>
    class DoneCall {
    public:
        template <class Original>
        explicit DoneCall(Original &&done) : done_(new Done(std::forward<Original>(done))) {}

        void *user_data() const noexcept { return done_.get(); }
        void release() noexcept { static_cast<void>(done_.release()); }

        static void run(const char *manifest, const mc_error *error, void *user_data) noexcept {
            const std::unique_ptr<Done> done(static_cast<Done *>(user_data));
            std::invoke(*done, Manifest::adopt(manifest), *error);
        }

    private:
        std::unique_ptr<Done> done_;
    };

    template <class Done> class DoneCall<Done, true> {
    public:
        explicit DoneCall(const Done &done) noexcept {
            std::memcpy(&user_data_, std::addressof(done), sizeof done);
        }

        void *user_data() const noexcept { return user_data_; }
        void release() noexcept {}

        static void run(const char *manifest, const mc_error *error, void *user_data) noexcept {
            alignas(Done) unsigned char bytes[sizeof(Done)];
            std::memcpy(bytes, &user_data, sizeof bytes);
            Done &done = *std::launder(reinterpret_cast<Done *>(bytes));
            std::invoke(done, Manifest::adopt(manifest), *error);
        }

    private:
        void *user_data_ = nullptr;
    };

#ifdef __cpp_exceptions
    /** What a call began, unless it failed. */
    static Begun checked(Begun begun, const mc_error &error) {
        if (!begun.manifest && !begun.load && begun.status != MC_PENDING)
            throw Error(error);
        return begun;
    }
#endif

    static mc_status refuse(mc_option option, const std::string &value, mc_error &error) {
        std::snprintf(error.message, sizeof error.message,
                      "manifest_cache has no option %ld, or that option cannot be %s",
                      static_cast<long>(option), value.c_str());
        return error.status = MC_INVALID_ARGUMENT;
    }

    static std::string text(const char *owned) {
        const Manifest string = Manifest::adopt(owned);
#ifdef __cpp_exceptions
        if (!string)
            throw Error(MC_INTERNAL, "a bug in manifest_cache");
#endif
        return std::string(string.view());
    }

    struct Free {
        void operator()(mc_cache *cache) const noexcept { mc_free(cache); }
    };
    std::unique_ptr<mc_cache, Free> cache_;
};

#ifndef __cpp_exceptions
} // namespace without_exceptions
#endif

} // namespace manifest_cache

#endif
