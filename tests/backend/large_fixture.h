// Large objects over the fake operating system: nothing is in use and nothing lost when a test ends.
#ifndef TESTS_BACKEND_LARGE_FIXTURE_H_
#define TESTS_BACKEND_LARGE_FIXTURE_H_

#include <cstddef>
#include <cstring>
#include <vector>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/large.h"
#include "backend/page_heap.h"
#include "backend/run_store.h"
#include "base/size_class.h"
}

constexpr size_t kib = size_t{1} << 10;
constexpr size_t mib = size_t{1} << 20;

// An object and what its owner knows of it: each OS page of it begins with its mark.
struct object {
    char *memory;
    size_t size;
    char mark;

    void fill(size_t from) {
        for (size_t at = from; at < size; at += 4096) {
            memory[at] = mark;
        }
    }

    bool is_whole(size_t bytes) const {
        for (size_t at = 0; at < bytes; at += 4096) {
            if (memory[at] != mark) {
                return false;
            }
        }
        return true;
    }
};

inline bool reads_as_zeros(const char *memory, size_t bytes) {
    return memory[0] == 0 && memcmp(memory, memory + 1, bytes - 1) == 0;
}

inline char *allocate(size_t size, size_t alignment = 16) {
    bool is_zero = false;
    char *memory = static_cast<char *>(td_large_alloc(size, alignment, &is_zero));
    if (memory != nullptr && is_zero) {
        EXPECT_TRUE(reads_as_zeros(memory, td_large_usable_bytes(memory, "free"))) << size;
    }
    return memory;
}

inline void deallocate(void *pointer) {
    td_large_free(pointer, "free");
}

class large : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }

    void TearDown() override {
        fake_os::let_moves(fake_os::moves::succeed);
        EXPECT_EQ(td_backend_used_bytes, 0u);
        struct td_backend_stats stats;
        td_backend_get_stats(&stats);
        EXPECT_EQ(stats.dirty_bytes + stats.clean_bytes, stats.mapped_bytes) << "a test lost memory";
        td_backend_check();
    }
};

// The same over fresh memory, and with other objects that stay until the test ends.
class large_heap : public large {
  protected:
    void SetUp() override {
        while (td_run_store_unmap_one()) {
            // A place for hugepages stays one, and what something was in before is not fresh.
        }
    }

    void TearDown() override {
        for (char *memory : objects_) {
            deallocate(memory);
        }
        large::TearDown();
    }

    char *keep(char *memory) {
        objects_.push_back(memory);
        return memory;
    }

    void make_heap_large() {
        while (td_backend_used_bytes < TD_HUGE_HEAP_BYTES) {
            keep(allocate(TD_MAX_SPAN_BYTES));
        }
    }

    std::vector<char *> objects_;
};

#endif  // TESTS_BACKEND_LARGE_FIXTURE_H_
