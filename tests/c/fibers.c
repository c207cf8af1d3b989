/*
 * A host with fibers: several stacks on one thread, of which one waits by letting others run. Each
 * fiber says within which of its own loads it gets a plugin, as the cache cannot see fibers.
 */

#define _GNU_SOURCE

#include "loads.h"

#include <ucontext.h>

typedef struct {
    ucontext_t context;
    char stack[64 * 1024];
    mc_status status; /* of its last get */
    char said[sizeof((mc_error *)NULL)->message];
    int has_ended;
} fiber;

static ucontext_t host;
static fiber fibers[2];
static fiber *running;
static mc_cache *cache;

/* Lets the host run until it resumes this fiber. */
static void yield(void) {
    CHECK(swapcontext(&running->context, &host) == 0);
}

static void resume(fiber *it) {
    running = it;
    CHECK(swapcontext(&host, &it->context) == 0);
}

/* The first fiber or the second one, which begins at this function and ends with it. */
static fiber *fiber_of(int n, void (*run)(void)) {
    fiber *it = &fibers[n];
    CHECK(getcontext(&it->context) == 0);
    it->context.uc_stack.ss_sp = it->stack;
    it->context.uc_stack.ss_size = sizeof it->stack;
    it->context.uc_link = &host;
    makecontext(&it->context, run, 0);
    return it;
}

static void say(fiber *it, const char *manifest, const mc_error *error) {
    it->status = error->status;
    snprintf(it->said, sizeof it->said, "%s", manifest != NULL ? manifest : error->message);
    mc_string_free(manifest);
}

static void resume_when_done(const char *manifest, const mc_error *error, void *user_data) {
    fiber *it = user_data;
    say(it, manifest, error);
    it->has_ended = 1;
}

/* Gets a plugin on a fiber: begins a load, or waits for that of another fiber. */
static mc_load *get(const char *plugin_id, mc_load *within) {
    fiber *it = running;
    mc_load *load;
    const char *manifest;
    mc_error error;
    it->has_ended = 0;
    mc_status status =
        mc_begin_async(cache, plugin_id, within, resume_when_done, it, &load, &manifest, &error);
    if (status == MC_PENDING) {
        while (!it->has_ended) {
            yield();
        }
    } else if (status != MC_BEGUN) {
        say(it, manifest, &error);
    }
    return load;
}

static void end_with_sun(mc_load *load) {
    mc_error error;
    CHECK(mc_load_json(load, SUN, strlen(SUN)) == MC_OK);
    const char *manifest = mc_end(&load, &error);
    say(running, manifest, &error);
}

/* Leaves alone what the fiber said. */
static void end_not_found(mc_load *load) {
    mc_load_not_found(load);
    CHECK(mc_end(&load, NULL) == NULL);
}

/* Loads a plugin, and lets others run meanwhile. */
static void load_weather(void) {
    mc_load *load = get("weather", NULL);
    yield();
    end_with_sun(load);
}

static void share_weather(void) {
    CHECK(get("weather", NULL) == NULL);
}

TEST(r7_fibers_share_a_load) {
    cache = mc_new(MC_TTL_FOREVER);
    fiber *one = fiber_of(0, load_weather), *other = fiber_of(1, share_weather);
    resume(one);
    resume(other);
    CHECK(!other->has_ended);
    resume(one);
    CHECK(other->has_ended);
    resume(other);
    CHECK(one->status == MC_OK && strcmp(one->said, SUN) == 0);
    CHECK(other->status == MC_OK && strcmp(other->said, SUN) == 0);
    CHECK(mc_stat(cache, MC_STAT_LOADS) == 1 && mc_stat(cache, MC_STAT_WAITS) == 1);
    mc_free(cache);
}

static void load_a(void) {
    mc_load *a = get("a", NULL);
    yield();
    end_with_sun(a);
}

static void load_b_and_get_it_again(void) {
    mc_load *b = get("b", NULL);
    yield();
    CHECK(get("b", b) == NULL);
    end_not_found(b);
}

TEST(r9_a_cycle_in_a_fiber_is_found_after_the_loads_of_fibers_ended_out_of_order) {
    cache = mc_new(MC_TTL_FOREVER);
    fiber *one = fiber_of(0, load_a), *other = fiber_of(1, load_b_and_get_it_again);
    resume(one);
    resume(other);
    resume(one); /* a ends first, although it began first */
    CHECK(one->status == MC_OK);
    resume(other);
    CHECK(other->status == MC_LOAD_CYCLE && strstr(other->said, "b -> b") != NULL);
    mc_free(cache);
}

static void load_a_then_get_b(void) {
    mc_load *a = get("a", NULL);
    yield();
    CHECK(get("b", a) == NULL);
    end_not_found(a);
}

static void load_b_then_get_a(void) {
    mc_load *b = get("b", NULL);
    yield();
    CHECK(get("a", b) == NULL);
    end_not_found(b);
}

TEST(r9_a_cycle_between_fibers_is_told_to_the_one_that_would_close_it) {
    cache = mc_new(MC_TTL_FOREVER);
    fiber *one = fiber_of(0, load_a_then_get_b), *other = fiber_of(1, load_b_then_get_a);
    resume(one);
    resume(other);
    resume(one); /* waits for b */
    CHECK(!one->has_ended);
    resume(other);
    CHECK(other->status == MC_LOAD_CYCLE && strstr(other->said, "a -> b -> a") != NULL);
    CHECK(one->has_ended && one->status == MC_NOT_FOUND);
    resume(one);
    CHECK(mc_stat(cache, MC_STAT_NOT_FOUND) == 2);
    mc_free(cache);
}

static unsigned char stack[256 * 1024];

/* So many changes that the store and the counters have all that they ever make. */
static void *load_and_get_again(void *unused) {
    (void)unused;
    for (int n = 0; n < 300; n++) {
        CHECK(gives(cache, "sun", load_text, SUN, SUN) && gives(cache, "sun", NULL, NULL, SUN));
        mc_clear(cache, "sun");
    }
    return NULL;
}

TEST(a_thread_needs_less_than_16_kib_of_stack_from_its_first_get_on) {
    cache = mc_new(MC_TTL_FOREVER);
    CHECK(put(cache, "moon", OLD) == MC_OK && gives(cache, "moon", NULL, NULL, OLD));
    memset(stack, 0xA5, sizeof stack);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstack(&attributes, stack, sizeof stack) == 0);
    CHECK(pthread_create(&thread, &attributes, load_and_get_again, NULL) == 0);
    finish(thread);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    size_t unused = 0;
    while (unused < sizeof stack && stack[unused] == 0xA5) {
        unused++;
    }
    CHECK(sizeof stack - unused < 16 * 1024);
    mc_free(cache);
}
