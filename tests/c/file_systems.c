/*
 * File systems as hosts meet them, which no test can mount everywhere: this program's own statx(),
 * fstatfs(), open64() and clock_gettime() stand between the library and the system, and change what
 * it hears of regular files. tests/file_systems.rs does the same with real ones.
 */

#define _GNU_SOURCE

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

enum { EXT4 = 0xEF53, XFS = 0x58465342, TMPFS = 0x01021994, OVERLAY = 0x794C7630, FAT = 0x4D44 };
enum { NFS = 0x6969, FUSE = 0x65735546, PLAN9 = 0x01021997, CEPH = 0x00C36400, PROC = 0x9FA0 };
enum { SYSFS = 0x62656572, SQUASHFS = 0x73717368, UNHEARD_OF = 0x12345678 };
#define CIFS 0xFF534D42
#define SMB2 0xFE534D42

/* What the system says. */
static struct {
    uint32_t kind;        /* which file system it is; 0 if it cannot tell */
    struct timespec time; /* of each file's last change; 0 seconds for the real one */
    bool new_times;       /* another one at each look */
    time_t look_takes;    /* how many seconds pass during each look */
    time_t passed;        /* how many have passed */
    uint64_t inode, size; /* of each file; 0 for the real ones */
    bool size_is_zero;
    bool is_leased; /* opened with O_NONBLOCK, a file is not opened */
    bool has_no_proc;
    void (*after_look)(void); /* runs when a file was opened with O_PATH */
    int opened;               /* how often a manifest was opened to be read */
} fake;

int statx(int directory, const char *path, int flags, unsigned mask, struct statx *file) {
    fake.passed += fake.look_takes;
    int result = (int)syscall(SYS_statx, directory, path, flags, mask, file);
    if (result != 0 || !S_ISREG(file->stx_mode)) {
        return result;
    }
    if (fake.time.tv_sec != 0) {
        file->stx_mtime.tv_sec = file->stx_ctime.tv_sec = fake.time.tv_sec;
        file->stx_mtime.tv_nsec = file->stx_ctime.tv_nsec = (unsigned)fake.time.tv_nsec;
        fake.time.tv_nsec += fake.new_times;
    }
    file->stx_ino = fake.inode != 0 ? fake.inode : file->stx_ino;
    file->stx_size = fake.size != 0 ? fake.size : file->stx_size;
    file->stx_size = fake.size_is_zero ? 0 : file->stx_size;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    time->tv_sec += clock == CLOCK_REALTIME ? fake.passed : 0;
    return result;
}

int fstatfs(int file, struct statfs *about) {
    (void)file;
    memset(about, 0, sizeof *about);
    about->f_type = fake.kind;
    errno = ENOSYS;
    return fake.kind != 0 ? 0 : -1;
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
    va_end(arguments);
    bool is_manifest = strcmp(path, "weather.json") == 0;
    if (is_manifest && fake.is_leased && (flags & O_NONBLOCK) != 0) {
        errno = EWOULDBLOCK;
        return -1;
    }
    if (fake.has_no_proc && strncmp(path, "/proc/", 6) == 0) {
        errno = ENOENT;
        return -1;
    }
    bool is_look = (flags & O_PATH) != 0;
    fake.opened += is_manifest && !is_look;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (is_manifest && is_look && fake.after_look != NULL) {
        fake.after_look();
    }
    return file;
}

static mc_status said;

static void load_file(const char *plugin_id, mc_load *load, void *user_data) {
    (void)plugin_id, (void)user_data;
    said = mc_load_file(load, "weather.json");
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void write_in_place(const char *text) {
    write_file("weather.json", text);
}

static void write_and_rename(const char *text) {
    write_file("weather.json.new", text);
    CHECK(rename("weather.json.new", "weather.json") == 0);
}

/* A time a minute ago, with this fraction of a second. */
static struct timespec a_minute_ago(long fraction_ns) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_sec -= 60;
    time.tv_nsec = fraction_ns;
    return time;
}

/* Whether an expired entry is renewed without opening the file, where it was in fact changed. */
static bool trusts(void (*change)(const char *text)) {
    mc_cache *cache = mc_new(1);
    change(OLD);
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    CHECK(fake.opened > 0);
    await_expiry(cache);
    change(NEW);
    fake.opened = 0;
    const char *manifest = mc_get(cache, "weather", load_file, NULL, NULL);
    CHECK(manifest != NULL && said == MC_OK);
    bool trusted = strcmp(manifest, OLD) == 0;
    CHECK(fake.opened == !trusted && mc_stat(cache, MC_STAT_UNCHANGED) == trusted);
    mc_string_free(manifest);
    mc_free(cache);
    return trusted;
}

TEST(times_of_whole_seconds_are_trusted_only_after_two_seconds) {
    fake.kind = EXT4;
    fake.inode = 7;
    void (*const changes[])(const char *) = {write_in_place, write_and_rename};
    for (int n = 0; n < 2; n++) {
        clock_gettime(CLOCK_REALTIME, &fake.time);
        fake.time.tv_nsec = 0;
        CHECK(!trusts(changes[n]));
        fake.time.tv_sec -= 3;
        CHECK(trusts(changes[n]));
    }
}

