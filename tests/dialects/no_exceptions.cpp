// include/manifest_cache.hpp with -fno-exceptions -fno-rtti.

#include "check.h"

#include "manifest_cache.hpp"

using manifest_cache::Begun;
using manifest_cache::BegunLoad;
using manifest_cache::Cache;
using manifest_cache::Decoded;
using manifest_cache::Load;
using manifest_cache::Manifest;

#define SUN "{\"name\":\"Sun\"}"

#ifdef __cpp_exceptions
#error "this is to be compiled with -fno-exceptions"
#endif

static void sun(const char *, Load &load) {
    CHECK(load.json(SUN) == MC_OK);
}

template <class... Arguments>
using put_of = decltype(std::declval<Cache &>().put(std::declval<Arguments>()...));
template <class Arguments, class = void> static constexpr bool can_put = false;
template <class... Arguments>
static constexpr bool can_put<void(Arguments...), std::void_t<put_of<Arguments...>>> = true;
static_assert(can_put<void(const char *, const char *, mc_error &)>);
static_assert(!can_put<void(const char *, const char *)>, "nobody would be told of a failure");

TEST(what_may_fail_fills_an_error) {
    Cache cache;
    mc_error error;
    const Manifest manifest = cache.get("weather", sun, error);
    CHECK(manifest.view() == SUN && error.status == MC_OK);
    CHECK(!cache.get("moon", [](auto, Load &load) { load.fail(42, "no moon"); }, error));
    CHECK(error.status == MC_LOAD_FAILED && error.code == 42);
    CHECK(cache.put("moon", SUN, error) == MC_OK);
    CHECK(cache.put("moon", "[]", error) == MC_INVALID_MANIFEST && error.column == 1);
    CHECK(cache.set(MC_OPT_TTL_MS, std::chrono::seconds(1), error) == MC_OK);
    CHECK(cache.stat(MC_STAT_TTL_MS) == 1000);
    CHECK(cache.set(MC_OPT_TTL_MS, -1, error) == MC_INVALID_ARGUMENT);
    CHECK(cache.stats().find("\"total_entries\":2") != std::string::npos);
}

TEST(an_id_with_a_nul_in_it_is_refused_by_every_function) {
    Cache cache;
    mc_error error;
    const std::string cut("sun\0day", 7);
    CHECK(cache.put("sun", SUN, error) == MC_OK);
    CHECK(!cache.get(cut, sun, error) && error.status == MC_INVALID_ARGUMENT);
    CHECK(cache.put(std::string_view(cut), SUN, error) == MC_INVALID_ARGUMENT);
    CHECK(!cache.look(cut) && cache.revision(cut) == 0 && !cache.clear(cut));
    CHECK(cache.look("sun").view() == SUN);
}

template <class... Arguments>
using begin_of = decltype(std::declval<Cache &>().begin(std::declval<Arguments>()...));
template <class Arguments, class = void> static constexpr bool can_begin = false;
template <class... Arguments>
static constexpr bool can_begin<void(Arguments...), std::void_t<begin_of<Arguments...>>> = true;
static_assert(can_begin<void(const char *, manifest_cache::Within, mc_error &)>);
static_assert(!can_begin<void(const char *)>, "nobody would be told of a failure");

TEST(a_load_begins_and_ends) {
    Cache cache;
    mc_error error;
    Begun begun = cache.begin("weather", {}, error);
    CHECK(begun.status == MC_BEGUN && begun.load && error.status == MC_OK);
    CHECK(cache.begin("weather", begun.load, error).status == MC_LOAD_CYCLE);
    CHECK(begun.load.json(SUN) == MC_OK && begun.load.end(error).view() == SUN && !begun.load);
    CHECK(!begun.load.end(error) && error.status == MC_INVALID_ARGUMENT);
    begun = cache.begin("weather", {}, error);
    CHECK(begun.status == MC_OK && begun.manifest.view() == SUN);
}

TEST(a_wait_is_told_of_a_load_that_ends_and_of_one_that_is_dropped) {
    Cache cache;
    mc_error error;
    int sun_calls = 0, failures = 0;
    auto done = [&sun_calls, &failures, text = std::make_unique<std::string>(SUN)](
                    Manifest manifest, const mc_error &told) {
        sun_calls += manifest.view() == *text;
        failures += told.status == MC_LOAD_FAILED;
    };
    BegunLoad load = cache.begin_async("weather", [](auto &&...) {}, {}, error).load;
    CHECK(load && load.json(SUN) == MC_OK);
    CHECK(cache.begin_async("weather", std::move(done), {}, error).status == MC_PENDING);
    CHECK(load.end(error) && sun_calls == 1);
    CHECK(cache.clear("weather"));
    load = cache.begin("weather", {}, error).load;
    const auto count = [&](Manifest, const mc_error &told) { failures += told.status != MC_OK; };
    CHECK(cache.begin_async("weather", count, {}, error).status == MC_PENDING);
    load = BegunLoad();
    CHECK(sun_calls == 1 && failures == 1);
}

TEST(r18_a_manifest_is_decoded_once) {
    Cache cache;
    mc_error error;
    int decodings = 0;
    const auto decode = [&](std::string_view text) { return decodings++, std::string(text); };
    const auto first = cache.get<std::string>("weather", sun, decode, error);
    const auto hit = cache.get<std::string>("weather", sun, decode, error);
    CHECK(error.status == MC_OK && &*hit == &*first && *hit == SUN && decodings == 1);
    const auto refuse = [](std::string_view, Load &load) {
        CHECK(load.json(SUN) == MC_OK && load.text() == SUN);
        load.fail(7, "no sun");
    };
    CHECK(!cache.get<std::string>("moon", refuse, decode, error) && error.code == 7);
    CHECK(!cache.get<int>("weather", sun, [](std::string_view) { return 1; }, error));
    CHECK(error.status == MC_INVALID_ARGUMENT && decodings == 1);
}
