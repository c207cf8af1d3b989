// Tests what include/manifest_cache.hpp has for loads that begin and end.

#include "loads.h"

#include "allocations.h"
#include "manifest_cache.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using manifest_cache::Begun;
using manifest_cache::BegunLoad;
using manifest_cache::Cache;
using manifest_cache::Error;
using manifest_cache::Load;
using manifest_cache::Manifest;
using manifest_cache::ttl_forever;
using manifest_cache::Within;
using std::chrono::hours;

static_assert(!std::is_copy_constructible_v<BegunLoad> && !std::is_copy_assignable_v<BegunLoad>);
static_assert(std::is_nothrow_move_constructible_v<BegunLoad>);
static_assert(std::is_nothrow_move_assignable_v<BegunLoad>);
static_assert(sizeof(BegunLoad) == sizeof(void *) && sizeof(Within) == sizeof(void *));
static_assert(!std::is_constructible_v<BegunLoad, mc_load *>); // adopt() says that it takes over

// Begins a load, which the cache must need.
static BegunLoad begin_load(Cache &cache, const char *id, Within within = {}) {
    Begun begun = cache.begin(id, within);
    CHECK(begun.status == MC_BEGUN && begun.load && !begun.manifest);
    return std::move(begun.load);
}

static bool has(Cache &cache, const char *id, std::string_view text) {
    return cache.look(id).view() == text;
}

TEST(a_load_is_answered_and_ended_and_then_a_hit_has_no_load) {
    Cache cache;
    Begun begun = cache.begin("weather");
    CHECK(begun.status == MC_BEGUN && begun.load && !begun.manifest);
    CHECK(begun.load.json(SUN) == MC_OK);
    const Manifest manifest = begun.load.end();
    CHECK(manifest.view() == SUN && !begun.load && begun.load.handle() == nullptr);

    const Begun hit = cache.begin("weather");
    CHECK(hit.status == MC_OK && !hit.load && hit.manifest.revision() == manifest.revision());
}

TEST(a_begun_load_can_be_answered_in_every_way_that_a_loader_has) {
    Cache cache(hours(1));
    cache.put("weather", OLD);
    cache.advance(hours(2));
    BegunLoad load = begin_load(cache, "weather");
    CHECK(load.cached() == OLD);
    load.ttl(ttl_forever);
    CHECK(load.file("no/such/file") == MC_NOT_FOUND);
    CHECK(load.directory("none", "plugin.json") == MC_NOT_FOUND);
    CHECK(load.unchanged() == MC_OK && load.end().view() == OLD);

    const auto answer = [](Load &answered) { answered.json(SUN); };
    load = begin_load(cache, "moon");
    answer(load); // what takes a Load & takes this one
    CHECK(load.end().view() == SUN);
}

TEST(a_failure_throws_an_error_or_fills_one) {
    Cache cache;
    mc_error error;
    BegunLoad load = begin_load(cache, "weather");
    load.fail(42, "no sun today");
    try {
        load.end();
        CHECK(false);
    } catch (const Error &failure) {
        CHECK(failure.status() == MC_LOAD_FAILED && failure.code() == 42);
        CHECK(strstr(failure.what(), "no sun today") != nullptr && !load);
    }
    load = begin_load(cache, "weather");
    load.not_found();
    CHECK(!load.end(error) && error.status == MC_NOT_FOUND && !load);
    CHECK(!load.end(error) && error.status == MC_INVALID_ARGUMENT);

    cache.set(MC_OPT_NEGATIVE_TTL_MS, hours(1));
    load = begin_load(cache, "weather");
    load.not_found();
    CHECK(!load.end(error));
    CHECK(cache.begin("weather", {}, error).status == MC_NOT_FOUND);
    CHECK(error.status == MC_NOT_FOUND);
    try {
        cache.begin("weather");
        CHECK(false);
    } catch (const Error &failure) {
        CHECK(failure.status() == MC_NOT_FOUND);
    }
}

