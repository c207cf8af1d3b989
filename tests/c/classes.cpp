// Tests the C++17 classes of include/manifest_cache.hpp.

#include "threads.h"

#include "allocations.h"
#include "manifest_cache.hpp"

#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

using manifest_cache::Cache;
using manifest_cache::Error;
using manifest_cache::Load;
using manifest_cache::Manifest;
using manifest_cache::ttl_forever;
using std::chrono::milliseconds;

#define MOON "{\"name\":\"Moon\"}"

static void sun(const char *, Load &load) {
    CHECK(load.json(SUN) == MC_OK);
}

static void unexpected(const char *, Load &) {
    CHECK(false);
}

static_assert(!std::is_copy_constructible_v<Cache> && !std::is_copy_assignable_v<Cache>);
static_assert(!std::is_copy_constructible_v<Manifest> && !std::is_copy_assignable_v<Manifest>);
static_assert(std::is_nothrow_move_constructible_v<Cache>);
static_assert(std::is_nothrow_move_assignable_v<Cache>);
static_assert(std::is_nothrow_move_constructible_v<Manifest>);
static_assert(std::is_nothrow_move_assignable_v<Manifest>);
static_assert(sizeof(Cache) == sizeof(void *) && sizeof(Manifest) == sizeof(void *));

TEST(a_manifest_owns_its_text) {
    Manifest manifest;
    CHECK(!manifest && manifest.view().empty() && manifest.c_str() == nullptr);
    CHECK(manifest.size() == 0 && manifest.revision() == 0);
    {
        Cache cache;
        manifest = cache.get("weather", sun);
    }
    CHECK(manifest && manifest.view() == SUN && manifest.size() == strlen(SUN));
    CHECK(manifest.c_str()[manifest.size()] == '\0' && manifest.revision() != 0);

    Manifest moved = std::move(manifest);
    CHECK(!manifest && moved.view() == SUN);
    mc_string_free(moved.release());
    CHECK(!moved);
}

TEST(assignment_frees_the_old_value) {
    Cache cache, other(ttl_forever);
    Manifest manifest = cache.get("weather", sun);
    manifest = cache.get("moon", [](auto, Load &load) { load.json(MOON); });
    CHECK(manifest.view() == MOON);
    cache = std::move(other);
    CHECK(cache.stat(MC_STAT_TOTAL_ENTRIES) == 0 && cache.stat(MC_STAT_TTL_MS) == MC_TTL_FOREVER);
    other = Cache(milliseconds(5));
    CHECK(other.stat(MC_STAT_TTL_MS) == 5);
}

static int calls;

struct counting {
    std::unique_ptr<int> only_movable = std::make_unique<int>(0);
    void operator()(std::string_view id, Load &load) {
        ++calls;
        CHECK(id == "weather");
        sun(nullptr, load);
    }
    void member(const std::string &, Load &load) { ++calls, sun(nullptr, load); }
};

TEST(a_loader_can_be_anything_callable) {
    Cache cache(milliseconds(0)); // so that each loader is called
    counting object;
    const auto answers = [](std::string_view, Load load) { return ++calls, load.json(SUN); };
    std::function<void(const std::string &, Load &)> function = answers;

    CHECK(cache.get("weather", object).view() == SUN);
    CHECK(cache.get("weather", counting()).view() == SUN);
    CHECK(cache.get("weather", answers).view() == SUN);
    CHECK(cache.get("weather", function).view() == SUN);
    CHECK(cache.get("weather", std::move(function)).view() == SUN);
    CHECK(cache
              .get("weather", std::bind(&counting::member, &object, std::placeholders::_1,
                                        std::placeholders::_2))
              .view() == SUN);
    CHECK(calls == 6);
    CHECK(cache.get("weather", sun).view() == SUN);
    CHECK(cache.get("weather", &sun).view() == SUN);
}

TEST(a_generic_loader_compares_ids_by_their_text) {
    Cache cache;
    const std::string id = "weather";
    const Manifest manifest = cache.get(
        id, [](auto plugin_id, Load &load) { load.json(plugin_id == "weather" ? SUN : MOON); });
    CHECK(manifest.view() == SUN);
}

