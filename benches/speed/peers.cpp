// Caches that a C++ host could write itself, behind the functions of the library's header, and the
// floors: the least that any cache must do. The bench compiles this file.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <unordered_map>

namespace {

using Loader = void (*)(const char *plugin_id, std::string *load, void *user_data);

char *owned_copy(const char *text, size_t len) {
    char *copy = static_cast<char *>(malloc(len + 1));
    memcpy(copy, text, len + 1);
    return copy;
}

// The floor of a hit: hash of the id, coarse clock, malloc, copy and free. It returns the same text
// for every id.
class Floor {
public:
    explicit Floor(uint64_t ttl_ms) : ttl_s(ttl_ms / 1000) {}

    const char *get(const char *id, Loader loader, void *user_data) {
        size_t hash = std::hash<std::string_view>{}(id);
        asm volatile("" : : "r"(hash));
        timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        if (now.tv_sec > fresh_until) {
            loader(id, &text, user_data);
            fresh_until = now.tv_sec + ttl_s;
        }
        return owned_copy(text.data(), text.size());
    }

    size_t clear(const char *) { return 0; }

private:
    time_t ttl_s;
    time_t fresh_until = 0;
    std::string text;
};

// The algorithm of the Python class that this library replaces: one recursive mutex around a map,
// which is held while the loader runs.
class RecursiveMutex {
public:
    explicit RecursiveMutex(uint64_t ttl_ms) : ttl(ttl_ms) {}

    const char *get(const char *id, Loader loader, void *user_data) {
        std::lock_guard lock(mutex);
        auto found = entries.find(id);
        if (found != entries.end()) {
            if (Clock::now() - found->second.created_at <= ttl)
                return strdup(found->second.text.c_str());
            entries.erase(found);
        }
        std::string text;
        loader(id, &text, user_data);
        const char *copy = strdup(text.c_str());
        entries[id] = {std::move(text), Clock::now()};
        return copy;
    }

    size_t clear(const char *id) {
        std::lock_guard lock(mutex);
        return entries.erase(id);
    }

private:
    using Clock = std::chrono::steady_clock;
    struct Entry {
        std::string text;
        Clock::time_point created_at;
    };
    std::chrono::milliseconds ttl;
    std::recursive_mutex mutex;
    std::unordered_map<std::string, Entry> entries;
};

// The same with what the standard library offers: readers share the lock, the loader runs without
// it, and the copy does not search for the end of the text.
class SharedMutex {
public:
    explicit SharedMutex(uint64_t ttl_ms) : ttl(ttl_ms) {}

    const char *get(const char *id, Loader loader, void *user_data) {
        {
            std::shared_lock lock(mutex);
            auto found = entries.find(id);
            if (found != entries.end() && Clock::now() <= found->second.expires_at)
                return owned_copy(found->second.text.data(), found->second.text.size());
        }
        std::string text;
        loader(id, &text, user_data);
        const char *copy = owned_copy(text.data(), text.size());
        std::lock_guard lock(mutex);
        entries[id] = {std::move(text), Clock::now() + ttl};
        return copy;
    }

    size_t clear(const char *id) {
        std::lock_guard lock(mutex);
        return entries.erase(id);
    }

private:
    using Clock = std::chrono::steady_clock;
    struct Entry {
        std::string text;
        Clock::time_point expires_at;
    };
    std::chrono::milliseconds ttl;
    std::shared_mutex mutex;
    std::unordered_map<std::string, Entry> entries;
};

} // namespace

#define EXPORT(prefix, Cache)                                                                \
    extern "C" Cache *prefix##_new(uint64_t ttl_ms) {                                        \
        return new Cache(ttl_ms);                                                            \
    }                                                                                        \
    extern "C" const char *prefix##_get(Cache *cache, const char *id, Loader loader,         \
                                        void *user_data, void *) {                           \
        return cache->get(id, loader, user_data);                                            \
    }                                                                                        \
    extern "C" int32_t prefix##_load_json(std::string *load, const char *json, size_t len) { \
        load->assign(json, len);                                                             \
        return 0;                                                                            \
    }                                                                                        \
    extern "C" size_t prefix##_clear(Cache *cache, const char *id) {                         \
        return cache->clear(id);                                                             \
    }                                                                                        \
    extern "C" void prefix##_string_free(const char *string) {                               \
        free(const_cast<char *>(string));                                                    \
    }                                                                                        \
    extern "C" void prefix##_free(Cache *cache) {                                            \
        delete cache;                                                                        \
    }

EXPORT(floor, Floor)
EXPORT(recursive, RecursiveMutex)
EXPORT(shared, SharedMutex)

// The floor of a cold start: opens, reads and closes the files. With with_kind it also checks that
// each is a regular file, as a cache must to refuse a FIFO or a device.
extern "C" size_t bare_read(const char *const *paths, size_t count, char *buffer, size_t room,
                            bool with_kind) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        int file = open(paths[i], O_RDONLY | O_CLOEXEC);
        struct stat status;
        if (with_kind && (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)))
            abort();
        ssize_t got = read(file, buffer, room);
        if (file < 0 || got < 0)
            abort();
        bytes += got;
        close(file);
    }
    return bytes;
}
