#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include <sys/syscall.h>

#include "tests/process/seccomp_filter.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/lock.h"
}

namespace {

constexpr int mark = 4711;  // an errno that nothing sets

struct td_lock lock;  // not held between tests

TEST(lock, excludes_all_others) {
    constexpr size_t threads = 4, rounds = 50000;
    size_t plain_count = 0;  // guarded by lock; a data race shows as a wrong sum, and in ThreadSanitizer
    std::vector<std::thread> workers;
    for (size_t i = 0; i < threads; i++) {
        workers.emplace_back([&plain_count] {
            for (size_t round = 0; round < rounds; round++) {
                td_lock_acquire(&lock, TD_RANK_CENTRAL);
                plain_count++;
                td_lock_release(&lock, TD_RANK_CENTRAL);
            }
        });
    }
    for (std::thread &worker : workers) {
        worker.join();
    }
    EXPECT_EQ(plain_count, threads * rounds);
    EXPECT_EQ(lock.state, 0u);
}

TEST(lock, trying_succeeds_where_acquiring_would_not_wait) {
    ASSERT_TRUE(td_lock_try_acquire(&lock, TD_RANK_CENTRAL));
    bool others_try = true;
    std::thread other([&others_try] { others_try = td_lock_try_acquire(&lock, TD_RANK_CENTRAL); });
    other.join();
    EXPECT_FALSE(others_try);
    td_lock_release(&lock, TD_RANK_CENTRAL);
    EXPECT_TRUE(td_lock_try_acquire(&lock, TD_RANK_CENTRAL));
    td_lock_release(&lock, TD_RANK_CENTRAL);
}

TEST(lock, sleepers_are_woken_and_counted) {
    constexpr size_t sleepers = 3;
    uint64_t contended = td_lock_contended_count();
    td_lock_acquire(&lock, TD_RANK_CENTRAL);
    size_t plain_count = 0;  // guarded by lock
    std::vector<std::thread> workers;
    for (size_t i = 0; i < sleepers; i++) {
        workers.emplace_back([&plain_count] {
            td_lock_acquire(&lock, TD_RANK_CENTRAL);
            plain_count++;
            td_lock_release(&lock, TD_RANK_CENTRAL);
        });
    }
    // Each of them has found the lock taken before it is given up: the count tells.
    while (td_lock_contended_count() != contended + sleepers) {
        std::this_thread::yield();
    }
    td_lock_release(&lock, TD_RANK_CENTRAL);
    for (std::thread &worker : workers) {
        worker.join();
    }
    EXPECT_EQ(plain_count, sleepers);
}

TEST(lock, without_others_nothing_is_contended) {
    uint64_t contended = td_lock_contended_count();
    for (int i = 0; i < 1000; i++) {
        td_lock_acquire(&lock, TD_RANK_CENTRAL);
        td_lock_release(&lock, TD_RANK_CENTRAL);
    }
    EXPECT_EQ(td_lock_contended_count(), contended);
}

// One thread holds the lock until the other sleeps, whose system calls before that fail.
TEST(lock, keeps_errno) {
    errno = mark;
    td_lock_acquire(&lock, TD_RANK_CENTRAL);
    std::thread other([] {
        bool is_filtered = forbid_system_calls({SYS_sched_yield}, EPERM);
        errno = mark;
        td_lock_acquire(&lock, TD_RANK_CENTRAL);
        td_lock_release(&lock, TD_RANK_CENTRAL);
        EXPECT_EQ(errno, mark) << (is_filtered ? "with" : "without") << " a filter";
    });
    while (__atomic_load_n(&lock.state, __ATOMIC_RELAXED) != 2) {
        std::this_thread::yield();
    }
    td_lock_release(&lock, TD_RANK_CENTRAL);
    EXPECT_EQ(errno, mark);
    other.join();
}

TEST(lock, between_fork_handlers_its_holder_passes) {
    td_lock_acquire(&lock, TD_RANK_CENTRAL);
    td_lock_begin_bypass();
    td_lock_acquire(&lock, TD_RANK_CENTRAL);  // would never return
    EXPECT_TRUE(td_lock_try_acquire(&lock, TD_RANK_CENTRAL));
    td_lock_release(&lock, TD_RANK_CENTRAL);
    EXPECT_NE(lock.state, 0u) << "the release between the handlers gave the lock up";
    td_lock_end_bypass();
    td_lock_release(&lock, TD_RANK_CENTRAL);
    EXPECT_EQ(lock.state, 0u);
}

#if defined(TEST_DEBUG)
TEST(lock_death_test, an_inversion_ends_the_process) {
    static struct td_lock lower;
    td_lock_acquire(&lower, TD_RANK_BACKEND);
    EXPECT_DEATH(td_lock_acquire(&lock, TD_RANK_CENTRAL), "tandem: lock order violated");
    td_lock_release(&lower, TD_RANK_BACKEND);
}

TEST(lock_death_test, a_system_call_under_a_lock_ends_the_process) {
    td_lock_acquire(&lock, TD_RANK_CENTRAL);
    EXPECT_DEATH(td_lock_check_none_held("a call that may block"), "tandem: a call that may block");
    td_lock_release(&lock, TD_RANK_CENTRAL);
    td_lock_check_none_held("a call that may block");
}
#endif

}  // namespace
