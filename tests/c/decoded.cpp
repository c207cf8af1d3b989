// Tests Cache::get<T>() of include/manifest_cache.hpp: manifests that are decoded once (R18).

#include "threads.h"

#include "allocations.h"
#include "manifest_cache.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

using manifest_cache::Begun;
using manifest_cache::Cache;
using manifest_cache::Decoded;
using manifest_cache::Error;
using manifest_cache::Load;
using manifest_cache::Manifest;
using std::chrono::milliseconds;

#define MOON "{\"name\":\"Moon\"}"

static std::atomic<int> alive, decodings;

// What a host makes of a manifest. It can be neither copied nor moved.
struct Plugin {
    explicit Plugin(std::string_view text) : name(text.substr(9, text.size() - 11)) {
        alive++;
        decodings++;
    }
    Plugin(const Plugin &) = delete;
    ~Plugin() { alive--; }
    std::string name;
};

static Plugin decode(std::string_view text) {
    return Plugin(text);
}

static Plugin decode_never(std::string_view text) {
    CHECK(false);
    return Plugin(text);
}

static void sun(const char *, Load &load) {
    CHECK(load.json(SUN) == MC_OK);
}

static void unexpected(const char *, Load &) {
    CHECK(false);
}

static std::string name_of(const Plugin &plugin) {
    return plugin.name;
}

static_assert(!std::is_copy_constructible_v<Decoded<int>>);
static_assert(std::is_nothrow_move_constructible_v<Decoded<int>>);
static_assert(std::is_nothrow_move_assignable_v<Decoded<int>>);
static_assert(std::is_convertible_v<Decoded<Plugin> &, const Plugin &>);
static_assert(!std::is_convertible_v<Decoded<Plugin>, const Plugin &>); // it would be freed at once

TEST(r18_a_manifest_is_decoded_once_and_is_a_reference_to_its_value) {
    Decoded<Plugin> kept;
    CHECK(!kept && kept.revision() == 0 && kept.text().empty() && !kept.is_stale());
    {
        Cache cache;
        const auto loaded = cache.get<Plugin>("weather", sun, decode);
        const auto hit = cache.get<Plugin>("weather", unexpected, decode_never);
        CHECK(loaded && loaded->name == "Sun" && (*loaded).name == "Sun" && name_of(hit) == "Sun");
        CHECK(&*loaded == &*hit && decodings == 1);
        CHECK(hit.text() == SUN && !hit.is_stale());
        CHECK(hit.revision() != 0 && hit.revision() == cache.revision("weather"));
        CHECK(hit.manifest().value<Plugin>() == &*hit);
        CHECK(cache.get<Plugin>("weather", unexpected, decode_never)->name == "Sun");
        kept = cache.get<Plugin>("weather", unexpected, decode_never);
    }
    CHECK(kept->name == "Sun" && alive == 1);
    Decoded<Plugin> moved = std::move(kept);
    CHECK(!kept && moved->name == "Sun" && alive == 1);
    moved = Decoded<Plugin>();
    CHECK(alive == 0);
}

TEST(r18_a_manifest_that_was_put_is_decoded_by_the_first_who_asks) {
    Cache cache;
    cache.put("weather", SUN);
    const auto first = cache.get<Plugin>("weather", unexpected, decode);
    const auto second = cache.get<Plugin>("weather", unexpected, decode_never);
    CHECK(&*first == &*second && decodings == 1);
    cache.put("weather", MOON);
    CHECK(cache.get<Plugin>("weather", unexpected, decode)->name == "Moon");
    CHECK(first->name == "Sun" && alive == 2);
}

TEST(r18_decode_can_be_anything_callable_and_return_what_a_value_can_be_made_of) {
    Cache cache;
    const auto owner = std::make_unique<int>(5);
    const auto length = [&owner](std::string_view text) { return int(text.size()) + *owner; };
    CHECK(*cache.get<long>("long", sun, length).operator->() == 14 + 5);
    std::function<std::string(std::string_view)> copy = [](std::string_view text) {
        return std::string(text);
    };
    const auto text = cache.get<std::string>("string", sun, copy);
    CHECK(*text == SUN && text->size() == 14);
    const auto load = [](std::string_view id, Load &load) {
        CHECK(id == "pointer" && load.json(SUN) == MC_OK);
    };
    const auto own = [](std::string_view text) { return std::make_unique<Plugin>(text); };
    CHECK((*cache.get<std::unique_ptr<Plugin>>("pointer", load, own).operator->())->name == "Sun");
}

TEST(r18_a_value_of_another_type_is_an_invalid_argument) {
    Cache cache;
    const auto number = [](std::string_view) { return 1; };
    const auto plugin = cache.get<Plugin>("weather", sun, decode);
    mc_error error;
    CHECK(!cache.get<int>("weather", unexpected, number, error));
    CHECK(error.status == MC_INVALID_ARGUMENT && strstr(error.message, "\"weather\"") != nullptr);
    CHECK(plugin.manifest().value<int>() == nullptr);
    try {
        cache.get<int>("weather", unexpected, number);
        CHECK(false);
    } catch (const Error &thrown) {
        CHECK(thrown.status() == MC_INVALID_ARGUMENT);
    }
    CHECK(plugin->name == "Sun" && alive == 1);
}

struct refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

static Plugin refuse(std::string_view) {
    throw refused("there is no sun today");
}

TEST(r18_what_decode_throws_fails_the_load_and_reaches_the_caller) {
    Cache cache;
    for (int attempt = 1; attempt <= 2; attempt++) {
        try {
            cache.get<Plugin>("weather", sun, refuse);
            CHECK(false);
        } catch (const refused &error) {
            CHECK(std::string_view(error.what()) == "there is no sun today");
        }
        CHECK(cache.stat(MC_STAT_LOAD_FAILURES) == unsigned(attempt) && !cache.look("weather"));
    }
    CHECK(cache.get<Plugin>("weather", sun, decode)->name == "Sun");
}

