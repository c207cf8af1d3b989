// Prints the manifest of one plugin: quickstart_cpp [directory [plugin]]

#include <iostream>
#include <manifest_cache.hpp>

int main(int argc, char **argv) {
    const std::string root = argc > 1 ? argv[1] : "plugins";
    const std::string plugin_id = argc > 2 ? argv[2] : "weather";
    // Called only while the cache has no fresh manifest of this plugin.
    const auto load = [&](std::string_view, manifest_cache::Load &answer) {
        answer.directory(root);
    };

    manifest_cache::Cache cache;
    try {
        std::cout << cache.get(plugin_id, load).view() << '\n';
        cache.get(plugin_id, load); // from memory
        std::cout << cache.stats() << '\n';
    } catch (const manifest_cache::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
