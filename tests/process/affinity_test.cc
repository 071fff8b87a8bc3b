// CPUs that change under a thread while it allocates.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

const int move_count = variant_is_tiny ? 2000 : 6000;

bool pin(pid_t tid, int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return sched_setaffinity(tid, sizeof one, &one) == 0;
}

// Knows the CPUs that the main thread may use, and gives them back to it.
class affinity : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(sched_getaffinity(0, sizeof before_, &before_), 0);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &before_)) {
                cpus_.push_back(cpu);
            }
        }
    }
    void TearDown() override { EXPECT_EQ(sched_setaffinity(0, sizeof before_, &before_), 0); }

    bool can_move() const { return cpus_.size() > 1; }
    int cpu_at(int step) const { return cpus_[static_cast<size_t>(step) % cpus_.size()]; }

    std::vector<int> cpus_;

  private:
    cpu_set_t before_;
};

constexpr const char *no_moves = "one CPU is allowed, so no thread can move";

TEST_F(affinity, of_threads_that_are_moved_by_another) {
    if (!can_move()) {
        GTEST_SKIP() << no_moves;
    }
    constexpr int thread_count = 3;
    std::atomic<bool> is_over{false};
    std::atomic<pid_t> tids[thread_count] = {};
    std::vector<std::thread> threads;
    for (int i = 0; i < thread_count; i++) {
        threads.emplace_back([&, i] {
            tids[i] = static_cast<pid_t>(syscall(SYS_gettid));
            workload small(static_cast<uint64_t>(i), 300);
            workload large(static_cast<uint64_t>(i), 40000);
            while (!is_over.load(std::memory_order_relaxed)) {
                EXPECT_TRUE(small.run(500));
                EXPECT_TRUE(large.run(10));
            }
        });
    }
    for (auto &tid : tids) {
        while (tid.load() == 0) {
            sched_yield();
        }
    }
    bool is_moved = true;
    for (int i = 0; i < move_count && is_moved; i++) {
        is_moved = pin(tids[i % thread_count].load(), cpu_at(i / thread_count));
    }
    EXPECT_TRUE(is_moved) << strerror(errno);
    is_over = true;
    for (std::thread &thread : threads) {
        thread.join();
    }
}

TEST_F(affinity, of_a_thread_that_moves_between_allocation_and_free) {
    if (!can_move()) {
        GTEST_SKIP() << no_moves;
    }
    workload work(1, 2000);
    for (int i = 0; i < move_count / 4; i++) {
        ASSERT_TRUE(pin(0, cpu_at(i))) << strerror(errno);
        ASSERT_TRUE(work.run(20));
        if (i % 100 == 0) {
            tandem_flush();
        }
    }
    EXPECT_TRUE(work.free_all());
}

TEST_F(affinity, to_one_cpu_with_many_threads) {
    ASSERT_TRUE(pin(0, cpus_.back())) << strerror(errno);  // threads inherit it
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < 32; i++) {
        threads.emplace_back([i] {
            workload work(i, 1000);
            for (int round = 0; round < 20; round++) {
                EXPECT_TRUE(work.run(100));
                sched_yield();
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

struct tandem_stats stats_now() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats;
}

// Threads on a CPU each, all of which run at the same time: so none has another's cache, whatever names the caches.
void work_on_each(const std::vector<int> &cpus) {
    std::atomic<size_t> waiting{cpus.size()};
    std::vector<std::thread> threads;
    for (int cpu : cpus) {
        threads.emplace_back([&waiting, cpu] {
            EXPECT_TRUE(pin(0, cpu)) << strerror(errno);
            for (waiting--; waiting != 0;) {
                sched_yield();
            }
            workload work(static_cast<uint64_t>(cpu), 3000);
            EXPECT_TRUE(work.run(1000));
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

// What is lost counts as live.
TEST_F(affinity, what_one_cpus_cache_holds_is_not_lost_when_the_process_leaves_it) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "asks Tandem for statistics";
    }
    if (!can_move()) {
        GTEST_SKIP() << no_moves;
    }
    // As many as have stacks that the C library keeps, with what belongs to those.
    const std::vector<int> some(cpus_.begin(), cpus_.begin() + std::min<ptrdiff_t>(4, cpus_.end() - cpus_.begin()));
    work_on_each(some);
    const uint64_t before = stats_now().live_bytes;
    for (int round = 0; round < 3; round++) {
        work_on_each(some);
        EXPECT_EQ(stats_now().live_bytes, before);
        for (int cpu : cpus_) {
            ASSERT_TRUE(pin(0, cpu)) << strerror(errno);
            workload work(static_cast<uint64_t>(cpu), 3000);
            EXPECT_TRUE(work.run(1000));
            EXPECT_EQ(stats_now().live_bytes, before + work.usable_bytes());
        }
    }
    EXPECT_EQ(stats_now().live_bytes, before);
    EXPECT_GT(stats_now().cached_bytes, 0u);
    tandem_release_memory(SIZE_MAX);
    EXPECT_EQ(stats_now().live_bytes, before);
    EXPECT_EQ(stats_now().cached_bytes, 0u) << "of CPUs that the process has left";
}

}  // namespace
