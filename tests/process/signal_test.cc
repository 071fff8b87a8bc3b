// Signals at a high rate, at any point of malloc and free: nothing is lost, handed out twice or deadlocked.
//
// What a handler may do: nothing to the heap in any mode; free small objects with the per-CPU front end; with
// restartable sequences also allocate and free, and keep what it allocated, as long as the interrupted thread's cache
// has objects.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

const int signals_wanted = variant_is_tiny ? 5000 : 20000;

std::atomic<int> signals;

bool is_rseq() {
    return strncmp(tandem_mode(), "rseq", 4) == 0;
}

// A timer that sends this thread SIGPROF as fast as the kernel can, to `handler`.
class signal_storm {
  public:
    explicit signal_storm(void (*handler)(int)) {
        signals = 0;
        struct sigaction action = {};
        action.sa_handler = handler;
        sigaction(SIGPROF, &action, nullptr);
        struct sigevent event = {};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = SIGPROF;
        event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
        EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
        struct itimerspec interval = {};
        interval.it_interval.tv_nsec = 20000;
        interval.it_value.tv_nsec = 20000;
        EXPECT_EQ(timer_settime(timer_, 0, &interval, nullptr), 0);
    }
    ~signal_storm() {
        timer_delete(timer_);
        signal(SIGPROF, SIG_IGN);
    }
    signal_storm(const signal_storm &) = delete;
    signal_storm &operator=(const signal_storm &) = delete;

    static bool is_over() { return signals.load(std::memory_order_relaxed) >= signals_wanted; }

  private:
    timer_t timer_;
};

void count_only(int) {
    signals.fetch_add(1, std::memory_order_relaxed);
}

TEST(signals, that_leave_the_heap_alone) {
    signal_storm storm(count_only);
    workload small(1, 500);
    workload large(2, 300000);
    while (!signal_storm::is_over()) {
        ASSERT_TRUE(small.run(300));
        ASSERT_TRUE(large.run(3));
        tandem_flush();
    }
    EXPECT_TRUE(small.free_all() && large.free_all());
}

