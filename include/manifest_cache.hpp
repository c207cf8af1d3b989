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
 * It is a header alone, over the C library, and allocates nothing on a hit, unless the id is a
 * std::string_view of 128 bytes or more. manifest_cache.h is the reference of what happens; here
 * stands what C++ adds.
 *
 * Errors: what fails throws manifest_cache::Error, except that Cache::get() can fill an mc_error
 * instead. What a loader throws passes through Cache::get() as it is.
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
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/** What manifest_cache.hpp declares. */
namespace manifest_cache {

/** A time to live that never ends. */
inline constexpr std::chrono::milliseconds ttl_forever = std::chrono::milliseconds::max();

/** Why there is no manifest; what() is for a person. */
class Error : public std::runtime_error {
public:
    /** Takes over what a C function filled in. */
    explicit Error(const mc_error &error)
        : std::runtime_error(error.message), status_(error.status), code_(error.code),
          line_(error.line), column_(error.column)
    {
    }

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

/**
 * A parameter that ends with a NUL, as C wants it: made of a const char *, a std::string, a
 * std::string_view, or of what has a c_str() as they do, such as std::filesystem::path on POSIX.
 * Only for parameters: it borrows what it is made of.
 *
 * Only a std::string_view is copied, into this object as long as it is shorter than 128 bytes. A
 * NUL inside a std::string or std::string_view throws Error with MC_INVALID_ARGUMENT, since C
 * would read a shorter string and take it for the id of another plugin.
 */
class CString {
public:
    /** Of a C string. */
    CString(const char *text) noexcept : text_(text) {}

    /** Of a string. */
    CString(const std::string &text) : text_(text.c_str()) { refuse_nul(text); }

