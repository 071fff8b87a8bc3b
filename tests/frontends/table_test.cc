// The per-CPU front end's table of slabs, in a program: what sequences find where a CPU has no slab.
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "gtest/gtest.h"

extern "C" {
#include "frontends/percpu/fast_path.h"
}

namespace {

constexpr size_t sizes[] = {8, 48, 512, 1024, 1025, 8192, 32768};

struct tandem_stats get_stats() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats;
}

bool are_sequences_used() {
    free(opaque(malloc(1)));
    return std::string(tandem_mode()) != "locked";
}

void expect_zeros() {
    static const td_slab zeros = {};
    EXPECT_EQ(memcmp(&td_no_slab, &zeros, sizeof zeros), 0);
}

// Allocates objects of all sizes, looks at what they hold, and frees them.
void use_every_bin(unsigned char content) {
    static thread_local unsigned char *objects[40][std::size(sizes)];
    for (auto &round : objects) {
        for (size_t i = 0; i < std::size(sizes); i++) {
            round[i] = static_cast<unsigned char *>(opaque(malloc(sizes[i])));
            memset(round[i], content, sizes[i]);
        }
    }
    for (auto &round : objects) {
        for (size_t i = 0; i < std::size(sizes); i++) {
            ASSERT_EQ(round[i][0], content);
            ASSERT_EQ(memcmp(round[i], round[i] + 1, sizes[i] - 1), 0);
            free(round[i]);
        }
    }
}

// The thread stays on one CPU, all of which have no slab meanwhile, as while another thread empties them.
class table_without_slabs : public testing::Test {
  protected:
    void SetUp() override {
        if (!are_sequences_used()) {
            GTEST_SKIP() << tandem_mode_reason();
        }
        ASSERT_EQ(sched_getaffinity(0, sizeof affinity_, &affinity_), 0);
        cpu_set_t here;
        CPU_ZERO(&here);
        CPU_SET(sched_getcpu(), &here);
        ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
        use_every_bin(1);
        slabs_.assign(td_percpu.slabs, td_percpu.slabs + sysconf(_SC_NPROCESSORS_CONF));
        set_all(nullptr);
    }

    void TearDown() override {
        if (slabs_.empty()) {
            return;
        }
        set_all(slabs_.data());
        sched_setaffinity(0, sizeof affinity_, &affinity_);
        use_every_bin(2);
        expect_zeros();
    }

    void set_all(td_slab *const *slabs) {
        for (size_t i = 0; i < slabs_.size(); i++) {
            __atomic_store_n(&td_percpu.slabs[i], slabs != nullptr ? slabs[i] : &td_no_slab, __ATOMIC_RELEASE);
        }
    }

    std::vector<td_slab *> slabs_;

  private:
    cpu_set_t affinity_;
};

TEST_F(table_without_slabs, sequences_find_nothing_and_keep_nothing) {
    alignas(16) char place[16];
    void *object = place, *objects[] = {place, place, place};
    for (size_t i = 0; i < TD_CLASS_COUNT; i++) {
        size_t code = td_class_code(i);
        EXPECT_EQ(td_class_has_two_stacks(i) ? td_rseq_pop(code, true) : td_rseq_pop(code, false), nullptr) << i;
        EXPECT_FALSE(td_rseq_push(code, object)) << i;
        for (size_t count : {size_t{0}, size_t{1}, std::size(objects)}) {
            EXPECT_EQ(td_rseq_pop_batch(i, objects, count), 0u) << i;
            EXPECT_EQ(td_rseq_push_batch(i, objects, count), 0u) << i;
        }
        for (const td_slab *slab : slabs_) {
            if (slab != &td_no_slab) {
                EXPECT_FALSE(td_rseq_replace_bin(slab, i, slab->bins[i], slab->bins[i])) << i;
            }
        }
        expect_zeros();
    }
}

TEST_F(table_without_slabs, threads_go_past_the_caches) {
    struct tandem_stats before = get_stats();
    for (int round = 0; round < 10; round++) {
        use_every_bin(3);
    }
    struct tandem_stats after = get_stats();
    EXPECT_EQ(after.refills, before.refills);
    EXPECT_EQ(after.flushes, before.flushes);
}

TEST(table, has_an_entry_for_every_cpu_that_there_may_be) {
    free(opaque(malloc(1)));
    for (long i = 0; i < sysconf(_SC_NPROCESSORS_CONF); i++) {
        EXPECT_NE(td_percpu.slabs[i], nullptr) << i;
    }
    if (std::string(tandem_mode()) != "rseq (glibc)") {
        EXPECT_EQ(td_percpu.slabs[TD_NO_INDEX], &td_no_slab);
    }
    expect_zeros();
}

TEST(table, threads_whose_slabs_are_emptied_lose_nothing) {
    if (!are_sequences_used()) {
        GTEST_SKIP() << tandem_mode_reason();
    }
    std::atomic<bool> is_over{false};
    std::vector<std::thread> threads;
    for (unsigned char i = 0; i < 4; i++) {
        threads.emplace_back([&is_over, i] {
            while (!is_over) {
                use_every_bin(i);
            }
        });
    }
    // A slab without objects is not emptied: the threads must have been there since.
    const uint64_t enough = get_stats().remote_fences + 300;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (get_stats().remote_fences < enough && std::chrono::steady_clock::now() < end) {
        tandem_release_memory(SIZE_MAX);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    is_over = true;
    for (std::thread &thread : threads) {
        thread.join();
    }
    EXPECT_GE(get_stats().remote_fences, enough);
    expect_zeros();
}

}  // namespace
