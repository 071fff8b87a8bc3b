// Several threads fetch, hand over and return batches of a few classes while another maintains and drains. Each object
// carries its owner's mark, so that one which two threads hold at once is noticed, and in the end none is out.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "base/size_class.h"
#include "middle/middle.h"
}

namespace {

constexpr size_t thread_count = 4;
constexpr int steps = 20000;
constexpr size_t classes[] = {1, 3, 9, 33, 64, 80};
constexpr size_t class_count = sizeof classes / sizeof classes[0];

// Where threads leave objects for others, per class.
struct exchange {
    std::mutex mutex;
    std::vector<void *> objects;  // guarded by mutex
};

exchange exchanges[class_count];
std::atomic<int> failures{0};

void expect(bool condition) {
    if (!condition) {
        failures.fetch_add(1, std::memory_order_relaxed);
    }
}

// Plain accesses: whoever holds an object is alone with it, or ThreadSanitizer tells.
struct object_head {
    uintptr_t owner;
    uintptr_t self;
};

void mark(void *object, uintptr_t owner) {
    *static_cast<object_head *>(object) = {owner, reinterpret_cast<uintptr_t>(object)};
}

bool is_marked(const void *object, uintptr_t owner) {
    const object_head *head = static_cast<const object_head *>(object);
    return head->owner == owner && head->self == reinterpret_cast<uintptr_t>(object);
}

constexpr uintptr_t in_exchange = 1000;

class worker {
  public:
    explicit worker(unsigned number) : owner_(number + 1), random_(number + 1) {}

    void run() {
        for (int step = 0; step < steps; step++) {
            size_t which = random_() % class_count;
            switch (random_() % 5) {
            case 0:
            case 1:
                fetch(which);
                break;
            case 2:
            case 3:
                give_back(which, random_() % 8 == 0);
                break;
            default:
                swap_with_others(which);
            }
        }
        for (size_t which = 0; which < class_count; which++) {
            while (!held_[which].empty()) {
                give_back(which, false);
            }
        }
    }

  private:
    void fetch(size_t which) {
        void *objects[TD_BATCH_MAX + TD_BATCH_SLACK];
        if (held_[which].size() > 500) {
            return;
        }
        size_t count = td_middle_fetch(classes[which], objects, 1 + random_() % td_class_info[classes[which]].batch);
        expect(count != 0);
        for (size_t i = 0; i < count; i++) {
            mark(objects[i], owner_);
            held_[which].push_back(objects[i]);
        }
    }

    void give_back(size_t which, bool is_checked) {
        std::vector<void *> &held = held_[which];
        size_t count = std::min<size_t>(held.size(), td_class_info[classes[which]].batch);
        void **first = held.data() + held.size() - count;
        for (size_t i = 0; i < count; i++) {
            expect(is_marked(first[i], owner_));
            mark(first[i], 0);
        }
        if (is_checked) {
            td_middle_return_checked(classes[which], first, count);
        } else {
            td_middle_return(classes[which], first, count);
        }
        held.resize(held.size() - count);
    }

    // Leaves half of what it holds and takes what others left.
    void swap_with_others(size_t which) {
        std::vector<void *> &held = held_[which];
        std::vector<void *> left(held.begin() + static_cast<std::ptrdiff_t>(held.size() / 2), held.end());
        held.resize(held.size() / 2);
        for (void *object : left) {
            expect(is_marked(object, owner_));
            mark(object, in_exchange);
        }
        {
            std::lock_guard<std::mutex> guard(exchanges[which].mutex);
            left.swap(exchanges[which].objects);
        }
        for (void *object : left) {
            expect(is_marked(object, in_exchange));
            mark(object, owner_);
            held.push_back(object);
        }
    }

    uintptr_t owner_;
    std::mt19937 random_;
    std::vector<void *> held_[class_count];
};

TEST(conservation, no_object_is_lost_or_doubled) {
    td_size_class_init();
    std::atomic<bool> is_over{false};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < thread_count; i++) {
        threads.emplace_back([i] { worker(i).run(); });
    }
    std::thread maintainer([&is_over] {
        struct td_middle_stats stats;
        for (uint64_t now_ms = 0; !is_over.load(std::memory_order_relaxed); now_ms += TD_DECAY_MS_DEFAULT) {
            td_middle_maintain(now_ms);
            td_middle_get_stats(&stats);
            td_middle_check();
            if (now_ms % (16 * TD_DECAY_MS_DEFAULT) == 0) {
                td_middle_drain();
            } else if (now_ms % (5 * TD_DECAY_MS_DEFAULT) == 0) {
                td_middle_purge(SIZE_MAX);
            }
            std::this_thread::yield();
        }
    });
    for (std::thread &thread : threads) {
        thread.join();
    }
    is_over.store(true, std::memory_order_relaxed);
    maintainer.join();
    EXPECT_EQ(failures.load(), 0);

    for (size_t which = 0; which < class_count; which++) {
        std::vector<void *> &left = exchanges[which].objects;
        EXPECT_EQ(td_middle_objects_out(classes[which]), left.size());
        for (void *object : left) {
            td_middle_return(classes[which], &object, 1);
        }
        EXPECT_EQ(td_middle_objects_out(classes[which]), 0u);
    }
    td_middle_drain();
    td_middle_check();
    struct td_backend_stats stats;
    td_backend_get_stats(&stats);
    EXPECT_EQ(stats.small_span_bytes, 0u);
    EXPECT_EQ(stats.dirty_bytes + stats.clean_bytes, stats.mapped_bytes);
}

}  // namespace

// Instead of the C library's: each call is as if on another CPU, so that all lanes of the transfer cache are used.
extern "C" int sched_getcpu() {
    static thread_local std::minstd_rand random(std::random_device{}());
    return static_cast<int>(random() % (TD_LANES * TD_CPUS_PER_LANE));
}
