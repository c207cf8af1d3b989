// The classes included twice and used, in every dialect from C++17 on: see tests/dialects.rs.

#include "manifest_cache.hpp"
#include "manifest_cache.hpp"

using manifest_cache::Begun;
using manifest_cache::BegunLoad;
using manifest_cache::Cache;
using manifest_cache::Decoded;
using manifest_cache::Load;
using manifest_cache::Manifest;
using manifest_cache::Within;

std::size_t length_of_manifest(const std::string &plugin_id, int ttl);
std::size_t length_when_begun(const std::string &plugin_id, const BegunLoad &within);
std::size_t length_decoded(const std::string &plugin_id);

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

std::size_t length_when_begun(const std::string &plugin_id, const BegunLoad &within) {
    std::size_t length = 0;
    const std::string large(100, 'x');
    const auto small = [&length](const Manifest &, const mc_error &) { length++; };
    auto only_movable = [large, own = std::make_unique<int>(1)](Manifest, const mc_error &) {};
    Cache cache;
    mc_error error;
    Begun begun = cache.begin(plugin_id, Within::thread(), error);
    begun = cache.begin_async("weather", small, within, error);
    begun = cache.begin_async(plugin_id, std::move(only_movable), begun.load, error);
    BegunLoad load = std::move(begun.load);
    load.not_found();
#ifdef __cpp_exceptions
    begun = cache.begin(plugin_id);
    begun = cache.begin_async(plugin_id, small);
    length += begun.load.end().size();
#endif
    return length + load.end(error).size();
}

std::size_t length_decoded(const std::string &plugin_id) {
    const auto load = [](std::string_view id, Load &answer) {
        if (answer.directory("plugins") == MC_OK && answer.text().size() == id.size())
            answer.fail(1, "it is too short");
    };
    const auto decode = [](std::string_view text) { return std::string(text); };
    Cache cache;
    mc_error error;
    const Decoded<std::string> decoded = cache.get<std::string>(plugin_id, load, decode, error);
    Begun begun = cache.begin("weather", {}, error);
    if (!begun.load.has_value<std::string>())
        begun.load.value(std::string("decoded"));
    const Decoded<std::string> ended(begun.load.end(error));
    const std::string &text = decoded;
#ifdef __cpp_exceptions
    if (cache.get<std::string>(plugin_id, load, decode).is_stale())
        return 0;
#endif
    return text.size() + decoded->size() + decoded.text().size() + ended.manifest().size();
}
