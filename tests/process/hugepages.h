#ifndef TESTS_PROCESS_HUGEPAGES_H_
#define TESTS_PROCESS_HUGEPAGES_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

// Whether the kernel makes hugepages of what is there when it is asked to, as Linux does from 6.1 on.
inline bool kernel_makes_hugepages() {
    constexpr size_t bytes = size_t{2} << 20;
    void *memory = mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return false;
    }
    void *aligned = reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(memory) + bytes - 1) & -bytes);
    madvise(aligned, bytes, MADV_HUGEPAGE);
    *static_cast<char *>(aligned) = 1;
    constexpr int collapse = 25;  // MADV_COLLAPSE
    bool does = madvise(aligned, bytes, collapse) == 0;
    munmap(memory, 2 * bytes);
    return does;
}

#endif  // TESTS_PROCESS_HUGEPAGES_H_
