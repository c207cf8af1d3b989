// A host that keeps decoded manifests in this cache, and one that keeps them in a map of its own,
// with one load for each plugin. Both give the same. tests/readme.rs counts their lines, and checks
// that the first is the host of examples-c/decoded.cpp.

#include "threads.h"

#include "manifest_cache.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

using manifest_cache::Cache;
using manifest_cache::Decoded;
using manifest_cache::Load;

static std::atomic<int> decodings;

struct Plugin {
    std::string name;
};

static Plugin decode(std::string_view text) {
    decodings++;
    const auto name = text.find("\"name\":\"");
    if (name == text.npos)
        throw std::runtime_error("a plugin needs a name");
    const auto rest = text.substr(name + 8);
    return Plugin{std::string(rest.substr(0, rest.find('"')))};
}

// cache code: begin
class Host {
public:
    explicit Host(std::string root) : root_(std::move(root)) {}

    Decoded<Plugin> plugin(const std::string &id) {
        const auto load = [this](std::string_view, Load &answer) { answer.directory(root_); };
        return cache_.get<Plugin>(id, load, decode);
    }

    // After a plugin was updated.
    void forget(const std::string &id) { cache_.clear(id); }

private:
    std::string root_;
    Cache cache_{manifest_cache::ttl_forever};
};
// cache code: end

// own map: begin
class OwnMap {
public:
    explicit OwnMap(std::string root) : root_(std::move(root)) {}

    std::shared_ptr<const Plugin> plugin(const std::string &id) {
        Future known;
        {
            const std::shared_lock lock(mutex_);
            if (const auto found = plugins_.find(id); found != plugins_.end())
                known = found->second;
        }
        return known.valid() ? known.get() : load(id);
    }

    // After a plugin was updated.
    void forget(const std::string &id) {
        const std::unique_lock lock(mutex_);
        plugins_.erase(id);
    }

private:
    using Future = std::shared_future<std::shared_ptr<const Plugin>>;

    std::shared_ptr<const Plugin> load(const std::string &id) {
        std::packaged_task<std::shared_ptr<const Plugin>()> task(
            [&] { return std::make_shared<const Plugin>(decode(read(id))); });
        Future mine = task.get_future().share();
        std::unique_lock lock(mutex_);
        // The first one loads, and the others wait for it.
        const auto [place, is_first] = plugins_.emplace(id, mine);
        if (!is_first) {
            Future other = place->second;
            lock.unlock();
            return other.get();
        }
        const auto number = numbers_[id] = ++loads_;
        lock.unlock();
        task();
        try {
            return mine.get();
        } catch (...) {
            // A failure is not kept, but what another thread has begun since must stay.
            lock.lock();
            if (numbers_[id] == number)
                plugins_.erase(id);
            throw;
        }
    }

    std::string read(const std::string &id) const {
        std::ifstream file(root_ + "/" + id + "/manifest.json");
        if (!file)
            throw std::runtime_error("plugin \"" + id + "\" has no manifest.json");
        return {std::istreambuf_iterator<char>(file), {}};
    }

    std::string root_;
    std::shared_mutex mutex_;
    std::map<std::string, Future> plugins_;
    std::map<std::string, unsigned> numbers_;
    unsigned loads_ = 0;
};
// own map: end

static void write(const std::string &id, const std::string &text) {
    std::filesystem::create_directories(id);
    std::ofstream(id + "/next") << text;
    std::filesystem::rename(id + "/next", id + "/manifest.json");
}

// The names that a host gives for all these plugins, and how often it decodes a manifest for them.
template <class Host> static std::string names(Host &host, const std::vector<const char *> &ids) {
    std::string names;
    const int before = decodings;
    for (const char *id : ids) {
        try {
            names += host.plugin(id)->name + ' ';
        } catch (const std::runtime_error &) {
            names += "none ";
        }
    }
    return names + std::to_string(decodings - before);
}

// What a host gives while its plugins are updated, and to several threads at once.
template <class Host> static std::string story() {
    const std::vector<const char *> all{"sun", "moon", "sun", "broken", "absent", "broken", "moon"};
    write("sun", SUN);
    write("moon", "{\"name\":\"Moon\"}");
    write("broken", "{\"title\":\"Broken\"}");
    std::string told;
    Host host(".");
    told += names(host, all) + '\n';
    told += names(host, {"sun", "moon"}) + '\n';
    const auto kept = host.plugin("sun");
    write("sun", "{\"name\":\"Sunshine\"}");
    write("broken", "{\"name\":\"Whole\"}");
    told += names(host, all) + '\n';
    host.forget("sun");
    told += names(host, all) + '\n' + kept->name + '\n';
    host.forget("moon");
    const int before = decodings;
    std::atomic<int> arrived = 0;
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; n++) {
        threads.emplace_back([&] {
            for (arrived++; arrived < 4;)
                std::this_thread::yield();
            CHECK(host.plugin("moon")->name == "Moon");
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    return told + std::to_string(decodings - before);
}

TEST(the_cache_gives_what_a_map_of_its_own_gives) {
    const std::string own = story<OwnMap>();
    CHECK(own == "Sun Moon Sun none none none Moon 4\n"
                 "Sun Moon 0\n"
                 "Sun Moon Sun Whole none Whole Moon 1\n"
                 "Sunshine Moon Sunshine Whole none Whole Moon 1\n"
                 "Sun\n"
                 "1");
    CHECK(story<Host>() == own);
}