TEST(a_stale_manifest_is_no_error_and_the_status_tells_it) {
    Cache cache(hours(1));
    mc_error error;
    cache.set(MC_OPT_STALE_IF_ERROR_MS, ttl_forever);
    cache.set(MC_OPT_RETRY_MS, ttl_forever);
    cache.put("weather", OLD);
    cache.advance(hours(2));
    BegunLoad load = begin_load(cache, "weather");
    load.fail(1, "no sun today");
    CHECK(load.end(error).view() == OLD && error.status == MC_STALE);
    const Begun stale = cache.begin("weather");
    CHECK(stale.status == MC_STALE && stale.manifest.view() == OLD);
}

TEST(a_load_that_is_dropped_fails_even_if_it_was_answered_and_its_message_says_why) {
    Cache cache;
    told waiting;
    {
        BegunLoad load = begin_load(cache, "weather");
        pends(cache.handle(), "weather", nullptr, &waiting);
        load.json(SUN);
    }
    CHECK(was_refused(&waiting, MC_LOAD_FAILED));
    CHECK(strstr(waiting.error.message, "dropped before it ended") != nullptr);
    CHECK(!cache.look("weather") && cache.stat(MC_STAT_LOAD_FAILURES) == 1);

    const auto throws = [&] {
        BegunLoad load = begin_load(cache, "weather");
        pends(cache.handle(), "weather", nullptr, &waiting);
        throw std::runtime_error("no sun today");
    };
    try {
        throws();
    } catch (const std::runtime_error &) {
    }
    CHECK(was_refused(&waiting, MC_LOAD_FAILED));
}

TEST(a_load_is_moved_and_assignment_fails_the_old_one) {
    Cache cache;
    mc_error error;
    BegunLoad one = begin_load(cache, "one"), other = begin_load(cache, "other");
    mc_load *const handle = one.handle();
    BegunLoad moved = std::move(one);
    CHECK(!one && moved.handle() == handle);
    other = std::move(moved);
    CHECK(!moved && other.handle() == handle && cache.stat(MC_STAT_LOAD_FAILURES) == 1);
    BegunLoad &same = other;
    other = std::move(same);
    CHECK(other.handle() == handle && other.json(SUN) == MC_OK && other.end().view() == SUN);

    BegunLoad none;
    CHECK(!none && none.json(SUN) == MC_INVALID_ARGUMENT && none.cached().data() == nullptr);
    none.not_found();
    none.fail(1, "nobody hears this");
    CHECK(!none.end(error) && error.status == MC_INVALID_ARGUMENT && none.release() == nullptr);
}

TEST(a_load_can_be_passed_to_c_and_back) {
    Cache cache;
    mc_load *load = begin_load(cache, "weather").release();
    mc_load_json(load, SUN, strlen(SUN));
    CHECK(BegunLoad::adopt(load).end().view() == SUN);
    load = begin_load(cache, "moon").release();
    CHECK(ends(load, RAIN) && has(cache, "moon", RAIN));
}

TEST(r9_cycles_are_found_within_a_load_and_within_the_loads_of_a_thread) {
    Cache cache, other;
    mc_error error;
    BegunLoad a = begin_load(cache, "a"), b = begin_load(other, "b", a);
    CHECK(cache.begin("a", b, error).status == MC_LOAD_CYCLE);
    CHECK(strstr(error.message, "a -> b -> a") != nullptr);
    b.json(SUN), b.end();
    a.json(SUN), a.end();

    CHECK(Within::thread().handle() == MC_THREAD && Within().handle() == nullptr);
    BegunLoad c = begin_load(cache, "c", Within::thread());
    CHECK(cache.begin("c", Within::thread(), error).status == MC_LOAD_CYCLE);
    const auto get_c = [&](std::string_view, Load &load) {
        CHECK(cache.begin("d", load, error).status == MC_LOAD_CYCLE);
        load.json(SUN);
    };
    CHECK(cache.get("d", get_c).view() == SUN);
    c.json(SUN), c.end();
}

