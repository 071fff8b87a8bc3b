// What the two architectures spell differently, outside the restartable sequences.
#ifndef BASE_ARCH_H_
#define BASE_ARCH_H_

#if defined(__x86_64__)
// Tells the CPU that this is a spin loop.
static inline void td_cpu_relax(void) {
    __builtin_ia32_pause();
}

// From where on the thread's static thread-local storage lies at fixed distances. (A builtin since GCC 11 here.)
static inline char *td_thread_pointer(void) {
    char *pointer;
    __asm__("movq %%fs:0, %0" : "=r"(pointer));
    return pointer;
}
#elif defined(__aarch64__)
static inline void td_cpu_relax(void) {
    __asm__ volatile("isb" ::: "memory");
}

static inline char *td_thread_pointer(void) {
    return (char *)__builtin_thread_pointer();
}
#else
#error "Tandem runs on x86-64 and aarch64"
#endif

#endif  // BASE_ARCH_H_
