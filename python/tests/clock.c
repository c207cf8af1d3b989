/* Preloaded by test_like_the_original.py: a clock that the test stops and sets. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static long long stopped_at; /* in nanoseconds; 0 while the clock runs */

void clock_stop_at(long long nanoseconds) {
    stopped_at = nanoseconds;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    int is_stopped = id == CLOCK_REALTIME || id == CLOCK_MONOTONIC ||
                     id == CLOCK_MONOTONIC_COARSE || id == CLOCK_BOOTTIME;
    if (stopped_at != 0 && is_stopped) {
        time->tv_sec = stopped_at / 1000000000;
        time->tv_nsec = stopped_at % 1000000000;
        return 0;
    }
    if (real == NULL)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(id, time);
}
