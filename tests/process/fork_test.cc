// fork while other threads are inside of the allocator: the child's heap is whole and usable.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include <pthread.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/child.h"
#include "tests/process/hugepages.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

const int fork_count = variant_is_tiny ? 500 : 1000;

// Threads that allocate and free all the time, in every layer: small objects, spans, mappings, flushes.
class busy_threads {
  public:
    explicit busy_threads(int count) {
        for (int i = 0; i < count; i++) {
            threads_.emplace_back([this, i] { run(static_cast<uint64_t>(i)); });
        }
    }
    ~busy_threads() {
        is_over_ = true;
        for (std::thread &thread : threads_) {
            thread.join();
        }
    }

  private:
    void run(uint64_t seed) {
        workload checked(seed, 300);
        while (!is_over_.load(std::memory_order_relaxed)) {
            EXPECT_TRUE(checked.run(20));
            for (size_t size = 16; size < size_t{8} << 20; size = size * 3 + 16) {
                free(opaque(malloc(size)));  // untouched, so that nearly all time is spent in the allocator
            }
            tandem_flush();
        }
    }

    std::atomic<bool> is_over_{false};
    std::vector<std::thread> threads_;
};

// Forks, runs `work` in the child and tells whether it returned true there. A child that hangs is ended by SIGALRM.
template <typename function> bool true_in_child(function work) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        _exit(work() ? 0 : 1);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        ADD_FAILURE() << "fork or waitpid failed";
        return false;
    }
    EXPECT_FALSE(WIFSIGNALED(status)) << "the child was ended by signal " << WTERMSIG(status);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A little of everything: a fork is tested by how many there are, not by how long each child lives.
bool allocate_in_child() {
    workload small(1, 500);
    workload large(2, 300000);
    return small.run(200) && large.run(3) && small.free_all() && large.free_all();
}

TEST(fork, child_allocates_while_the_parents_threads_do) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count; i++) {
        ASSERT_TRUE(true_in_child(allocate_in_child)) << "fork " << i;
    }
}

TEST(fork, child_forks_again) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count / 10; i++) {
        ASSERT_TRUE(true_in_child([] {
            workload work(3, 1000);
            return work.run(100) &&
                   true_in_child([] { return allocate_in_child() && true_in_child(allocate_in_child); }) &&
                   work.free_all();
        })) << "fork "
            << i;
    }
}

TEST(fork, from_several_threads_at_once) {
    busy_threads busy(1);
    std::vector<std::thread> forkers;
    for (int t = 0; t < 3; t++) {
        forkers.emplace_back([] {
            for (int i = 0; i < fork_count / 10; i++) {
                EXPECT_TRUE(true_in_child(allocate_in_child));
            }
        });
    }
    for (std::thread &forker : forkers) {
        forker.join();
    }
}

TEST(fork, child_starts_threads) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count / 10; i++) {
        ASSERT_TRUE(true_in_child([] {
            std::atomic<int> good{0};
            std::vector<std::thread> threads;
            for (int t = 0; t < 3; t++) {
                threads.emplace_back([&good] { good += allocate_in_child(); });
            }
            for (std::thread &thread : threads) {
                thread.join();
            }
            return good.load() == 3;
        })) << "fork "
            << i;
    }
}

TEST(fork, child_frees_what_other_threads_allocated) {
    busy_threads busy(1);
    for (int i = 0; i < fork_count / 20; i++) {
        auto inherited = std::make_unique<workload>(static_cast<uint64_t>(i), 100000);
        std::thread([&inherited] { EXPECT_TRUE(inherited->run(300)); }).join();
        ASSERT_TRUE(true_in_child([&inherited] { return inherited->free_all() && allocate_in_child(); }));
        ASSERT_TRUE(inherited->run(100)) << "the parent's copy is untouched";
    }
}

struct tandem_stats stats_now() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats;
}

// What other threads were moving when the process forked is lost, and counts as live, but nothing more from then on.
TEST(fork, child_loses_nothing) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count / 20; i++) {
        ASSERT_TRUE(true_in_child([] {
            const uint64_t before = stats_now().live_bytes;
            for (int round = 0; round < 3; round++) {
                if (!allocate_in_child() || stats_now().live_bytes != before) {
                    return false;
                }
                tandem_flush();
                tandem_release_memory(SIZE_MAX);
                if (stats_now().live_bytes != before) {
                    return false;
                }
            }
            return true;
        })) << "fork "
            << i;
    }
}

