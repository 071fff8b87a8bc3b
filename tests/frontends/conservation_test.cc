// Threads that allocate, hand over and free objects of many sizes, on the real front end. Marks tell an object that two
// of them hold at once; the statistics tell one that was lost: when all is freed, no more is live than before.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "allocator/tandem.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

constexpr size_t thread_count = 4;
constexpr size_t held_max = 400;
constexpr size_t exchange_slots = 64;

// What the threads know lies in static memory: the allocator holds the objects, and nothing else of this test.
struct object {
    unsigned char *memory;
    size_t size;
};

object held[thread_count][held_max];
std::mutex exchange_mutex;
object exchange[exchange_slots];  // guarded by exchange_mutex
std::atomic<size_t> failures{0};

unsigned char mark_of(const object &it) {
    return static_cast<unsigned char>((reinterpret_cast<uintptr_t>(it.memory) >> 4) + it.size);
}

void write(const object &it) {
    it.memory[0] = it.memory[it.size / 2] = it.memory[it.size - 1] = mark_of(it);
}

bool is_whole(const object &it) {
    return it.memory[0] == mark_of(it) && it.memory[it.size / 2] == mark_of(it) &&
           it.memory[it.size - 1] == mark_of(it);
}

void release(object *it) {
    if (it->memory == nullptr) {
        return;
    }
    if (!is_whole(*it)) {
        failures++;
    }
    it->memory[0] = static_cast<unsigned char>(~it->memory[0]);  // whoever else holds it notices
    free(it->memory);
    it->memory = nullptr;
}

void renew(object *it, size_t size) {
    release(it);
    it->memory = static_cast<unsigned char *>(malloc(size));
    it->size = size;
    if (it->memory == nullptr) {
        failures++;
        return;
    }
    write(*it);
}

template <typename engine> size_t random_size(engine *random) {
    unsigned kind = static_cast<unsigned>((*random)() % 64);
    return 1 + (*random)() % (kind == 0 ? 300000 : kind < 8 ? 20000 : kind < 24 ? 1000 : 100);
}

void work(size_t number, size_t steps) {
    std::minstd_rand random(static_cast<unsigned>(number + 1));
    object *mine = held[number];
    for (size_t step = 0; step < steps; step++) {
        object *it = &mine[random() % held_max];
        switch (random() % 4) {
        case 0: {
            std::lock_guard<std::mutex> guard(exchange_mutex);
            std::swap(*it, exchange[random() % exchange_slots]);
            break;
        }
        case 1:
            release(it);
            break;
        default:
            renew(it, random_size(&random));
        }
    }
    for (size_t i = 0; i < held_max; i++) {
        release(&mine[i]);
    }
}

void run_threads(size_t steps) {
    std::thread threads[thread_count];
    for (size_t i = 0; i < thread_count; i++) {
        threads[i] = std::thread(work, i, steps);
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    for (object &it : exchange) {
        release(&it);
    }
}

struct tandem_stats settled_stats() {
    tandem_flush();
    tandem_release_memory(SIZE_MAX);
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats;
}

TEST(conservation, nothing_is_live_that_was_not_before) {
    ASSERT_STREQ(tandem_front_end(), variant_front_end);
    run_threads(1000);  // the C library keeps stacks, and what belongs to them
    struct tandem_stats before = settled_stats();
    for (int round = 0; round < 3; round++) {
        run_threads(60000);
        struct tandem_stats after = settled_stats();
        EXPECT_EQ(failures.load(), 0u) << "an object was held twice";
        EXPECT_EQ(after.live_bytes, before.live_bytes) << "what a cache has lost counts as live";
        EXPECT_EQ(after.cached_bytes, 0u) << "caches of threads that are gone";
    }
}

}  // namespace
