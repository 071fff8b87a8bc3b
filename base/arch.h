// What the two architectures spell differently, outside the restartable sequences.
#ifndef BASE_ARCH_H_
#define BASE_ARCH_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
// Tells the CPU that this is a spin loop.
static inline void td_cpu_relax(void) {
    __builtin_ia32_pause();
}

// The thread pointer; initial-exec TLS lies at fixed offsets from it. (__builtin_thread_pointer needs GCC 11 on
// x86-64.)
static inline char *td_thread_pointer(void) {
    char *pointer;
    __asm__("movq %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

// Whether what another CPU stored is seen in the order in which it did, without fences on its side.
#define TD_STORES_KEEP_ORDER true

// The number of the highest bit that is set in `value`, not 0. In one register: bsr waits for what was in the one that
// it writes to, and a compiler may choose one whose value is late.
static inline size_t td_highest_bit(size_t value) {
    __asm__("bsrq %0, %0" : "+r"(value) : : "cc");
    return value;
}

// Stores both words at once, at a multiple of 16: a child that another thread forks meanwhile finds both or none.
static inline void td_store_pair(void *pair, uint64_t first, uint64_t second) {
    __asm__ volatile("movq %[first], %%xmm0\n\t"
                     "movq %[second], %%xmm1\n\t"
                     "punpcklqdq %%xmm1, %%xmm0\n\t"
                     "movaps %%xmm0, (%[pair])"
                     :
                     : [pair] "r"(pair), [first] "r"(first), [second] "r"(second)
                     : "memory", "xmm0", "xmm1");
}
#elif defined(__aarch64__)
static inline void td_cpu_relax(void) {
    __asm__ volatile("isb" ::: "memory");
}

static inline char *td_thread_pointer(void) {
    return (char *)__builtin_thread_pointer();
}

#define TD_STORES_KEEP_ORDER false

static inline size_t td_highest_bit(size_t value) {
    return 63 - (size_t)__builtin_clzll(value);
}

static inline void td_store_pair(void *pair, uint64_t first, uint64_t second) {
    uint64_t old_first, old_second;
    uint32_t is_failed;
    // Other stores of 16 bytes are two.
    do
        __asm__ volatile("ldxp %[old_first], %[old_second], [%[pair]]\n\t"
                         "stxp %w[is_failed], %[first], %[second], [%[pair]]"
                         : [old_first] "=&r"(old_first), [old_second] "=&r"(old_second), [is_failed] "=&r"(is_failed)
                         : [pair] "r"(pair), [first] "r"(first), [second] "r"(second)
                         : "memory");
    while (is_failed != 0);
}
#else
#error "Tandem runs on x86-64 and aarch64"
#endif

#endif  // BASE_ARCH_H_