// An outcome that was told.
struct Outcome {
    int calls = 0;
    Manifest manifest{};
    mc_error error{};

    void tell(Manifest told_manifest, const mc_error &told_error) {
        calls++;
        manifest = std::move(told_manifest);
        error = told_error;
    }
};

TEST(begin_async_tells_a_callable_when_the_load_ends) {
    Cache cache;
    Outcome outcome;
    BegunLoad load = begin_load(cache, "weather");
    const Begun pending =
        cache.begin_async("weather", [&](Manifest manifest, const mc_error &error) {
            outcome.tell(std::move(manifest), error);
        });
    CHECK(pending.status == MC_PENDING && !pending.load && !pending.manifest);
    CHECK(outcome.calls == 0);
    load.json(SUN);
    CHECK(load.end().revision() == outcome.manifest.revision());
    CHECK(outcome.calls == 1 && outcome.error.status == MC_OK);

    load = begin_load(cache, "moon");
    cache.begin_async("moon", [&](auto &&...told) { outcome.tell(std::move(told)...); });
    load = BegunLoad();
    CHECK(outcome.calls == 2 && !outcome.manifest && outcome.error.status == MC_LOAD_FAILED);
}

static int function_calls;

static void function(Manifest manifest, const mc_error &) {
    function_calls += manifest.view() == SUN;
}

static std::atomic<int> alive;

// Counts its copies, and is larger than a pointer.
struct Counted {
    int *calls;
    std::string large = std::string(100, 'x');
    Counted(int *calls) : calls(calls) { ++alive; }
    Counted(const Counted &other) : calls(other.calls), large(other.large) { ++alive; }
    ~Counted() { --alive; }
    void operator()(const Manifest &manifest, mc_error) { *calls += manifest.view() == SUN; }
};

TEST(a_callable_may_be_anything_and_is_destroyed_after_its_call) {
    Cache cache;
    Outcome outcome;
    int calls = 0;
    Counted counted(&calls);
    const Counted constant(&calls);
    std::function<void(Manifest, const mc_error &)> of_any_kind = counted;
    auto only_movable = [number = std::make_unique<int>(1), &calls](Manifest, const mc_error &) {
        calls += *number;
    };
    BegunLoad load = begin_load(cache, "weather");
    const auto wait = [&](auto &&done) {
        CHECK(cache.begin_async("weather", std::forward<decltype(done)>(done)).status ==
              MC_PENDING);
    };
    wait(function);
    wait(&function);
    wait(counted);
    wait(constant);
    wait(Counted(&calls));
    wait(of_any_kind);
    wait(std::move(only_movable));
    wait([](const Manifest &, const mc_error &) { function_calls++; });
    wait(std::bind(&Outcome::tell, &outcome, std::placeholders::_1, std::placeholders::_2));
    CHECK(alive == 7 && calls == 0 && function_calls == 0);
    load.json(SUN);
    load.end();
    CHECK(alive == 3 && calls == 5 && function_calls == 3 && outcome.calls == 1);
}

TEST(a_callable_that_need_not_wait_is_destroyed_at_once_and_not_called) {
    Cache cache;
    mc_error error;
    int calls = 0;
    const Counted counted(&calls);
    Begun begun = cache.begin_async("weather", counted);
    CHECK(begun.status == MC_BEGUN && begun.load && alive == 1);
    CHECK(cache.begin_async("weather", counted, begun.load, error).status == MC_LOAD_CYCLE);
    CHECK(error.status == MC_LOAD_CYCLE && alive == 1);
    try {
        cache.begin_async("weather", counted, begun.load);
        CHECK(false);
    } catch (const Error &cycle) {
        CHECK(cycle.status() == MC_LOAD_CYCLE);
    }
    begun.load.json(SUN);
    begun.load.end();
    CHECK(cache.begin_async("weather", counted).manifest.view() == SUN);
    CHECK(alive == 1 && calls == 0);
}

