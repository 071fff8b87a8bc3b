// One thread allocates, another frees. Batches pass through the transfer cache: once it knows the load, no central free
// list is locked and the system is not called.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <thread>

#include "allocator/tandem.h"
#include "gtest/gtest.h"

namespace {

constexpr size_t ring_slots = 256;
constexpr size_t window_objects = 20000;
constexpr size_t first_windows = 300;  // until the caches know the load
constexpr size_t windows = 30;

std::atomic<void *> ring[ring_slots];  // nullptr: free for the producer

void consume(size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *object;
        while ((object = ring[i % ring_slots].load(std::memory_order_acquire)) == nullptr) {
            std::this_thread::yield();
        }
        ring[i % ring_slots].store(nullptr, std::memory_order_release);
        free(object);
    }
}

bool produce(size_t first, size_t count, size_t size) {
    for (size_t i = first; i < first + count; i++) {
        unsigned char *object = static_cast<unsigned char *>(malloc(size));
        if (object == nullptr) {
            return false;
        }
        object[0] = object[size - 1] = 1;
        while (ring[i % ring_slots].load(std::memory_order_acquire) != nullptr) {
            std::this_thread::yield();
        }
        ring[i % ring_slots].store(object, std::memory_order_release);
    }
    return true;
}

struct window {
    uint64_t central_locks;
    uint64_t system_calls;
    uint64_t batches;
};

struct window since(const struct tandem_stats &before, uint64_t locks_of_asking) {
    struct tandem_stats now;
    tandem_get_stats(&now, sizeof now);
    return {now.central_locks - before.central_locks - locks_of_asking, now.system_calls - before.system_calls,
            now.refills - before.refills};
}

// Asking for the statistics looks into each central free list.
uint64_t locks_of_asking() {
    struct tandem_stats first, second;
    tandem_get_stats(&first, sizeof first);
    tandem_get_stats(&second, sizeof second);
    return second.central_locks - first.central_locks;
}

class flow : public testing::TestWithParam<size_t> {};

TEST_P(flow, in_steady_state_takes_no_central_lock_and_makes_no_system_call) {
    size_t size = GetParam();
    uint64_t asking = locks_of_asking();
    std::thread consumer(consume, (first_windows + windows) * window_objects);
    ASSERT_TRUE(produce(0, first_windows * window_objects, size));
    uint64_t central_locks = 0, system_calls = 0, batches = 0;
    auto begin = std::chrono::steady_clock::now();
    for (size_t i = first_windows; i < first_windows + windows; i++) {
        struct tandem_stats before;
        tandem_get_stats(&before, sizeof before);
        ASSERT_TRUE(produce(i * window_objects, window_objects, size));
        struct window seen = since(before, asking);
        central_locks += seen.central_locks;
        system_calls += seen.system_calls;
        batches += seen.batches;
    }
    consumer.join();
    // The maintenance that comes ten times a second takes back what lay idle for a tick: some batches.
    uint64_t ticks = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin) / std::chrono::milliseconds(100));
    EXPECT_LE(central_locks, 20 * (ticks + 1)) << "for " << batches << " batches";
    EXPECT_LE(system_calls, 2 * (ticks + 1));
    // Two threads on one CPU need few batches, since they share its slab.
    EXPECT_LE(central_locks * 50, std::max<uint64_t>(batches, windows * window_objects / 64));
}

INSTANTIATE_TEST_SUITE_P(sizes, flow, testing::Values(16, 64, 1000));

}  // namespace