TEST(times_with_a_fraction_are_trusted_after_a_clock_tick) {
    fake.kind = EXT4;
    fake.inode = 7;
    clock_gettime(CLOCK_REALTIME, &fake.time);
    fake.time.tv_sec -= 1;
    fake.time.tv_nsec |= 1;
    CHECK(trusts(write_in_place) && trusts(write_and_rename));
}

TEST(the_age_of_a_file_does_not_include_the_time_that_reading_takes) {
    fake.kind = EXT4;
    clock_gettime(CLOCK_REALTIME, &fake.time);
    fake.look_takes = 10;
    CHECK(!trusts(write_in_place));
}

TEST(times_are_trusted_on_local_file_systems) {
    const uint32_t kinds[] = {EXT4, XFS, TMPFS, OVERLAY, FAT};
    fake.time = a_minute_ago(0);
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        fake.kind = kinds[n];
        CHECK(trusts(write_in_place));
    }
}

TEST(no_times_are_trusted_on_other_file_systems) {
    const uint32_t kinds[] = {NFS,  CIFS,  SMB2,     FUSE,       PLAN9, CEPH,
                              PROC, SYSFS, SQUASHFS, UNHEARD_OF, 0};
    fake.time = a_minute_ago(1);
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        fake.kind = kinds[n];
        CHECK(!trusts(write_in_place));
    }
}

TEST(a_file_that_is_read_again_and_has_equal_bytes_is_unchanged) {
    mc_cache *cache = mc_new(1);
    fake.kind = NFS;
    fake.time = a_minute_ago(1);
    write_in_place(OLD);
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    for (uint64_t times = 1; times <= 3; times++) {
        await_expiry(cache);
        CHECK(gives(cache, "weather", load_file, NULL, OLD));
        CHECK(mc_stat(cache, MC_STAT_UNCHANGED) == times && fake.opened == (int)times + 1);
    }
    mc_free(cache);
}

TEST(a_wrong_size_is_ignored_on_a_file_system_that_is_not_local) {
    const uint64_t sizes[] = {1, 5, 4096, UINT64_C(1) << 50};
    mc_cache *cache = mc_new(0);
    write_in_place(OLD);
    fake.kind = FUSE;
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        fake.size = sizes[n];
        CHECK(gives(cache, "weather", load_file, NULL, OLD));
    }
    fake.size_is_zero = true;
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    mc_free(cache);
}

TEST(a_file_is_no_longer_than_the_limit_whatever_its_size_says) {
    mc_cache *cache = mc_new(0);
    fake.kind = FUSE;
    fake.size = 5;
    write_in_place(OLD);
    set(cache, MC_OPT_MAX_MANIFEST_BYTES, strlen(OLD));
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    set(cache, MC_OPT_MAX_MANIFEST_BYTES, strlen(OLD) - 1);
    CHECK(refusal(cache, "weather", load_file, NULL).status == MC_INVALID_MANIFEST);
    mc_free(cache);
}

TEST(changing_times_are_ignored_on_a_file_system_that_is_not_local) {
    mc_cache *cache = mc_new(0);
    write_in_place(OLD);
    fake.time = a_minute_ago(1);
    fake.new_times = true;
    fake.kind = FUSE;
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    mc_free(cache);
}

TEST(a_file_that_keeps_changing_while_it_is_read_is_a_failure) {
    mc_cache *cache = mc_new(0);
    write_in_place(OLD);
    fake.time = a_minute_ago(1);
    fake.kind = EXT4;
    fake.size = 4096; /* as when another process has cut it short */
    mc_error error = refusal(cache, "weather", load_file, NULL);
    CHECK(error.status == MC_LOAD_FAILED && fake.opened == 3);
    CHECK(strstr(error.message, "weather.json") != NULL && strstr(error.message, "renam") != NULL);
    fake.size = 0;
    fake.new_times = true;
    CHECK(refusal(cache, "weather", load_file, NULL).status == MC_LOAD_FAILED);
    mc_free(cache);
}

TEST(a_leased_file_is_opened_by_waiting) {
    mc_cache *cache = mc_new(0);
    write_in_place(OLD);
    fake.is_leased = true;
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    mc_free(cache);
}

static void put_a_fifo_there(void) {
    CHECK(mkfifo("fifo", 0666) == 0 && rename("fifo", "weather.json") == 0);
}

TEST(a_fifo_in_the_place_of_a_leased_file_does_not_block) {
    mc_cache *cache = mc_new(0);
    write_in_place(OLD);
    fake.is_leased = true;
    fake.after_look = put_a_fifo_there;
    CHECK(gives(cache, "weather", load_file, NULL, OLD));
    fake.after_look = NULL;
    mc_error error = refusal(cache, "weather", load_file, NULL);
    CHECK(error.status == MC_LOAD_FAILED && strstr(error.message, "a FIFO") != NULL);
    mc_free(cache);
}

TEST(a_leased_file_without_proc_is_a_failure_that_says_what_to_do) {
    mc_cache *cache = mc_new(0);
    write_in_place(OLD);
    fake.is_leased = fake.has_no_proc = true;
    mc_error error = refusal(cache, "weather", load_file, NULL);
    CHECK(error.status == MC_LOAD_FAILED && error.code == EAGAIN);
    CHECK(strstr(error.message, "weather.json") != NULL && strstr(error.message, "/proc") != NULL);
    mc_free(cache);
}