TEST(a_cache_that_is_destroyed_tells_the_callables_and_the_load_can_end_later) {
    Outcome outcome;
    BegunLoad load;
    {
        Cache cache;
        load = begin_load(cache, "weather");
        cache.begin_async("weather", [&](auto &&...told) { outcome.tell(std::move(told)...); });
    }
    CHECK(outcome.calls == 1 && outcome.error.status == MC_LOAD_FAILED);
    load.json(SUN);
    CHECK(load.end().view() == SUN);
}

TEST(a_wait_whose_time_is_over_is_told_so_in_a_purge) {
    Cache cache;
    int calls = 0;
    cache.set(MC_OPT_WAIT_MS, hours(1));
    BegunLoad load = begin_load(cache, "weather");
    cache.begin_async("weather", [&](Manifest manifest, const mc_error &error) {
        calls += !manifest && error.status == MC_TIMEOUT;
    });
    cache.advance(hours(1));
    cache.purge();
    CHECK(calls == 1);
    load.json(SUN);
    CHECK(load.end().view() == SUN && calls == 1);
}

TEST(an_id_with_a_nul_in_it_begins_no_load) {
    Cache cache;
    const std::string cut("sun\0day", 7);
    int refused_ids = 0;
    for (int n = 0; n < 2; n++) {
        try {
            n == 0 ? cache.begin(cut) : cache.begin_async(cut, function);
        } catch (const Error &error) {
            refused_ids += error.status() == MC_INVALID_ARGUMENT;
        }
    }
    CHECK(refused_ids == 2 && cache.stat(MC_STAT_LOADS) == 0);
}

TEST(r15_loads_end_on_other_threads_and_each_wait_is_told_once) {
    enum { ROUNDS = 500 };
    Cache cache(std::chrono::milliseconds(0));
    std::atomic<int> pending{0}, calls{0};
    std::vector<std::thread> threads;
    // Held until all have begun to wait, so that there are waits on any machine.
    BegunLoad held = begin_load(cache, "weather");
    cache.begin_async("weather", [&](Manifest, const mc_error &) { ++calls; });
    ++pending;
    for (int n = 0; n < 4; n++) {
        threads.emplace_back([&] {
            for (int i = 0; i < ROUNDS; i++) {
                Begun begun = cache.begin_async(
                    "weather",
                    [&calls, text = std::string(SUN)](Manifest manifest, const mc_error &) {
                        calls += manifest.view() == text;
                    });
                pending += begun.status == MC_PENDING;
                if (begun.load) {
                    begun.load.json(SUN);
                    begun.load.end();
                }
            }
        });
    }
    std::thread([load = std::move(held)]() mutable {
        load.json(SUN);
        load.end();
    }).join();
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(calls == pending);
}

TEST(r1_a_hit_allocates_nothing_if_the_callable_is_as_small_as_a_pointer) {
    CHECK(counting_allocations > 0);
    Cache cache;
    Outcome outcome;
    cache.put("weather", SUN);
    const auto hit = [&] {
        mc_error error;
        CHECK(cache.begin("weather").manifest);
        CHECK(cache.begin("weather", {}, error).manifest);
        CHECK(cache.begin_async("weather", function).manifest);
        CHECK(cache
                  .begin_async("weather",
                               [it = &outcome](Manifest manifest, const mc_error &told) {
                                   it->tell(std::move(manifest), told);
                               })
                  .manifest);
    };
    hit(); // the first hit of a thread allocates
    unsigned before = allocations;
    for (int n = 0; n < 1000; n++) {
        hit();
    }
    CHECK(allocations == before);
    int calls = 0;
    cache.begin_async("weather", Counted(&calls));
    CHECK(allocations > before && outcome.calls == 0);
}