TEST(ids_and_paths_can_be_any_kind_of_string) {
    Cache cache;
    const std::string_view texts = "sun, moon";
    const std::string long_id(1000, 'x');
    cache.put(texts.substr(0, 3), SUN);
    cache.put(std::string_view(long_id), MOON);
    CHECK(cache.look("sun").view() == SUN && !cache.look(texts));
    CHECK(cache.look(long_id).view() == MOON && cache.look(std::string_view(long_id)));
    for (size_t length : {126, 127, 128, 129}) {
        const std::string id(length, 'y');
        cache.put(std::string_view(id), SUN);
        CHECK(cache.look(id).view() == SUN);
    }
    mc_error error;
    cache.get(
        "stars", [](auto, Load &load) { load.directory(std::filesystem::path("no") / "where"); },
        error);
    CHECK(error.status == MC_NOT_FOUND && strstr(error.message, "no/where/stars") != nullptr);
}

static_assert(
    !std::is_convertible_v<Manifest, std::string_view>); // the string would be freed at once
static_assert(std::is_convertible_v<Manifest &, std::string_view>);
static_assert(!std::is_constructible_v<Manifest, const char *>); // the text would be freed

TEST(r1_a_hit_does_not_call_the_loader) {
    Cache cache;
    CHECK(cache.get("weather", sun).revision() == cache.get("weather", unexpected).revision());
    CHECK(cache.stat(MC_STAT_HITS) == 1);
}

TEST(a_failure_throws_an_error_with_its_status_line_and_column) {
    Cache cache;
    try {
        cache.get("weather", [](auto, Load &load) {
            CHECK(load.json("{\n  \"name\": Sun}") == MC_INVALID_MANIFEST);
        });
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == MC_INVALID_MANIFEST && error.code() == 0);
        CHECK(error.line() == 2 && error.column() == 11);
        CHECK(strstr(error.what(), "weather") != nullptr);
    }
    try {
        cache.get("weather", [](auto, Load &load) { load.fail(42, "no sun today"); });
        CHECK(false);
    } catch (const std::runtime_error &error) {
        CHECK(dynamic_cast<const Error &>(error).status() == MC_LOAD_FAILED);
        CHECK(dynamic_cast<const Error &>(error).code() == 42);
        CHECK(strstr(error.what(), "no sun today") != nullptr);
    }
}

TEST(an_mc_error_is_filled_instead_of_throwing) {
    Cache cache;
    mc_error error;
    CHECK(!cache.get("weather", [](auto, Load &load) { load.not_found(); }, error));
    CHECK(error.status == MC_NOT_FOUND);
    CHECK(cache.get("weather", sun, error) && error.status == MC_OK);

    cache.set(MC_OPT_STALE_IF_ERROR_MS, ttl_forever);
    put_expired(cache.handle(), "weather", MOON);
    const Manifest stale = cache.get("weather", [](auto, Load &) {}, error);
    CHECK(stale.view() == MOON && error.status == MC_STALE);
}

struct broken : std::exception {
    int number = 42;
};

TEST(a_call_that_may_throw_can_fill_an_error_instead) {
    Cache cache;
    mc_error error;
    memset(&error, 0xAA, sizeof error);
    CHECK(cache.put("sun", SUN, error) == MC_OK && error.status == MC_OK);
    CHECK(cache.put("moon", "{]", error) == MC_INVALID_MANIFEST && error.column == 2);
    CHECK(cache.set(MC_OPT_TTL_MS, 5, error) == MC_OK && error.status == MC_OK);
    CHECK(error.message[0] == '\0' && cache.stat(MC_STAT_TTL_MS) == 5);
    CHECK(cache.set(MC_OPT_TTL_MS, -1, error) == MC_INVALID_ARGUMENT);
    CHECK(error.status == MC_INVALID_ARGUMENT && strstr(error.message, "cannot be -1"));
}

