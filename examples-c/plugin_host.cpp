// A plugin host in C++: plugin_host_cpp DIRECTORY
//
// It opens each plugin with dlopen(), starts it with its manifest from the cache, and reloads one
// plugin that is updated while the host runs. DIRECTORY has a sub-directory for each plugin, with
// plugin.so and manifest.json in it.

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

// An open library, and the manifest that it was started with.
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

    // Closes the library first: while it is open, dlopen() would return the old one.
    void reload(const std::string &id) {
        auto is_it = [&](const Plugin &plugin) { return plugin.id == id; };
        plugins_.erase(std::remove_if(plugins_.begin(), plugins_.end(), is_it), plugins_.end());
        cache_.clear(id);
        plugins_.push_back(start(id));
    }

    // A hit takes some nanoseconds, so a host calls this whenever it needs the manifest.
    Manifest manifest(const std::string &id) {
        return cache_.get(id, [this](const std::string &plugin_id, Load &load) {
            // An exception of a loader reaches the caller of get().
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
    Cache cache_{manifest_cache::ttl_forever}; // reload() clears a plugin that was updated
    std::vector<Plugin> plugins_;
};

// Writes a new file and renames it over the old one, so that no reader sees half of it.
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
    std::cout << "\nweather was updated; the cache has the old manifest until it is reloaded: "
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
