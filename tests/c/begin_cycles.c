/* R9 with loads that begin and end: within which load each call is made, and the cycles of that. */

#define _GNU_SOURCE

#include "loads.h"

/* Whether an error is a cycle with this chain. */
static int is_cycle(mc_error error, const char *chain) {
    char expected[64];
    snprintf(expected, sizeof expected, ": %s;", chain);
    if (error.status != MC_LOAD_CYCLE || strstr(error.message, expected) == NULL) {
        fprintf(stderr, "got %d, %s\n", error.status, error.message);
        return 0;
    }
    return 1;
}

TEST(r9_a_begin_within_a_load_of_the_same_plugin_is_a_cycle_even_after_a_clear) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL);
    CHECK(is_cycle(refused(cache, "a", a), "a -> a"));
    mc_clear(cache, NULL);
    CHECK(is_cycle(refused(cache, "a", a), "a -> a"));
    CHECK(ends(a, SUN));
    CHECK(ends(begun(cache, "a", NULL), SUN));
    mc_free(cache);
}

TEST(r9_a_cycle_of_nested_loads_names_the_plugins_in_it_and_no_others) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *x = begun(cache, "x", NULL), *a = begun(cache, "a", x);
    mc_load *b = begun(cache, "b", a), *c = begun(cache, "c", b);
    CHECK(is_cycle(refused(cache, "a", c), "a -> b -> c -> a"));
    CHECK(mc_stat(cache, MC_STAT_MISSES) == 5 && mc_stat(cache, MC_STAT_LOADS) == 4);
    CHECK(ends(c, SUN) && ends(b, SUN) && ends(a, SUN) && ends(x, SUN));
    mc_free(cache);
}

TEST(r9_a_cycle_of_tasks_is_told_to_the_call_that_would_close_it) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", NULL),
            *c = begun(cache, "c", NULL);
    mc_error error;
    told of_b, of_c;
    pends(cache, "b", a, &of_b);
    pends(cache, "c", b, &of_c);
    CHECK(is_cycle(refused(cache, "a", c), "a -> b -> c -> a"));
    at_once(cache, "a", c, MC_LOAD_CYCLE, NULL, &error);
    CHECK(is_cycle(error, "a -> b -> c -> a"));
    CHECK(ends(c, SUN) && was_told(&of_c, SUN));
    CHECK(ends(b, RAIN) && was_told(&of_b, RAIN) && ends(a, SUN));
    mc_free(cache);
}

TEST(r9_a_load_that_waits_for_several_is_in_the_cycles_of_all) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", a), *c = begun(cache, "c", a);
    mc_load *d = begun(cache, "d", NULL);
    told of_d;
    pends(cache, "d", a, &of_d);
    CHECK(is_cycle(refused(cache, "a", b), "a -> b -> a"));
    CHECK(is_cycle(refused(cache, "a", c), "a -> c -> a"));
    CHECK(is_cycle(refused(cache, "a", d), "a -> d -> a"));
    told of_c;
    pends(cache, "c", b, &of_c); /* which is no cycle: b waits for c, and a for both */
    CHECK(ends(c, SUN) && ends(d, SUN) && ends(b, SUN) && ends(a, SUN));
    CHECK(was_told(&of_c, SUN) && was_told(&of_d, SUN));
    mc_free(cache);
}

TEST(r9_a_call_within_no_load_closes_no_cycle) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", a);
    told of_a;
    pends(cache, "a", NULL, &of_a);
    CHECK(ends(b, SUN) && ends(a, SUN) && was_told(&of_a, SUN));
    mc_free(cache);
}

TEST(r9_after_the_end_of_a_load_its_cycle_is_over) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", a);
    CHECK(is_cycle(refused(cache, "a", b), "a -> b -> a"));
    mc_clear(cache, NULL);
    CHECK(ends(a, SUN));
    CHECK(ends(begun(cache, "a", b), SUN) && ends(b, SUN));
    mc_free(cache);
}

TEST(r9_a_cycle_over_two_caches_is_found_but_one_id_in_two_caches_is_none) {
    mc_cache *one = mc_new(MC_TTL_FOREVER), *other = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(one, "a", NULL), *b = begun(other, "b", a), *also_a = begun(other, "a", b);
    CHECK(is_cycle(refused(one, "a", also_a), "a -> b -> a -> a"));
    mc_load *c = begun(other, "c", NULL);
    told of_c;
    pends(other, "c", also_a, &of_c);
    CHECK(is_cycle(refused(one, "a", c), "a -> b -> a -> c -> a"));
    CHECK(ends(c, SUN) && ends(also_a, SUN) && ends(b, SUN) && ends(a, SUN));
    mc_free(one);
    mc_free(other);
}

typedef struct {
    mc_cache *cache;
    mc_load *within;
    const char *plugin_id;
    mc_error error;
} nested;

/* A thread that waits for a plugin within its load, and then ends that load. */
static void *get_within(void *argument) {
    nested *it = argument;
    mc_load *load;
    const char *manifest;
    mc_begin(it->cache, it->plugin_id, it->within, &load, &manifest, &it->error);
    CHECK(load == NULL);
    mc_string_free(manifest);
    CHECK(ends(it->within, SUN));
    return NULL;
}