TEST(r11_what_a_loader_throws_passes_through_unchanged) {
    Cache cache;
    mc_error error;
    const auto throws = [](auto, Load &) { throw broken(); };
    for (int n = 0; n < 1000; n++) {
        try {
            if (n % 2 == 0)
                cache.get("weather", throws);
            else
                cache.get("weather", throws, error);
            CHECK(false);
        } catch (const broken &exception) {
            CHECK(exception.number == 42);
        }
    }
    CHECK(cache.stat(MC_STAT_LOAD_FAILURES) == 1000);
    CHECK(cache.get("weather", sun).view() == SUN);

    bool caught = false;
    try {
        cache.get("none", std::function<void(const char *, Load &)>());
    } catch (const std::bad_function_call &) {
        caught = true;
    }
    CHECK(caught);
}

// The error is filled, as it is not when an exception passes through the C function.
TEST(r11_an_exception_ends_the_load_with_what_it_says) {
    Cache cache;
    mc_error error;
    const auto failure_of = [&](auto loader) {
        memset(&error, 0xAA, sizeof error);
        try {
            cache.get("weather", loader, error);
            CHECK(false);
        } catch (...) {
        }
        CHECK(error.status == MC_LOAD_FAILED && strstr(error.message, "weather") != nullptr);
        return std::string(error.message);
    };
    const std::string said = failure_of([](auto, Load &load) {
        sun(nullptr, load);
        throw std::runtime_error("no sun today");
    });
    CHECK(said.find("no sun today") != std::string::npos);
    CHECK(failure_of([](auto, Load &) { throw 42; }).find("exception") != std::string::npos);
    CHECK(cache.stat(MC_STAT_TOTAL_ENTRIES) == 0 && cache.stat(MC_STAT_LOAD_FAILURES) == 2);
}

struct call_of_the_classes : call {
    Cache *classes;
};

static void *get_and_catch(void *argument) {
    auto *it = static_cast<call_of_the_classes *>(static_cast<call *>(argument));
    step(&it->begun);
    try {
        it->classes->get(it->plugin_id, [it](auto, Load &) {
            hold(it);
            throw std::runtime_error("no sun today");
        });
        CHECK(false);
    } catch (const std::runtime_error &error) {
        CHECK(strcmp(error.what(), "no sun today") == 0);
    }
    return nullptr;
}

TEST(r11_who_waits_reads_what_the_exception_says) {
    Cache cache;
    call_of_the_classes throwing;
    call waiting;
    throwing.classes = &cache;
    do {
        begin_on(get_and_catch, &throwing, cache.handle(), "weather", nullptr);
        await(&throwing.begun, 2);
    } while (!shared(&throwing, &waiting));
    CHECK(waiting.manifest == nullptr && waiting.error.status == MC_LOAD_FAILED);
    CHECK(strstr(waiting.error.message, "no sun today") != nullptr);
}

TEST(r11_an_exception_is_thrown_although_an_expired_manifest_may_be_returned) {
    Cache cache;
    mc_error error;
    cache.set(MC_OPT_STALE_IF_ERROR_MS, ttl_forever);
    cache.set(MC_OPT_RETRY_MS, ttl_forever);
    put_expired(cache.handle(), "weather", SUN);
    try {
        cache.get("weather", [](auto, Load &) { throw std::runtime_error("no sun today"); }, error);
        CHECK(false);
    } catch (const std::runtime_error &exception) {
        CHECK(strcmp(exception.what(), "no sun today") == 0);
    }
    CHECK(error.status == MC_STALE && strstr(error.message, "no sun today") != nullptr);
    CHECK(cache.get("weather", unexpected, error).view() == SUN && error.status == MC_STALE);
}

TEST(r11_an_exception_passes_through_nested_gets) {
    Cache cache;
    const auto outer = [&](auto, Load &load) {
        load.json(cache.get("inner", [](auto, Load &) { throw broken(); }).view());
    };
    try {
        cache.get("outer", outer);
        CHECK(false);
    } catch (const broken &exception) {
        CHECK(exception.number == 42);
    }
    CHECK(cache.stat(MC_STAT_LOAD_FAILURES) == 2);
    CHECK(cache.get("inner", sun) && cache.get("outer", outer).view() == SUN);
}

TEST(r9_loaders_may_get_other_plugins_and_a_cycle_is_an_error) {
    Cache cache;
    std::function<void(const std::string &, Load &)> load;
    load = [&](const std::string &id, Load &answer) {
        answer.json(cache.get(id == "a" ? "b" : "a", load).view());
    };
    try {
        cache.get("a", load);
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == MC_LOAD_CYCLE && strstr(error.what(), "a -> b -> a") != nullptr);
    }
    const Manifest outer = cache.get(
        "outer", [&](auto, Load &answer) { answer.json(cache.get("inner", sun).view()); });
    CHECK(outer.view() == SUN);
}