// More threads than get a cache of their own at once. All have allocated and freed, and wait.
class waiting_threads {
  public:
    explicit waiting_threads(int count) {
        pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(count) + 1);
        for (int i = 0; i < count; i++) {
            threads_.emplace_back([this] {
                for (int round = 0; round < 20; round++) {
                    free(opaque(malloc(size_t{16} << round % 6)));
                }
                pthread_barrier_wait(&barrier_);
                pthread_barrier_wait(&barrier_);
            });
        }
        pthread_barrier_wait(&barrier_);
    }
    ~waiting_threads() {
        pthread_barrier_wait(&barrier_);
        for (std::thread &thread : threads_) {
            thread.join();
        }
        pthread_barrier_destroy(&barrier_);
    }

  private:
    pthread_barrier_t barrier_;
    std::vector<std::thread> threads_;
};

TEST(fork, child_can_empty_what_all_other_threads_have_cached) {
    waiting_threads waiting(static_cast<int>(20 * std::thread::hardware_concurrency()));
    const uint64_t live_bytes = stats_now().live_bytes;
    EXPECT_TRUE(true_in_child([live_bytes] {
        bool is_live_as_before = stats_now().live_bytes == live_bytes;
        tandem_release_memory(SIZE_MAX);
        return is_live_as_before && stats_now().cached_bytes == 0 && stats_now().live_bytes == live_bytes;
    }));
    EXPECT_GT(stats_now().cached_bytes, 0u);
}

TEST(fork, child_leaves_by_exit) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count / 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            // What gtest had not yet written is the parent's.
            bool is_muted = freopen("/dev/null", "w", stdout) != nullptr;
            exit(is_muted && allocate_in_child() ? 0 : 1);
        }
        int status = -1;
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
}

// Fork handlers of the program's own that allocate.
std::atomic<int> handler_calls;

void allocate_in_handler() {
    workload work(5, 5000);
    if (!work.run(50) || !work.free_all()) {
        abort();
    }
    handler_calls++;
}

void register_handlers() {
    pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler);
}

// Forks while threads allocate; `handlers_per_fork` calls of handlers are seen in the parent, as many in the child.
void fork_with_handlers(int handlers_per_fork) {
    busy_threads busy(2);
    handler_calls = 0;
    for (int i = 0; i < fork_count / 20; i++) {
        ASSERT_TRUE(true_in_child(
            [handlers_per_fork] { return handler_calls.load() % handlers_per_fork == 0 && allocate_in_child(); }));
    }
    EXPECT_EQ(handler_calls.load(), fork_count / 20 * handlers_per_fork);
}

CHILD_ROLE(handlers_allocate) {
    register_handlers();
    fork_with_handlers(2);
    return testing::Test::HasFailure();
}

TEST(fork, handlers_allocate) {
    child::outcome outcome = child::run("handlers_allocate");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

// Handlers that are registered before the program's main, and so perhaps before the allocator's own: POSIX runs them
// inside of those that are registered later.
__attribute__((constructor(101))) void register_early_handlers() {
    if (getenv("TEST_EARLY_FORK_HANDLERS") != nullptr) {
        register_handlers();
    }
}

CHILD_ROLE(early_handlers_allocate) {
    fork_with_handlers(2);
    return testing::Test::HasFailure();
}

TEST(fork, handlers_of_constructors_allocate) {
    child::settings settings = child::with_environment({"TEST_EARLY_FORK_HANDLERS=1"});
    settings.seconds = 20;
    child::outcome outcome = child::run("early_handlers_allocate", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

TEST(fork, child_misses_nothing_that_is_on_its_way_to_the_system) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "asks Tandem for statistics";
    }
    constexpr size_t bytes = size_t{64} << 20;
    std::atomic<bool> has_begun{false};
    std::atomic<bool> is_over{false};
    std::thread trimmer([&has_begun, &is_over] {
        while (!is_over) {
            void *object = malloc(bytes);
            memset(object, 1, bytes);
            free(opaque(object));
            has_begun = true;
            tandem_release_memory(SIZE_MAX);
        }
    });
    while (!has_begun) {
        std::this_thread::yield();
    }
    for (int i = 0; i < 40; i++) {
        usleep(5000);
        EXPECT_TRUE(true_in_child([] {
            struct tandem_stats stats;
            tandem_get_stats(&stats, sizeof stats);
            return stats.mapped_bytes > bytes && stats.waste_bytes < bytes / 8;
        })) << "fork "
            << i;
    }
    is_over = true;
    trimmer.join();
}

TEST(fork, while_hugepages_are_split_and_made_whole) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "with Tandem, at its own request";
    }
    std::atomic<bool> is_over{false};
    std::thread other([&is_over] {
        mountains tall(24000, 50);
        while (!is_over) {
            EXPECT_TRUE(tall.rise() && tall.fall());
        }
    });
    const bool makes_hugepages = kernel_makes_hugepages();
    // On a busy machine it takes longer until so much is used again at once.
    for (int i = 0; i < 30 || (makes_hugepages && rebuilt_hugepages() == 0 && i < 1000); i++) {
        usleep(3000);
        EXPECT_TRUE(true_in_child([] {
            mountains low(4000, 50);
            return low.rise() && low.fall() && low.rise();
        })) << "fork "
            << i;
    }
    is_over = true;
    other.join();
    EXPECT_EQ(rebuilt_hugepages() != 0, makes_hugepages);
}

