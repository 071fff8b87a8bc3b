// Spans and large objects taken, resized and returned by several threads while another gives memory back: each finds
// its own contents, and in the end all is free. For ThreadSanitizer above all.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/large.h"
#include "base/size_class.h"
}

namespace {

struct object {
    char *memory;
    size_t bytes;
    struct td_span *span;  // nullptr: a large object
    char mark;

    void write() { memory[0] = memory[bytes - 1] = memory[bytes / 2] = mark; }
    bool is_whole() const { return memory[0] == mark && memory[bytes - 1] == mark && memory[bytes / 2] == mark; }
};

bool take(std::mt19937 *random, object *made) {
    made->mark = static_cast<char>((*random)());
    if ((*random)() % 2 == 0) {
        made->span = td_backend_alloc_span(1 + (*random)() % (TD_CLASS_COUNT - 1));
        if (made->span == nullptr) {
            return false;
        }
        made->memory = reinterpret_cast<char *>(made->span->start);
        made->bytes = made->span->pages * TD_PAGE_BYTES;
    } else {
        bool is_zero;
        made->span = nullptr;
        made->bytes = 70000 + (*random)() % ((*random)() % 8 == 0 ? 5000000 : 500000);
        made->memory = static_cast<char *>(td_large_alloc(made->bytes, 16, &is_zero));
        if (made->memory == nullptr || (is_zero && (made->memory[0] != 0 || made->memory[made->bytes - 1] != 0))) {
            return false;
        }
    }
    made->write();
    return true;
}

bool give_back(const object &it) {
    bool is_whole = it.is_whole();
    if (it.span != nullptr) {
        td_backend_free_span(it.span);
    } else {
        td_large_free(it.memory, "free");
    }
    return is_whole;
}

void resize(std::mt19937 *random, object *it) {
    size_t bytes = 70000 + (*random)() % 3000000;
    void *memory = it->span == nullptr ? td_large_resize(it->memory, bytes) : nullptr;
    if (memory != nullptr) {
        it->memory = static_cast<char *>(memory);
        it->bytes = bytes;
        it->write();
    }
}

// As a central free list does with a span in use whose objects on some pages are free.
void use_again(object *it) {
    if (it->span != nullptr && td_backend_purge_pages(it->span->start, TD_PAGE_BYTES) != 0) {
        td_backend_note_reuse(it->span, it->span->pages * TD_PAGE_BYTES);
        it->write();
    }
}

void work(unsigned seed, std::atomic<int> *failures) {
    std::mt19937 random(seed);
    std::vector<object> objects;
    for (int step = 0; step < 3000; step++) {
        size_t which = objects.empty() ? 0 : random() % objects.size();
        unsigned action = static_cast<unsigned>(random() % 8);
        if (objects.size() < 3 || (action < 4 && objects.size() < 30)) {
            object made;
            if (take(&random, &made)) {
                objects.push_back(made);
            } else {
                failures->fetch_add(1, std::memory_order_relaxed);
            }
        } else if (action < 6) {
            resize(&random, &objects[which]);
            use_again(&objects[which]);
        } else {
            if (!give_back(objects[which])) {
                failures->fetch_add(1, std::memory_order_relaxed);
            }
            objects[which] = objects.back();
            objects.pop_back();
        }
    }
    for (const object &it : objects) {
        if (!give_back(it)) {
            failures->fetch_add(1, std::memory_order_relaxed);
        }
    }
}

TEST(threads, never_meet_in_memory) {
    td_size_class_init();
    std::atomic<int> failures{0};
    std::atomic<bool> is_over{false};
    std::vector<std::thread> workers;
    for (unsigned i = 0; i < 4; i++) {
        workers.emplace_back(work, i + 1, &failures);
    }
    std::thread purger([&is_over] {
        struct td_backend_stats stats;
        for (uint64_t now_ms = 0; !is_over.load(std::memory_order_relaxed); now_ms += TD_DECAY_MS_DEFAULT) {
            td_backend_maintain(now_ms);
            td_backend_purge(size_t{3} << 20);
            td_backend_get_stats(&stats);
            td_backend_check();
            std::this_thread::yield();
        }
    });
    for (std::thread &worker : workers) {
        worker.join();
    }
    is_over.store(true, std::memory_order_relaxed);
    purger.join();
    EXPECT_EQ(failures.load(), 0);
    struct td_backend_stats stats;
    td_backend_get_stats(&stats);
    EXPECT_EQ(stats.small_span_bytes, 0u);
    EXPECT_EQ(stats.large_bytes, 0u);
    EXPECT_EQ(stats.dirty_bytes + stats.clean_bytes, stats.mapped_bytes);
    EXPECT_EQ(stats.segments, 0u);
}

}  // namespace
