// Caches that a C++ host could write itself, behind the functions of the library's header, and the
// floors: the least that any cache must do. The bench compiles this file.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace {

using Loader = void (*)(const char *plugin_id, std::string *load, void *user_data);

char *owned_copy(const char *text, size_t len) {
    char *copy = static_cast<char *>(malloc(len + 1));
    memcpy(copy, text, len + 1);
    return copy;
}

void free_copy(const char *copy) {
    free(const_cast<char *>(copy));
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

// The floor of a hit on one of many plugins: two misses of the processor's caches, the second of
// which depends on the first. They are a slot of a table, which holds the hash of an id and a
// pointer, and the first line of the entry, whose references are counted up and down. It compares
// no ids. One thread must have filled it before others use it; then nothing is cleared.
class TwoMisses {
public:
    explicit TwoMisses(uint64_t ttl_ms) : ttl_s(ttl_ms / 1000), slots(1024) {}

    ~TwoMisses() {
        for (const Slot &slot : slots)
            if (slot.entry != nullptr)
                give_back(slot.entry->text);
    }

    const char *get(const char *id, Loader loader, void *user_data) {
        size_t hash = std::hash<std::string_view>{}(id);
        timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        Entry *entry = find(hash).entry;
        if (entry == nullptr || now.tv_sec > entry->expires_at)
            entry = load(hash, now.tv_sec, id, loader, user_data);
        entry->references.fetch_add(1);
        return entry->text;
    }

    size_t clear(const char *) { return 0; }

    static void give_back(const char *text) {
        Entry *entry = reinterpret_cast<Entry *>(const_cast<char *>(text) - offsetof(Entry, text));
        if (entry->references.fetch_sub(1) == 1)
            free(entry);
    }

private:
    struct Entry {
        std::atomic<uint64_t> references;
        time_t expires_at;
        char text[1];
    };
    struct Slot {
        size_t hash;
        Entry *entry;
    };

    // The slot of this hash, or the free one where it belongs.
    Slot &find(size_t hash) {
        size_t at = hash & (slots.size() - 1);
        while (slots[at].entry != nullptr && slots[at].hash != hash)
            at = (at + 1) & (slots.size() - 1);
        return slots[at];
    }

    Entry *load(size_t hash, time_t now, const char *id, Loader loader, void *user_data) {
        std::string text;
        loader(id, &text, user_data);
        size_t lines = (sizeof(Entry) + text.size() + 63) / 64;
        Entry *entry = static_cast<Entry *>(aligned_alloc(64, lines * 64));
        new (&entry->references) std::atomic<uint64_t>(1);
        entry->expires_at = now + ttl_s;
        memcpy(entry->text, text.c_str(), text.size() + 1);
        if (2 * ++count > slots.size()) {
            std::vector<Slot> old(2 * slots.size());
            old.swap(slots);
            for (const Slot &slot : old)
                if (slot.entry != nullptr)
                    find(slot.hash) = slot;
        }
        Slot &slot = find(hash);
        if (slot.entry != nullptr)
            give_back(slot.entry->text);
        slot = {hash, entry};
        return entry;
    }

    time_t ttl_s;
    size_t count = 0;
    std::vector<Slot> slots;
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

// What a host writes that keeps decoded manifests: SharedMutex with values that callers share.
class DecodedMap {
public:
    using Value = std::shared_ptr<const void>;

    void put(const char *id, Value value) {
        std::lock_guard lock(mutex);
        entries[id] = {std::move(value), Clock::now() + std::chrono::hours(1)};
    }

    Value get(const char *id) {
        std::shared_lock lock(mutex);
        auto found = entries.find(id);
        if (found == entries.end() || Clock::now() > found->second.expires_at)
            return nullptr;
        return found->second.value;
    }

private:
    using Clock = std::chrono::steady_clock;
    struct Entry {
        Value value;
        Clock::time_point expires_at;
    };
    std::shared_mutex mutex;
    std::unordered_map<std::string, Entry> entries;
};

} // namespace

#define EXPORT(prefix, Cache, free_string)                                                   \
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
        free_string(string);                                                                 \
    }                                                                                        \
    extern "C" void prefix##_free(Cache *cache) {                                            \
        delete cache;                                                                        \
    }

EXPORT(floor, Floor, free_copy)
EXPORT(two_misses, TwoMisses, TwoMisses::give_back)
EXPORT(recursive, RecursiveMutex, free_copy)
EXPORT(shared, SharedMutex, free_copy)

extern "C" DecodedMap *decoded_new() {
    return new DecodedMap;
}

extern "C" void decoded_put(DecodedMap *map, const char *id, void *value, void (*destroy)(void *)) {
    map->put(id, DecodedMap::Value(value, destroy));
}

// Gets a value and lets go of it. The compiler must not see that it is not used.
extern "C" void decoded_hit(DecodedMap *map, const char *id) {
    DecodedMap::Value value = map->get(id);
    if (value == nullptr)
        abort();
    asm volatile("" : : "r"(value.get()) : "memory");
}

extern "C" void decoded_free(DecodedMap *map) {
    delete map;
}

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
