// A program in little: allocates, writes, reallocates, checks and frees objects of many sizes, in random order.
#ifndef TESTS_PROCESS_WORKLOAD_H_
#define TESTS_PROCESS_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <malloc.h>

#include "tests/api/opaque.h"

// Holds up to `slot_count` objects. For one thread at a time.
class workload {
  public:
    static constexpr size_t slot_count = 128;

    explicit workload(uint64_t seed, size_t max_size = 20000)
        : state_(seed * 0x9e3779b97f4a7c15u + 1), max_size_(max_size) {}
    workload(const workload &) = delete;
    workload &operator=(const workload &) = delete;
    ~workload() { free_all(); }

    // So many random steps; false as soon as an allocation fails or an object's contents have changed.
    bool run(size_t steps) {
        for (size_t i = 0; i < steps; i++) {
            if (!step(&slots_[random() % slot_count])) {
                return false;
            }
        }
        return true;
    }

    // Checks and frees all objects; false if one's contents have changed.
    bool free_all() {
        bool whole = true;
        for (held &each : slots_) {
            whole = release(&each) && whole;
        }
        return whole;
    }

    // Of the objects that it holds now, as malloc_usable_size(3) says.
    size_t usable_bytes() const {
        size_t bytes = 0;
        for (const held &each : slots_) {
            bytes += malloc_usable_size(each.object);
        }
        return bytes;
    }

  private:
    struct held {
        void *object = nullptr;
        size_t size = 0;
        uint64_t seed = 0;
    };

    uint64_t random() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return state_ >> 33;
    }

    // Small sizes are the most frequent, as in programs.
    size_t random_size() {
        size_t limit = size_t{16} << (random() % 16);
        return 1 + random() % (limit < max_size_ ? limit : max_size_);
    }

    bool step(held *slot) {
        if (slot->object == nullptr) {
            return fill(slot, opaque(malloc(slot->size = random_size())));
        }
        if (random() % 8 != 0) {
            return release(slot);
        }
        size_t size = random_size();
        size_t common = size < slot->size ? size : slot->size;
        void *moved = opaque(realloc(slot->object, size));
        if (moved == nullptr || !has_pattern(moved, slot->size, slot->seed, common)) {
            return false;
        }
        slot->size = size;
        return fill(slot, moved);
    }

    bool fill(held *slot, void *object) {
        slot->object = object;
        slot->seed = state_;
        if (object != nullptr) {
            fill_pattern(object, slot->size, slot->seed);
        }
        return object != nullptr;
    }

    static bool release(held *slot) {
        bool whole = slot->object == nullptr || has_pattern(slot->object, slot->size, slot->seed);
        free(opaque(slot->object));
        slot->object = nullptr;
        return whole;
    }

    held slots_[slot_count];
    uint64_t state_;
    size_t max_size_;
};

#endif  // TESTS_PROCESS_WORKLOAD_H_