TEST(signals, that_leave_the_heap_alone_in_two_threads) {
    std::thread threads[2];
    for (std::thread &thread : threads) {
        thread = std::thread([] {
            signal_storm storm(count_only);
            workload small(3, 500);
            while (!signal_storm::is_over()) {
                ASSERT_TRUE(small.run(300));
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

// Two sizes that the interrupted thread takes from its cache all the time, and the handler too.
constexpr size_t shared_sizes[] = {48, 200};

// The interrupted thread's objects of those sizes: never more than a few, so that it stays on the fast path.
struct shared_objects {
    void *objects[6] = {};
    uint64_t round = 0;

    // Allocates, checks and frees in an order that changes.
    bool turn_over() {
        bool whole = true;
        for (size_t i = 0; i < 6; i++) {
            size_t k = (i * 5 + round) % 6;
            size_t size = shared_sizes[k % 2];
            if (objects[k] != nullptr) {
                whole = whole && has_pattern(objects[k], size, k);
                free(opaque(objects[k]));
            }
            objects[k] = opaque(malloc(size));
            fill_pattern(objects[k], size, k);
        }
        round++;
        return whole;
    }

    ~shared_objects() {
        for (void *object : objects) {
            free(object);
        }
    }
};

// Stays on one CPU, whose cache then knows the sizes that the handler uses.
class pinned_scope {
  public:
    pinned_scope() {
        sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        EXPECT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    }
    ~pinned_scope() { sched_setaffinity(0, sizeof before_, &before_); }
    pinned_scope(const pinned_scope &) = delete;
    pinned_scope &operator=(const pinned_scope &) = delete;

  private:
    cpu_set_t before_;
};

// A cache that holds objects of the shared sizes.
void warm_cache() {
    void *objects[2][16];
    for (int i = 0; i < 2; i++) {
        for (void *&object : objects[i]) {
            object = opaque(malloc(shared_sizes[i]));
        }
    }
    for (auto &row : objects) {
        for (void *object : row) {
            free(opaque(object));
        }
    }
}

std::atomic<bool> is_handler_spoilt;

void allocate_and_free_in_handler(int) {
    int saved_errno = errno;
    for (size_t size : shared_sizes) {
        void *object = opaque(malloc(size));
        fill_pattern(object, size, 77);
        if (!has_pattern(object, size, 77)) {
            is_handler_spoilt = true;
        }
        free(opaque(object));
    }
    errno = saved_errno;
    count_only(0);
}

TEST(signals, whose_handler_allocates_and_frees) {
    if (strcmp(tandem_front_end(), "perthread") == 0) {
        GTEST_SKIP() << "plain stores are not restarted: as POSIX has it, malloc is not for handlers in this mode";
    }
    if (strcmp(tandem_mode(), "locked") == 0) {
        GTEST_SKIP() << "a handler may find the slab's lock held by whom it interrupted";
    }
    if (variant_is_tiny) {
        GTEST_SKIP() << "bins of two send every handler into the slow path";
    }
    pinned_scope pinned;
    warm_cache();
    is_handler_spoilt = false;
    signal_storm storm(allocate_and_free_in_handler);
    shared_objects shared;
    while (!signal_storm::is_over()) {
        ASSERT_TRUE(shared.turn_over());
    }
    EXPECT_FALSE(is_handler_spoilt.load());
}

// What the interrupted thread leaves to the handler, which frees more than it allocates: more than a cache holds of
// such objects.
constexpr size_t handed_over_bytes = 16384;
std::atomic<void *> handed_over[64];
std::atomic<int> freed_by_handler;

void free_in_handler(int) {
    int saved_errno = errno;
    for (std::atomic<void *> &slot : handed_over) {
        void *object = slot.exchange(nullptr);
        if (object != nullptr) {
            is_handler_spoilt = is_handler_spoilt || !has_pattern(object, 48, 5);
            free(opaque(object));
            freed_by_handler++;
        }
    }
    errno = saved_errno;
    count_only(0);
}

// Wherever it comes: in the middle of a refill, an overflow or a flush, whose locks the handler must not wait for.
TEST(signals, whose_handler_only_frees) {
    if (strcmp(tandem_front_end(), "perthread") == 0) {
        GTEST_SKIP() << "plain stores are not restarted: as POSIX has it, free is not for handlers in this mode";
    }
    is_handler_spoilt = false;
    freed_by_handler = 0;
    {
        signal_storm storm(free_in_handler);
        workload small(4, 500);
        for (int round = 0; !signal_storm::is_over(); round++) {
            ASSERT_TRUE(small.run(30));
            for (std::atomic<void *> &slot : handed_over) {
                void *object = opaque(malloc(handed_over_bytes));
                fill_pattern(object, 48, 5);
                void *before = slot.exchange(object);
                free(before);
            }
            if (round % 8 == 0) {
                tandem_flush();
            }
        }
    }
    EXPECT_FALSE(is_handler_spoilt.load());
    EXPECT_GT(freed_by_handler.load(), signals_wanted / 16);
    for (std::atomic<void *> &slot : handed_over) {
        free(slot.exchange(nullptr));
    }
}

// Objects that a handler keeps from one signal to the next.
void *kept_by_handler[4];

void keep_in_handler(int) {
    int saved_errno = errno;
    auto turn = static_cast<size_t>(signals.load(std::memory_order_relaxed));
    void **slot = &kept_by_handler[turn % 4];
    if (*slot != nullptr) {
        is_handler_spoilt = is_handler_spoilt || !has_pattern(*slot, 48, turn % 4);
        free(opaque(*slot));
    }
    *slot = opaque(malloc(48));
    fill_pattern(*slot, 48, turn % 4);
    errno = saved_errno;
    count_only(0);
}

TEST(signals, whose_handler_keeps_objects) {
    if (!is_rseq() || variant_is_tiny) {
        GTEST_SKIP() << "only a restartable sequence notices that it was interrupted";
    }
    pinned_scope pinned;
    warm_cache();
    is_handler_spoilt = false;
    {
        signal_storm storm(keep_in_handler);
        shared_objects shared;
        while (!signal_storm::is_over()) {
            ASSERT_TRUE(shared.turn_over());
        }
    }
    EXPECT_FALSE(is_handler_spoilt.load());
    for (void *&object : kept_by_handler) {
        free(object);
        object = nullptr;
    }
}

// SIGALRM to the whole process, whoever runs, while threads come, allocate and go.
TEST(signals, to_any_thread_of_the_process) {
    signals = 0;
    struct sigaction action = {};
    action.sa_handler = count_only;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, nullptr);
    timer_t timer;
    ASSERT_EQ(timer_create(CLOCK_MONOTONIC, nullptr, &timer), 0);
    struct itimerspec interval = {};
    interval.it_interval.tv_nsec = 50000;
    interval.it_value.tv_nsec = 50000;
    ASSERT_EQ(timer_settime(timer, 0, &interval, nullptr), 0);
    while (signals.load() < signals_wanted / 2) {
        std::thread other([] {
            workload work(5, 2000);
            EXPECT_TRUE(work.run(500));
        });
        workload work(6, 2000);
        EXPECT_TRUE(work.run(500));
        other.join();
    }
    timer_delete(timer);
    signal(SIGALRM, SIG_IGN);
}

// Handlers that give the CPU away, so that the thread may go on elsewhere.
TEST(signals, whose_handler_yields) {
    std::atomic<bool> is_over{false};
    std::atomic<pid_t> tid{0};
    struct sigaction action = {};
    action.sa_handler = [](int) {
        sched_yield();
        count_only(0);
    };
    sigaction(SIGUSR1, &action, nullptr);
    signals = 0;
    std::thread worker([&] {
        tid = static_cast<pid_t>(syscall(SYS_gettid));
        workload work(8, 1000);
        while (!is_over.load(std::memory_order_relaxed)) {
            EXPECT_TRUE(work.run(100));
        }
    });
    while (tid.load() == 0) {
        sched_yield();
    }
    for (int i = 0; i < signals_wanted; i++) {
        syscall(SYS_tgkill, getpid(), tid.load(), SIGUSR1);
        if (i % 16 == 0) {
            sched_yield();
        }
    }
    is_over = true;
    worker.join();
    EXPECT_GT(signals.load(), 0);
}

}  // namespace
