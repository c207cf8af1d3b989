// A plugin host in C++: opens each plugin with dlopen(), hands it its manifest from the cache, and
// reloads one that is updated while the host runs: plugin_host_cpp DIRECTORY
//
// The directory has a sub-directory for each plugin, with plugin.so and manifest.json in it.

#include <algorithm>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <manifest_cache.hpp>
#include <memory>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using manifest_cache::Cache;
using manifest_cache::Load;
using manifest_cache::Manifest;

struct Close {
    void operator()(void *library) const noexcept { dlclose(library); }
};

// A library that is open, and the manifest that it was started with.
struct Plugin {
    std::string id;
    std::unique_ptr<void, Close> library;
    Manifest manifest;
};

class Host {
public:
    explicit Host(fs::path root) : root_(std::move(root)) {}

    void start_all() {
        std::vector<std::string> ids;
        for (const auto &entry : fs::directory_iterator(root_))
            if (entry.is_directory())
                ids.push_back(entry.path().filename());
        std::sort(ids.begin(), ids.end());
        for (const std::string &id : ids)
            plugins_.push_back(start(id));
    }

    // While a library is open, dlopen() would give the same one again.
    void reload(const std::string &id) {
        auto is_it = [&](const Plugin &plugin) { return plugin.id == id; };
        plugins_.erase(std::remove_if(plugins_.begin(), plugins_.end(), is_it), plugins_.end());
        cache_.clear(id);
        plugins_.push_back(start(id));
    }

    // Costs some nanoseconds, so a host asks whenever it needs the manifest.
    Manifest manifest(const std::string &id) {
        return cache_.get(id, [this](const std::string &plugin_id, Load &load) {
            // What a loader throws arrives at whoever asked for the manifest.
            if (!fs::exists(root_ / plugin_id / "plugin.so"))
                throw std::runtime_error("plugin \"" + plugin_id + "\" has no plugin.so");
            load.directory(root_);
        });
    }

    std::string statistics() const { return cache_.stats(); }

private:
    Plugin start(const std::string &id) {
        Plugin plugin{id, nullptr, manifest(id)};
        const fs::path path = root_ / id / "plugin.so";
        plugin.library.reset(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
        void *symbol = plugin.library ? dlsym(plugin.library.get(), "plugin_start") : nullptr;
        if (symbol == nullptr)
            throw std::runtime_error(dlerror());
        std::cout << id << ": revision " << plugin.manifest.revision() << ", "
                  << plugin.manifest.size() << " bytes" << std::endl;
        reinterpret_cast<void (*)(const char *, const char *)>(symbol)(id.c_str(),
                                                                       plugin.manifest.c_str());
        return plugin;
    }

    fs::path root_;
    Cache cache_{manifest_cache::ttl_forever}; // an update is told by reload()
    std::vector<Plugin> plugins_;
};

// Writes the whole file beside the old one first: who reads sees the old or the new one.
static void replace(const fs::path &path, const std::string &text) {
    const fs::path next = path.string() + ".next";
    std::ofstream(next) << text;
    fs::rename(next, path);
}

static void run(const fs::path &root) {
    Host host(root);
    host.start_all();

    const Manifest before = host.manifest("weather");
    replace(root / "weather" / "manifest.json", R"({"id": "weather", "version": "2.5.0"})");
    std::cout << "\nweather is updated; until it is reloaded the cache has the old manifest: "
              << std::boolalpha << (host.manifest("weather").revision() == before.revision())
              << "\n\n";
    host.reload("weather");

    std::cout << '\n';
    for (const char *id : {"absent", "calendar"}) {
        try {
            const Manifest manifest = host.manifest(id);
            std::cout << id << ": " << manifest.size() << " bytes, from memory\n";
        } catch (const std::runtime_error &error) {
            std::cout << id << ": " << error.what() << '\n';
        }
    }
    std::cout << "\nstatistics: " << host.statistics() << '\n';
}

int main(int argc, char **argv) {
    if (argc != 2) {
        std::cerr << "usage: plugin_host_cpp DIRECTORY\n";
        return 2;
    }
    try {
        run(argv[1]);
    } catch (const std::exception &error) {
        std::cerr << "plugin_host_cpp: " << error.what() << '\n';
        return 1;
    }
}
