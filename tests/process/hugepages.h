// What tests of hugepages that are split and made whole again share.
#ifndef TESTS_PROCESS_HUGEPAGES_H_
#define TESTS_PROCESS_HUGEPAGES_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"

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

inline uint64_t rebuilt_hugepages() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats.hugepages_rebuilt;
}

// Peaks of zeroed objects, and troughs in which one of each `kept_one_in` stays and hugepages between them are split.
class mountains {
  public:
    static constexpr size_t object_bytes = 1000;

    mountains(size_t count, size_t kept_one_in) : objects_(count), kept_one_in_(kept_one_in) {}
    mountains(const mountains &) = delete;
    mountains &operator=(const mountains &) = delete;
    ~mountains() {
        for (void *object : objects_) {
            free(object);
        }
    }

    // Allocates what is missing, zeroed, and writes to it. False if it was not zeroed.
    bool rise() {
        for (void *&object : objects_) {
            if (object != nullptr) {
                continue;
            }
            object = opaque(calloc(1, object_bytes));
            if (object == nullptr || !is_zero(object, object_bytes)) {
                return false;
            }
            memset(object, written, object_bytes);
        }
        return true;
    }

    // Frees all but those that stay, and gives memory back. False if an object's contents have changed.
    bool fall() {
        bool whole = true;
        for (size_t i = 0; i < objects_.size(); i++) {
            const char *chars = static_cast<const char *>(objects_[i]);
            whole = whole && chars[0] == written && memcmp(chars, chars + 1, object_bytes - 1) == 0;
            if (i % kept_one_in_ != 0) {
                free(objects_[i]);
                objects_[i] = nullptr;
            }
        }
        tandem_release_memory(SIZE_MAX);
        return whole;
    }

  private:
    static constexpr char written = 7;  // a pattern would take so long that little is used again within a tick

    std::vector<void *> objects_;
    size_t kept_one_in_;
};

#endif  // TESTS_PROCESS_HUGEPAGES_H_