TEST(vfork, then_exec) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count / 10; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", nullptr);
            _exit(9);
        }
        int status = -1;
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
}

TEST(vfork, posix_spawn_and_system) {
    busy_threads busy(2);
    for (int i = 0; i < fork_count / 20; i++) {
        char name[] = "true";
        char *arguments[] = {name, nullptr};
        pid_t pid = -1;
        ASSERT_EQ(posix_spawn(&pid, "/bin/true", nullptr, nullptr, arguments, environ), 0);
        int status = -1;
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
        ASSERT_EQ(system("exit 5"), 5 << 8);
    }
}

std::atomic<int> forks_in_handlers;

void fork_in_handler(int) {
    const int saved_errno = errno;
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    int status = -1;
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0) {
        forks_in_handlers++;
    }
    errno = saved_errno;
}

// fork(2) is async-signal-safe: with one thread, whoever was interrupted may hold any lock.
CHILD_ROLE(fork_in_handlers) {
    struct sigaction action = {};
    action.sa_handler = fork_in_handler;
    sigaction(SIGALRM, &action, nullptr);
    const struct itimerval often = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &often, nullptr);
    const int wanted = variant_is_tiny ? 200 : 400;
    while (forks_in_handlers < 4 * wanted) {
        const size_t sizes[] = {48, 3000, 100000, 3000000};
        const size_t size = sizes[forks_in_handlers / wanted % 4];
        std::vector<void *> objects(size < 100000 ? 5000 : 20);
        for (void *&object : objects) {
            object = opaque(malloc(size));
        }
        for (void *object : objects) {
            free(object);
        }
    }
    return 0;
}

TEST(fork, in_signal_handlers_of_the_only_thread) {
    child::outcome outcome = child::run("fork_in_handlers");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

// A heap that is large enough for hugepages, and the ticks at which it would make some of what it had before.
uint64_t hugepages_made_of_small_objects() {
    std::vector<void *> objects(60000);
    for (void *&object : objects) {
        object = opaque(malloc(256));
        memset(object, 1, 256);
    }
    uint64_t before = 0;
    if (opaque(getenv("FORKS")) != nullptr) {
        EXPECT_TRUE(true_in_child([] { return true; }));
        before = rebuilt_hugepages();  // a tick may have come while there was no child
    }
    for (int i = 0; i < 10; i++) {
        usleep(110000);
        for (int k = 0; k < 4; k++) {
            free(opaque(malloc(300000)));
        }
    }
    return rebuilt_hugepages() - before;
}

CHILD_ROLE(make_hugepages) {
    return hugepages_made_of_small_objects() != 0 ? 0 : 1;
}

// The pages would be copied: a single thread's fork as well, for which no lock is taken.
TEST(fork, makes_no_hugepages_of_what_a_child_shares) {
    if (!variant_is_tandem || variant_is_tiny || !kernel_makes_hugepages()) {
        GTEST_SKIP() << "there are none to be made";
    }
    EXPECT_EQ(child::run("make_hugepages").status, 0) << "it makes none that could be missing";
    EXPECT_EQ(child::run("make_hugepages", child::with_environment({"FORKS=1"})).status, 1);
}

}  // namespace
