// One thread allocates, another frees. Batches pass through the transfer cache: once it knows the load, no central free
// list is locked and the system is not called.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <sstream>
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

// Asking for the statistics looks into each central free list.
uint64_t locks_of_asking() {
    struct tandem_stats first, second;
    tandem_get_stats(&first, sizeof first);
    tandem_get_stats(&second, sizeof second);
    return second.central_locks - first.central_locks;
}

// What passes the middle end while one window's objects do.
struct window {
    uint64_t central_locks;
    uint64_t system_calls;
    uint64_t batches;
    uint64_t ticks;  // at most so many

    // The maintenance that comes at each tick takes back what lay idle since the last: some batches.
    bool is_steady() const { return central_locks <= 20 * ticks && system_calls <= 2 * ticks; }
};

std::ostream &operator<<(std::ostream &stream, const struct window &it) {
    return stream << it.central_locks << " locks, " << it.system_calls << " calls, " << it.batches << " batches, "
                  << it.ticks << " ticks\n";
}

// Produces a window's objects; nothing if there is no memory.
std::optional<window> pass(size_t which, size_t size, uint64_t locks_of_asking) {
    constexpr std::chrono::milliseconds tick{100};
    struct tandem_stats before, after;
    auto begin = std::chrono::steady_clock::now();
    tandem_get_stats(&before, sizeof before);
    if (!produce(which * window_objects, window_objects, size)) {
        return std::nullopt;
    }
    tandem_get_stats(&after, sizeof after);
    auto elapsed = std::chrono::steady_clock::now() - begin;
    // Most of the short windows lie between two ticks.
    uint64_t ticks = elapsed < tick / 10 ? 0 : static_cast<uint64_t>(elapsed / tick) + 1;
    return window{after.central_locks - before.central_locks - locks_of_asking,
                  after.system_calls - before.system_calls, after.refills - before.refills, ticks};
}

class flow : public testing::TestWithParam<size_t> {};

TEST_P(flow, in_steady_state_takes_no_central_lock_and_makes_no_system_call) {
    size_t size = GetParam();
    uint64_t asking = locks_of_asking();
    std::thread consumer(consume, (first_windows + windows) * window_objects);
    ASSERT_TRUE(produce(0, first_windows * window_objects, size));
    // A thread that comes to another CPU meets caches that do not know the load: that is not in most windows.
    size_t steady_windows = 0;
    std::ostringstream seen;
    for (size_t i = first_windows; i < first_windows + windows; i++) {
        std::optional<window> passed = pass(i, size, asking);
        ASSERT_TRUE(passed.has_value());
        steady_windows += passed->is_steady();
        seen << *passed;
    }
    consumer.join();
    EXPECT_GE(steady_windows, windows / 2) << seen.str();
}

INSTANTIATE_TEST_SUITE_P(sizes, flow, testing::Values(16, 64, 1000));

}  // namespace