TEST(an_id_that_contains_a_nul_is_refused) {
    Cache cache;
    cache.put("sun", SUN);
    const std::string cut("sun\0day", 7);
    int refused = 0;
    const auto refuses = [&](auto call) {
        try {
            call();
        } catch (const Error &error) {
            refused += error.status() == MC_INVALID_ARGUMENT;
        }
    };
    refuses([&] { cache.get(cut, sun); });
    refuses([&] { cache.look(cut); });
    refuses([&] { cache.clear(cut); });
    refuses([&] { cache.put(cut, MOON); });
    refuses([&] { cache.revision(std::string_view(cut)); });
    refuses([&] { cache.get(std::string("\xff"), sun); });
    const char *null = nullptr;
    refuses([&] { cache.get(null, sun); });
    CHECK(refused == 7);
    CHECK(!cache.clear(null) && !cache.look(null) && cache.look("sun").view() == SUN);
}

TEST(each_other_method_does_what_its_c_function_does) {
    Cache cache(milliseconds(-1));
    CHECK(cache.stat(MC_STAT_TTL_MS) == 0);
    cache.set(MC_OPT_TTL_MS, std::chrono::hours(1));
    CHECK(cache.stat(MC_STAT_TTL_MS) == 3600000);
    cache.put("sun", SUN);
    cache.put(std::string("moon"), std::string(MOON));
    CHECK(cache.look("sun").revision() == cache.revision("sun"));
    CHECK(cache.entries().find("\"moon\"") != std::string::npos);
    CHECK(cache.stats().find("\"total_entries\":2") != std::string::npos);
    CHECK(cache.purge() == 0);
    CHECK(cache.clear("sun") && !cache.clear("sun") && !cache.look("sun"));
    cache.advance(std::chrono::hours(2));
    CHECK(cache.purge() == 1 && cache.clear() == 0);
    int refused = 0;
    try {
        cache.put("sun", "[]");
    } catch (const Error &error) {
        refused += error.status() == MC_INVALID_MANIFEST && error.column() == 1;
    }
    try {
        cache.set(1000, 1);
    } catch (const Error &error) {
        refused += error.status() == MC_INVALID_ARGUMENT;
    }
    CHECK(refused == 2);
}

template <class Value>
using set_to = decltype(std::declval<Cache &>().set(MC_OPT_TTL_MS, std::declval<Value>()));

template <class Value, class = void> static constexpr bool can_set = false;
template <class Value> static constexpr bool can_set<Value, std::void_t<set_to<Value>>> = true;

static_assert(can_set<int> && can_set<unsigned char> && can_set<std::uint64_t>);
static_assert(can_set<std::chrono::hours> && can_set<std::chrono::duration<int, std::ratio<7>>>);
static_assert(!can_set<bool> && !can_set<float> && !can_set<double> && !can_set<const char *>);
static_assert(!can_set<std::chrono::duration<double>> && !can_set<std::chrono::microseconds>);

