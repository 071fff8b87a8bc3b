// Ten thousand threads, one after the other and at once.
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

const size_t thread_count = variant_is_tiny ? 2000 : 10000;
constexpr size_t stack_bytes = size_t{64} << 10;
constexpr size_t least_threads = 500;  // with fewer nothing is tested

// Starts a thread with a small stack; false if no more can be had.
bool start_thread(pthread_t *thread, void *(*run)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    int error = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

// The same, for half a minute: tests that run beside this one may have all threads that this machine allows.
bool start_thread_patiently(pthread_t *thread, void *(*run)(void *), void *argument) {
    for (int tries = 0; tries < 3000; tries++) {
        if (start_thread(thread, run, argument)) {
            return true;
        }
        usleep(10000);
    }
    return false;
}

std::atomic<int> failures;

void *work_briefly(void *argument) {
    workload work(reinterpret_cast<uintptr_t>(argument), 2000);
    failures += !work.run(60);
    return nullptr;
}

TEST(many_threads, short_lived) {
    failures = 0;
    std::vector<pthread_t> threads(50);
    for (uintptr_t started = 0; started < thread_count;) {
        for (pthread_t &thread : threads) {
            ASSERT_TRUE(start_thread_patiently(&thread, work_briefly, reinterpret_cast<void *>(started++)));
        }
        for (pthread_t thread : threads) {
            pthread_join(thread, nullptr);
        }
    }
    EXPECT_EQ(failures.load(), 0);
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    EXPECT_LE(stats.slabs, 200u) << "slabs of threads that are gone";
    EXPECT_LE(stats.mapped_bytes, size_t{128} << 20);
}

// What thousands of threads that are all alive share.
struct meeting {
    std::mutex mutex;
    std::condition_variable condition;
    size_t arrived = 0;
    bool may_go = false;
    std::vector<void *> objects;  // one per thread, freed by the thread after it

    void wait_for(size_t threads) {
        std::unique_lock<std::mutex> lock(mutex);
        condition.wait(lock, [&] { return arrived == threads; });
    }

    void let_go() {
        std::lock_guard<std::mutex> lock(mutex);
        may_go = true;
        condition.notify_all();
    }
};

struct attendant {
    meeting *place;
    size_t index;
};

void *attend(void *argument) {
    auto *self = static_cast<attendant *>(argument);
    meeting *place = self->place;
    void *kept = opaque(malloc(100 + self->index % 400));
    fill_pattern(kept, 100, self->index);
    void *freed[20];
    for (size_t i = 0; i < 20; i++) {
        freed[i] = opaque(malloc(16 << (i % 6)));
    }
    for (void *object : freed) {
        free(opaque(object));
    }
    {
        std::unique_lock<std::mutex> lock(place->mutex);
        place->objects[self->index] = kept;
        place->arrived++;
        place->condition.notify_all();
        place->condition.wait(lock, [place] { return place->may_go; });
    }
    size_t next = (self->index + 1) % place->arrived;
    failures += !has_pattern(place->objects[next], 100, next);
    free(place->objects[next]);
    return nullptr;
}

TEST(many_threads, all_at_once) {
    failures = 0;
    meeting place;
    place.objects.resize(thread_count);
    std::vector<attendant> attendants(thread_count);
    std::vector<pthread_t> threads;
    threads.reserve(thread_count);
    for (size_t i = 0; i < thread_count; i++) {
        attendants[i] = {&place, i};
        pthread_t thread;
        const auto start = i < least_threads ? start_thread_patiently : start_thread;
        if (!start(&thread, attend, &attendants[i])) {
            break;  // the limits of this machine
        }
        threads.push_back(thread);
    }
    place.wait_for(threads.size());
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    size_t cpus = std::thread::hardware_concurrency();
    EXPECT_LE(stats.slabs, 18 * cpus + 8) << "slabs of threads that do next to nothing";
    place.let_go();
    for (pthread_t thread : threads) {
        pthread_join(thread, nullptr);
    }
    EXPECT_EQ(failures.load(), 0);
    EXPECT_GE(threads.size(), least_threads);
    RecordProperty("threads", static_cast<int>(threads.size()));

    workload work(1);
    EXPECT_TRUE(work.run(10000) && work.free_all());
}

}  // namespace
