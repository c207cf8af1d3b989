// The classes included twice and used, in every dialect from C++17 on: see tests/dialects.rs.

#include "manifest_cache.hpp"
#include "manifest_cache.hpp"

using manifest_cache::Cache;
using manifest_cache::Load;
using manifest_cache::Manifest;

std::size_t length_of_manifest(const std::string &plugin_id, int ttl);

std::size_t length_of_manifest(const std::string &plugin_id, int ttl) {
    const auto load = [](std::string_view id, Load &answer) {
        if (id.empty() || answer.directory("plugins") == MC_NOT_FOUND)
            answer.fail(1, id);
    };
    const auto logger = [](mc_log_level, const char *) {};
    Cache cache;
    mc_error error;
    cache.set_logger(logger, MC_LOG_DEBUG);
    cache.set(MC_OPT_MAX_ENTRIES, 100, error);
    cache.set(MC_OPT_TTL_MS, ttl, error);
    cache.set(MC_OPT_RETRY_MS, std::chrono::seconds(ttl), error);
    cache.put(std::string_view(plugin_id), "{}", error);
    const Manifest manifest = cache.get(plugin_id, load, error);
#ifdef __cpp_exceptions
    cache.set(MC_OPT_MAX_ENTRIES, 100);
    cache.set(MC_OPT_TTL_MS, std::chrono::milliseconds(ttl));
    cache.put(plugin_id, "{}");
    return cache.get(plugin_id.c_str(), load).size();
#else
    return manifest.size() + cache.stats().size();
#endif
}
