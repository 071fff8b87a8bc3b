// CPUs that change under a thread while it allocates.
#include <atomic>
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

std::vector<int> allowed_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            cpus.push_back(cpu);
        }
    }
    return cpus;
}

void pin(pid_t tid, int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(tid, sizeof one, &one);
}

// Gives the main thread its CPUs back.
class affinity_scope {
  public:
    affinity_scope() { sched_getaffinity(0, sizeof before_, &before_); }
    ~affinity_scope() { sched_setaffinity(0, sizeof before_, &before_); }
    affinity_scope(const affinity_scope &) = delete;
    affinity_scope &operator=(const affinity_scope &) = delete;

  private:
    cpu_set_t before_;
};

TEST(affinity, of_threads_that_are_moved_by_another) {
    const std::vector<int> cpus = allowed_cpus();
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
    for (int i = 0; i < move_count; i++) {
        pin(tids[i % thread_count].load(), cpus[static_cast<size_t>(i / thread_count) % cpus.size()]);
    }
    is_over = true;
    for (std::thread &thread : threads) {
        thread.join();
    }
}

TEST(affinity, of_a_thread_that_moves_between_allocation_and_free) {
    affinity_scope scope;
    const std::vector<int> cpus = allowed_cpus();
    workload work(1, 2000);
    for (int i = 0; i < move_count / 4; i++) {
        pin(0, cpus[static_cast<size_t>(i) % cpus.size()]);
        ASSERT_TRUE(work.run(20));
        if (i % 100 == 0) {
            tandem_flush();
        }
    }
    EXPECT_TRUE(work.free_all());
}

TEST(affinity, to_one_cpu_with_many_threads) {
    affinity_scope scope;
    pin(0, allowed_cpus().back());  // threads inherit it
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

// What one CPU's cache holds is not lost when the process leaves that CPU.
TEST(affinity, statistics_add_up_on_every_cpu) {
    affinity_scope scope;
    for (int round = 0; round < 3; round++) {
        for (int cpu : allowed_cpus()) {
            pin(0, cpu);
            workload work(static_cast<uint64_t>(cpu), 3000);
            EXPECT_TRUE(work.run(1000));
            struct tandem_stats stats;
            tandem_get_stats(&stats, sizeof stats);
            EXPECT_EQ(stats.live_bytes + stats.cached_bytes + stats.free_bytes + stats.fresh_bytes + stats.waste_bytes +
                          stats.metadata_bytes,
                      stats.mapped_bytes);
        }
    }
}

}  // namespace