TEST(r9_a_cycle_over_threads_is_told_to_one_of_them) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", NULL);
    nested one = {cache, a, "b", {0, 0, 0, 0, ""}}, other = {cache, b, "a", {0, 0, 0, 0, ""}};
    pthread_t threads[] = {start(get_within, &one), start(get_within, &other)};
    finish(threads[0]);
    finish(threads[1]);
    CHECK((one.error.status == MC_LOAD_CYCLE) + (other.error.status == MC_LOAD_CYCLE) == 1);
    CHECK((one.error.status == MC_OK) + (other.error.status == MC_OK) == 1);
    CHECK(one.error.status == MC_OK ? is_cycle(other.error, "a -> b -> a")
                                    : is_cycle(one.error, "b -> a -> b"));
    mc_free(cache);
}

/* The loader's plugin waits for a task, whose load then wants the loader's plugin. */
static void load_and_close_the_cycle(const char *plugin_id, mc_load *load, void *user_data) {
    nested *task = user_data;
    told of_b;
    pends(task->cache, "b", load, &of_b);
    CHECK(is_cycle(refused(task->cache, plugin_id, task->within), "a -> b -> a"));
    CHECK(ends(task->within, RAIN) && was_told(&of_b, RAIN));
    load_text(plugin_id, load, SUN);
}

TEST(r9_a_cycle_of_a_loader_and_a_task_is_found) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    nested task = {cache, begun(cache, "b", NULL), NULL, {0, 0, 0, 0, ""}};
    CHECK(gives(cache, "a", load_and_close_the_cycle, &task, SUN));
    mc_free(cache);
}

static void begin_in_a_loader(const char *plugin_id, mc_load *load, void *user_data) {
    mc_cache *cache = user_data;
    CHECK(is_cycle(refused(cache, plugin_id, load), "a -> a"));
    CHECK(is_cycle(refused(cache, plugin_id, MC_THREAD), "a -> a"));
    mc_load *b = begun(cache, "b", load), *c = begun(cache, "c", MC_THREAD);
    CHECK(is_cycle(refused(cache, "a", b), "a -> b -> a"));
    CHECK(is_cycle(refused(cache, "a", c), "a -> c -> a"));
    mc_error error = refusal(cache, "a", load_never, NULL);
    CHECK(is_cycle(error, "a -> c -> a"));
    CHECK(ends(c, SUN) && ends(b, SUN));
    load_text(plugin_id, load, SUN);
}

TEST(r9_a_loader_may_begin_loads_within_its_own_and_cycles_are_found) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "a", begin_in_a_loader, cache, SUN));
    CHECK(mc_stat(cache, MC_STAT_TOTAL_ENTRIES) == 3);
    mc_free(cache);
}

static mc_load *left_over;

static void begin_and_leave(const char *plugin_id, mc_load *load, void *cache) {
    left_over = begun(cache, "b", load);
    load_text(plugin_id, load, SUN);
}

TEST(r9_a_load_that_a_loader_began_can_outlive_it) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    CHECK(gives(cache, "a", begin_and_leave, cache, SUN));
    mc_clear(cache, "a");
    CHECK(ends(begun(cache, "a", left_over), NEW) && ends(left_over, RAIN));
    CHECK(is_there(cache, "a", NEW) && is_there(cache, "b", RAIN));
    mc_free(cache);
}

TEST(r9_loads_of_a_thread_nest_without_being_named) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", MC_THREAD), *b = begun(cache, "b", MC_THREAD);
    CHECK(is_cycle(refused(cache, "a", MC_THREAD), "a -> b -> a"));
    CHECK(is_cycle(refusal(cache, "a", load_never, NULL), "a -> b -> a"));
    CHECK(ends(b, SUN) && ends(a, SUN));
    mc_free(cache);
}

TEST(r9_loads_of_a_thread_end_in_any_order_on_any_thread) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(cache, "a", MC_THREAD), *b = begun(cache, "b", MC_THREAD),
            *c = begun(cache, "c", MC_THREAD);
    finish(start(end_on_a_thread, b));
    mc_clear(cache, "b");
    b = begun(cache, "b", MC_THREAD); /* within c, not within the b that has ended */
    CHECK(is_cycle(refused(cache, "c", MC_THREAD), "c -> b -> c"));
    CHECK(ends(a, SUN) && ends(c, SUN));
    mc_clear(cache, NULL);
    a = begun(cache, "a", MC_THREAD);
    CHECK(is_cycle(refused(cache, "b", MC_THREAD), "b -> a -> b"));
    finish(start(end_on_a_thread, a));
    CHECK(ends(b, SUN));
    mc_clear(cache, NULL);
    CHECK(ends(begun(cache, "b", MC_THREAD), SUN));
    mc_free(cache);
}

/* Two fibers on one thread are two threads of a program that only the host knows. */
TEST(r9_fibers_that_share_a_thread_are_never_taken_for_each_other) {
    mc_cache *cache = mc_new(MC_TTL_FOREVER);
    mc_load *of_one = begun(cache, "weather", NULL);
    told other;
    pends(cache, "weather", NULL, &other);
    CHECK(ends(of_one, SUN) && was_told(&other, SUN));
    mc_load *a = begun(cache, "a", NULL), *b = begun(cache, "b", NULL);
    CHECK(ends(a, SUN));
    CHECK(is_cycle(refused(cache, "b", b), "b -> b"));
    CHECK(ends(b, SUN));
    mc_free(cache);
}

TEST(a_load_of_a_freed_cache_is_in_no_cycle) {
    mc_cache *freed = mc_new(MC_TTL_FOREVER), *cache = mc_new(MC_TTL_FOREVER);
    mc_load *a = begun(freed, "a", NULL), *b = begun(cache, "b", a);
    mc_free(freed);
    CHECK(ends(begun(cache, "c", a), SUN));
    CHECK(is_cycle(refused(cache, "b", b), "b -> b"));
    CHECK(ends(b, SUN) && ends(a, SUN));
    mc_free(cache);
}
