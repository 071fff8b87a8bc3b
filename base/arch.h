// What the two architectures spell differently, outside the restartable sequences.
#ifndef BASE_ARCH_H_
#define BASE_ARCH_H_

#if defined(__x86_64__)
// Tells the CPU that this is a spin loop.
static inline void td_cpu_relax(void) {
    __builtin_ia32_pause();
}
#elif defined(__aarch64__)
static inline void td_cpu_relax(void) {
    __asm__ volatile("isb" ::: "memory");
}
#else
#error "Tandem runs on x86-64 and aarch64"
#endif

#endif  // BASE_ARCH_H_