TEST(an_option_is_never_set_to_a_negative_value) {
    Cache cache(milliseconds(5));
    const auto refusal = [&](auto value) {
        try {
            cache.set(MC_OPT_TTL_MS, value);
        } catch (const Error &error) {
            CHECK(error.status() == MC_INVALID_ARGUMENT);
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(refusal(-1).find("cannot be -1") != std::string::npos);
    CHECK(refusal(INT64_MIN).find("cannot be -9223372036854775808") != std::string::npos);
    CHECK(refusal(static_cast<signed char>(-7)).find("cannot be -7") != std::string::npos);
    CHECK(refusal(std::chrono::seconds(-1)).find("cannot be -1000") != std::string::npos);
    CHECK(cache.stat(MC_STAT_TTL_MS) == 5);
    CHECK(refusal(0).empty() && cache.stat(MC_STAT_TTL_MS) == 0);
    CHECK(refusal(UINT64_MAX - 1).empty() && cache.stat(MC_STAT_TTL_MS) == UINT64_MAX - 1);
    CHECK(refusal(ttl_forever).empty() && cache.stat(MC_STAT_TTL_MS) == MC_TTL_FOREVER);
}

TEST(an_empty_view_is_an_empty_text) {
    Cache cache;
    mc_error error;
    const std::string_view empty;
    cache.put("a", empty, error);
    CHECK(error.status == MC_INVALID_MANIFEST &&
          strstr(error.message, "the text is empty") != nullptr);
    cache.get("a", [&](auto, Load &load) { load.json(empty); }, error);
    CHECK(error.status == MC_INVALID_MANIFEST &&
          strstr(error.message, "the text is empty") != nullptr);
    cache.put(empty, SUN);
    CHECK(cache.look("").view() == SUN);
}

TEST(a_load_can_be_answered_in_every_way) {
    Cache cache;
    put_expired(cache.handle(), "weather", SUN);
    const Manifest kept = cache.get("weather", [](auto, Load &load) {
        CHECK(load.cached() == SUN);
        load.ttl(ttl_forever);
        CHECK(load.unchanged() == MC_OK);
    });
    CHECK(kept.view() == SUN && cache.stat(MC_STAT_UNCHANGED) == 1);
    mc_error error;
    cache.get(
        "moon",
        [](auto, Load &load) {
            CHECK(load.cached().data() == nullptr && load.unchanged() == MC_INVALID_ARGUMENT);
            CHECK(load.file("no/such/file") == MC_NOT_FOUND);
            CHECK(load.directory(std::string("none")) == MC_NOT_FOUND);
            CHECK(load.directory("none", std::string_view("plugin.json")) == MC_NOT_FOUND);
            CHECK(load.directory("none", "a/plugin.json") == MC_INVALID_ARGUMENT);
            CHECK(mc_load_json(load.handle(), MOON, strlen(MOON)) == MC_OK);
            CHECK(load.json("[]") == MC_INVALID_MANIFEST);
        },
        error);
    CHECK(error.status == MC_INVALID_MANIFEST);
}

TEST(a_logger_can_be_anything_callable) {
    std::string messages;
    const auto logger = [&messages](std::int32_t level, const char *message) {
        messages += std::to_string(level) + message;
    };
    Cache cache;
    cache.set_logger(logger, MC_LOG_INFO);
    cache.clear();
    CHECK(messages.find("3Cleared") == 0);
    messages.clear();
    cache.no_logger();
    cache.clear();
    CHECK(messages.empty());
}

static int calls_of_logger;

static void count_call(std::int32_t, const char *) {
    calls_of_logger++;
}

TEST(a_logger_can_be_a_function) {
    Cache cache;
    cache.set_logger(count_call, MC_LOG_INFO);
    cache.clear();
    CHECK(calls_of_logger == 1);
}

TEST(r1_a_hit_allocates_nothing) {
    CHECK(counting_allocations > 0);
    Cache cache;
    const std::string id = "a plugin with an id that no short string holds", large(100000, ' ');
    cache.put(id, "{\"a\":1" + large + "}");
    cache.put("weather", SUN);
    const auto hit = [&] {
        mc_error error;
        CHECK(cache.get(id, unexpected).size() == large.size() + 7);
        CHECK(cache.get("weather", [&](std::string_view, Load &) { CHECK(large.empty()); }, error));
        CHECK(cache.look(id) && cache.revision(std::string_view(id)) != 0);
    };
    hit(); // the first hit of a thread allocates
    unsigned before = allocations;
    for (int n = 0; n < 1000; n++) {
        hit();
    }
    CHECK(allocations == before);
    std::make_unique<std::string>(large).reset();
    CHECK(allocations > before);
}

TEST(r15_threads_share_a_cache) {
    Cache cache;
    std::atomic<int> loads = 0;
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; n++) {
        threads.emplace_back([&] {
            for (int i = 0; i < 1000; i++) {
                const std::string id = std::to_string(i);
                const auto load = [&](auto, Load &load) { ++loads, load.json(SUN); };
                CHECK(cache.get(id, load).view() == SUN);
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(loads == 1000 && cache.stat(MC_STAT_LOADS) == 1000);
}
