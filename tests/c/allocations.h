// For C++ tests that count allocations: it replaces malloc().

#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <atomic>
#include <cstddef>

static std::atomic<unsigned> allocations;

#ifdef __SANITIZE_ADDRESS__
// gcc does not install sanitizer/allocator_interface.h, which declares this.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                                         void (*)(const volatile void *));
static void count(const volatile void *, size_t) {
    allocations++;
}
static void ignore(const volatile void *) {
}
static const int counting_allocations = __sanitizer_install_malloc_and_free_hooks(count, ignore);
#else
static const int counting_allocations = 1;
extern "C" void *__libc_malloc(size_t);
extern "C" void *malloc(size_t size) {
    return allocations++, __libc_malloc(size);
}
#endif

#endif
