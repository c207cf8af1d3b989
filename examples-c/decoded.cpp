// A plugin host that uses its manifests decoded, with nlohmann-json: decoded_cpp [directory]
//
// The cache keeps what the host made of each manifest. A hit returns it, and decodes nothing.

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <manifest_cache.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using manifest_cache::Cache;
using manifest_cache::Decoded;
using manifest_cache::Load;

// What this host needs of a manifest.
struct Plugin {
    std::string name, version;
    std::vector<std::string> permissions;
};

// What this throws fails the load, and reaches the caller of Cache::get().
static Plugin decode(std::string_view text) {
    const auto json = nlohmann::json::parse(text);
    Plugin plugin{json.at("name"), json.at("version"), {}};
    if (const auto found = json.find("permissions"); found != json.end())
        found->get_to(plugin.permissions);
    if (plugin.name.empty())
        throw std::runtime_error("a plugin needs a name");
    return plugin;
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

static bool may_use(const Plugin &plugin, const std::string &what) {
    const auto &all = plugin.permissions;
    return std::find(all.begin(), all.end(), what) != all.end();
}

int main(int argc, char **argv) {
    const std::string root = argc > 1 ? argv[1] : "plugins";
    std::vector<std::string> ids{"absent"};
    try {
        for (const auto &entry : std::filesystem::directory_iterator(root))
            if (entry.is_directory())
                ids.push_back(entry.path().filename());
        std::sort(ids.begin(), ids.end());
        Host host(root);
        for (const std::string &id : ids) {
            try {
                const Decoded<Plugin> plugin = host.plugin(id);
                std::cout << id << ": " << plugin->name << ' ' << plugin->version
                          << (may_use(plugin, "network") ? ", may use the network" : "")
                          << ", decoded from " << plugin.text().size() << " bytes\n";
                if (host.plugin(id).revision() != plugin.revision())
                    throw std::logic_error("a hit must return the same plugin");
            } catch (const std::runtime_error &error) {
                std::cout << id << ": " << error.what() << '\n';
            } catch (const nlohmann::json::exception &error) {
                std::cout << id << ": " << error.what() << '\n';
            }
        }
    } catch (const std::exception &error) {
        std::cerr << "decoded_cpp: " << error.what() << '\n';
        return 1;
    }
}