TEST(r18_what_decode_throws_after_a_put_reaches_the_caller_and_the_manifest_stays) {
    Cache cache;
    cache.put("weather", SUN);
    try {
        cache.get<Plugin>("weather", unexpected, refuse);
        CHECK(false);
    } catch (const refused &) {
    }
    CHECK(cache.get<Plugin>("weather", unexpected, decode)->name == "Sun");
}

TEST(r18_with_stale_if_error_the_last_good_value_stays_when_decode_or_the_loader_refuses) {
    Cache cache(milliseconds(1000));
    cache.set(MC_OPT_STALE_IF_ERROR_MS, milliseconds(HOUR));
    cache.set(MC_OPT_RETRY_MS, 0);
    const auto good = cache.get<Plugin>("weather", sun, decode);
    const auto check = [](std::string_view, Load &load) {
        CHECK(load.json(MOON) == MC_OK && load.text() == MOON);
        load.fail(5, "a moon is no sun");
        CHECK(load.text().data() == nullptr);
    };
    cache.advance(milliseconds(2000));
    mc_error error;
    const auto stale = cache.get<Plugin>("weather", check, decode_never, error);
    CHECK(error.status == MC_STALE && error.code == 5 && stale.is_stale());
    CHECK(&*stale == &*good && stale.revision() == good.revision());
    CHECK(cache.get<Plugin>("weather", check, decode_never).is_stale());
    // An exception reaches the caller as that of a loader does, and the manifest stays as well.
    try {
        cache.get<Plugin>("weather", sun, refuse, error);
        CHECK(false);
    } catch (const refused &) {
        CHECK(error.status == MC_STALE && strstr(error.message, "no sun today") != nullptr);
    }
    CHECK(&*cache.get<Plugin>("weather", check, decode_never).operator->() == &*good);
    CHECK(decodings == 1);
}

TEST(r18_a_manifest_that_is_found_unchanged_is_not_decoded_again) {
    Cache cache(milliseconds(1000));
    const auto first = cache.get<Plugin>("weather", sun, decode);
    cache.advance(milliseconds(2000));
    const auto unchanged = [](std::string_view, Load &load) { CHECK(load.unchanged() == MC_OK); };
    const auto second = cache.get<Plugin>("weather", unchanged, decode_never);
    CHECK(&*first == &*second && cache.stat(MC_STAT_UNCHANGED) == 1);
}

TEST(r18_callers_that_wait_for_a_load_share_its_value) {
    Cache cache;
    std::atomic<int> asked = 0;
    std::vector<std::thread> threads;
    std::vector<Decoded<Plugin>> got(4);
    for (Decoded<Plugin> &mine : got) {
        threads.emplace_back([&] {
            asked++;
            const auto last = [&](std::string_view, Load &load) {
                // Some of the others wait by now, or they hit later.
                while (asked < 4)
                    std::this_thread::yield();
                load.json(SUN);
            };
            mine = cache.get<Plugin>("weather", last, decode);
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    for (const Decoded<Plugin> &mine : got)
        CHECK(&*mine == &*got[0]);
    CHECK(decodings == 1 && cache.stat(MC_STAT_LOADS) == 1);
}

TEST(r18_a_load_that_was_begun_is_given_its_value) {
    Cache cache;
    Begun begun = cache.begin("weather");
    CHECK(begun.load.text().data() == nullptr && begun.load.value(1) == MC_INVALID_ARGUMENT);
    CHECK(begun.load.json(SUN) == MC_OK && !begun.load.has_value<std::string>());
    CHECK(begun.load.value(std::string(begun.load.text())) == MC_OK);
    CHECK(begun.load.has_value<std::string>() && !begun.load.has_value<Plugin>());
    const Decoded<std::string> decoded(begun.load.end());
    CHECK(*decoded == SUN && !Decoded<Plugin>(cache.look("weather")));
}

TEST(r1_a_hit_of_a_decoded_manifest_allocates_nothing) {
    CHECK(counting_allocations > 0);
    Cache cache;
    const std::string id = "a plugin with an id that no short string holds";
    const auto load = [](std::string_view, Load &load) { load.json(SUN); };
    const auto first = cache.get<Plugin>(id, load, decode);
    cache.get<Plugin>(id, unexpected, decode_never); // the first hit of a thread allocates
    const unsigned before = allocations;
    mc_error error;
    for (int n = 0; n < 1000; n++) {
        CHECK(&*cache.get<Plugin>(id, load, decode).operator->() == &*first);
        CHECK(cache.get<Plugin>(id, unexpected, decode_never, error)->name == "Sun");
    }
    CHECK(allocations == before);
    std::make_unique<std::string>(id).reset();
    CHECK(allocations > before);
}

TEST(r18_threads_that_get_clear_and_put_destroy_every_value_once) {
    {
        Cache cache;
        std::vector<std::thread> threads;
        for (int n = 0; n < 4; n++) {
            threads.emplace_back([&, n] {
                for (int i = 0; i < 3000; i++) {
                    const std::string id(1, char('a' + (i + n) % 3));
                    const auto plugin = cache.get<Plugin>(id, sun, decode);
                    CHECK(plugin->name == "Sun" || plugin->name == "Moon");
                    if (i % 7 == n)
                        cache.clear(id);
                    if (i % 11 == n)
                        cache.put(id, MOON);
                }
            });
        }
        for (std::thread &thread : threads)
            thread.join();
    }
    CHECK(alive == 0 && decodings > 4);
}