    /** Of a part of a string, which has no NUL at its end. */
    CString(std::string_view text)
    {
        refuse_nul(text);
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
    CString(const Path &path) noexcept : text_(path.c_str())
    {
    }

    /** NULL is no string. */
    CString(std::nullptr_t) = delete;

    CString(const CString &) = delete;
    CString &operator=(const CString &) = delete;

    /** The C string. */
    const char *c_str() const noexcept { return text_; }

private:
    static void refuse_nul(std::string_view text)
    {
        if (text.find('\0') != std::string_view::npos)
            throw Error(MC_INVALID_ARGUMENT, "an id, path or message has a NUL character in it");
    }

    const char *text_;
    char short_[128];
    std::string long_;
};

/** A time as the C functions take it: what is negative is 0, and ttl_forever is MC_TTL_FOREVER. */
inline std::uint64_t to_milliseconds(std::chrono::milliseconds time) noexcept
{
    if (time == ttl_forever)
        return MC_TTL_FOREVER;
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

/** A manifest: a std::string_view that owns its text, or nothing. Moved, it leaves nothing. */
class Manifest {
public:
    /** Nothing. */
    Manifest() noexcept = default;

    /** Owns from now on what mc_get() returned; NULL is nothing. */
    static Manifest adopt(const char *owned) noexcept
    {
        Manifest manifest;
        manifest.text_.reset(owned);
        return manifest;
    }

    /** Whether there is a manifest. */
    explicit operator bool() const noexcept { return text_ != nullptr; }

    /** The text, valid as long as this owns it; it never changes. Its data() ends with a NUL. */
    std::string_view view() const noexcept
    {
        return text_ == nullptr ? std::string_view() : std::string_view(text_.get(), size());
    }

    /** The text, as by view(). */
    operator std::string_view() const & noexcept { return view(); }

    /** Not of what is about to be given back: keep the manifest first. */
    operator std::string_view() const && = delete;

    /** The text for C; NULL if there is nothing. */
    const char *c_str() const noexcept { return text_.get(); }

    /** Length in bytes, without counting them. */
    std::size_t size() const noexcept { return mc_string_len(text_.get()); }

    /** See mc_string_revision(). */
    std::uint64_t revision() const noexcept { return mc_string_revision(text_.get()); }

    /** Leaves it to the caller to give the string back with mc_string_free(). */
    const char *release() noexcept { return text_.release(); }

private:
    struct GiveBack {
        void operator()(const char *text) const noexcept { mc_string_free(text); }
    };
    std::unique_ptr<const char, GiveBack> text_{};
};

/** What a loader answers through: the mc_load_ functions. Only for the time of the load. */
class Load {
public:
    /** Of the load that a C loader was given. */
    explicit Load(mc_load *load) noexcept : load_(load) {}

    /** See mc_load_json(). */
    mc_status json(std::string_view text) noexcept
    {
        return mc_load_json(load_, text.data(), text.size());
    }

    /** See mc_load_file(). */
    mc_status file(const CString &path) noexcept { return mc_load_file(load_, path.c_str()); }

    /** See mc_load_directory(). */
    mc_status directory(const CString &root) noexcept { return mc_load_directory(load_, root.c_str()); }

    /** See mc_load_not_found(). */
    void not_found() noexcept { mc_load_not_found(load_); }

    /** See mc_load_fail(). */
    void fail(std::int32_t code, const CString &message) noexcept
    {
        mc_load_fail(load_, code, message.c_str());
    }

    /** See mc_load_ttl(). */
    void ttl(std::chrono::milliseconds ttl) noexcept
    {
        mc_load_ttl(load_, to_milliseconds(ttl));
    }

    /** See mc_load_cached(); the data() of what is not there is NULL. */
    std::string_view cached() const noexcept
    {
        const char *text = mc_load_cached(load_);
        return text == nullptr ? std::string_view() : std::string_view(text, mc_string_len(text));
    }

    /** See mc_load_unchanged(). */
    mc_status unchanged() noexcept { return mc_load_unchanged(load_); }

    /** For C functions. */
    mc_load *handle() const noexcept { return load_; }

private:
    mc_load *load_;
};

/**
 * A cache of manifests. Moved, it leaves one behind that can only be assigned to or destroyed.
 *
 * A loader is anything that can be called with an id and a Load &, and whose result does not
 * matter: `void (std::string_view plugin_id, Load &load)`, or else with what a const char * can
 * become, such as a std::string. It is called before Cache::get() returns, on the same thread, or
 * not at all.
 */
class Cache {
public:
    /** A new, empty cache: see mc_new(). */
    explicit Cache(std::chrono::milliseconds ttl = std::chrono::milliseconds(MC_TTL_DEFAULT))
        : cache_(mc_new(to_milliseconds(ttl)))
    {
        if (cache_ == nullptr)
            throw Error(MC_INTERNAL, "mc_new: a bug in manifest_cache");
    }

    /** The manifest of a plugin, loaded if need be: see mc_get(). Throws Error if there is none. */
    template <class Loader> Manifest get(const CString &plugin_id, Loader &&loader)
    {
        mc_error error;
        Manifest manifest = get(plugin_id, std::forward<Loader>(loader), error);
        if (!manifest)
            throw Error(error);
        return manifest;
    }

    /** The same, but fills error instead of throwing Error. Tells MC_STALE from MC_OK, too. */
    template <class Loader> Manifest get(const CString &plugin_id, Loader &&loader, mc_error &error)
    {
        auto invoke = [&loader](const char *id, Load &load) {
            if constexpr (std::is_invocable_v<Loader &, std::string_view, Load &>)
                std::invoke(loader, std::string_view(id), load);
            else
                std::invoke(loader, id, load);
        };
        using Invoke = decltype(invoke);
        mc_loader call = [](const char *id, mc_load *load, void *user_data) {
            Load answer(load);
            (*static_cast<Invoke *>(user_data))(id, answer);
        };
        return Manifest::adopt(mc_get(cache_.get(), plugin_id.c_str(), call, &invoke, &error));
    }

    /** The manifest of a plugin if the cache has it, else nothing; neither loads nor waits. */
    Manifest look(const CString &plugin_id)
    {
        return Manifest::adopt(mc_get(cache_.get(), plugin_id.c_str(), nullptr, nullptr, nullptr));
    }

    /** Stores a manifest: see mc_put(). Throws Error if it is refused. */
    void put(const CString &plugin_id, std::string_view json)
    {
        mc_error error;
        if (mc_put(cache_.get(), plugin_id.c_str(), json.data(), json.size(), &error) != MC_OK)
            throw Error(error);
    }

    /** Forgets the manifest of a plugin, and says whether there was one: see mc_clear(). */
    bool clear(const CString &plugin_id)
    {
        return plugin_id.c_str() != nullptr && mc_clear(cache_.get(), plugin_id.c_str()) != 0;
    }

    /** Forgets all manifests, and says how many there were: see mc_clear(). */
    std::size_t clear() noexcept { return mc_clear(cache_.get(), nullptr); }

    /** See mc_purge(). */
    std::size_t purge() noexcept { return mc_purge(cache_.get()); }

    /** See mc_revision(). */
    std::uint64_t revision(const CString &plugin_id) const
    {
        return mc_revision(cache_.get(), plugin_id.c_str());
    }

    /** Sets an option: see mc_set_option(). Throws Error if it is refused. */
    void set(std::int32_t option, std::uint64_t value)
    {
        if (mc_set_option(cache_.get(), option, value) != MC_OK)
            throw Error(MC_INVALID_ARGUMENT, "no such option of manifest_cache, or not its value");
    }

    /** The same for options that are times. */
    void set(std::int32_t option, std::chrono::milliseconds value)
    {
        set(option, to_milliseconds(value));
    }

    /**
     * Has a logger told what this cache does: see mc_set_logger(). It is called with a level and
     * a message, must not throw, and is not copied: it must outlive the cache.
     */
    template <class Logger> void set_logger(Logger &logger, std::int32_t level)
    {
        void *user_data;
        if constexpr (std::is_function_v<Logger>)
            user_data = reinterpret_cast<void *>(&logger);
        else
            user_data = const_cast<void *>(static_cast<const void *>(std::addressof(logger)));
        mc_logger call = [](std::int32_t at, const char *message, void *data) noexcept {
            std::invoke(*reinterpret_cast<Logger *>(data), at, message);
        };
        mc_set_logger(cache_.get(), call, user_data, level);
    }

    /** Ends what set_logger() began. */
    void no_logger() noexcept { mc_set_logger(cache_.get(), nullptr, nullptr, MC_LOG_OFF); }

    /** One statistic: see mc_stat(). */
    std::uint64_t stat(std::int32_t which) const noexcept { return mc_stat(cache_.get(), which); }

    /** Statistics as a JSON object: see mc_stats(). */
    std::string stats() const { return text(mc_stats(cache_.get())); }

    /** The entries as a JSON array: see mc_entries(). */
    std::string entries() const { return text(mc_entries(cache_.get())); }

    /** For C functions; this goes on owning it. */
    mc_cache *handle() const noexcept { return cache_.get(); }

private:
    static std::string text(const char *owned)
    {
        const Manifest string = Manifest::adopt(owned);
        if (!string)
            throw Error(MC_INTERNAL, "a bug in manifest_cache");
        return std::string(string.view());
    }

    struct Free {
        void operator()(mc_cache *cache) const noexcept { mc_free(cache); }
    };
    std::unique_ptr<mc_cache, Free> cache_;
};

} // namespace manifest_cache

#endif
