// Threads that come and go: what they leave behind is found, and nothing grows with their number.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/resident.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

size_t bytes_in_use() {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

size_t bytes_mapped() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats.mapped_bytes;
}

size_t slab_count() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats.slabs;
}

uint64_t refill_count() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats.refills;
}

using object_list = std::vector<std::pair<void *, size_t>>;

object_list make_objects(size_t count, uint64_t seed) {
    object_list objects;
    for (size_t i = 0; i < count; i++) {
        size_t size = 1 + (i * 7919 + seed * 31) % 3000;
        objects.emplace_back(opaque(malloc(size)), size);
        fill_pattern(objects.back().first, size, i);
    }
    return objects;
}

bool check_and_free(const object_list &objects) {
    bool whole = true;
    for (size_t i = 0; i < objects.size(); i++) {
        whole = whole && has_pattern(objects[i].first, objects[i].second, i);
        free(objects[i].first);
    }
    return whole;
}

TEST(thread_exit, objects_outlive_their_threads) {
    for (int round = 0; round < 30; round++) {
        std::vector<object_list> lists(8);
        std::vector<std::thread> threads;
        for (size_t i = 0; i < lists.size(); i++) {
            threads.emplace_back([&lists, i] { lists[i] = make_objects(500, i); });
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
        for (const object_list &list : lists) {
            EXPECT_TRUE(check_and_free(list));
        }
    }
}

TEST(thread_exit, threads_that_only_free) {
    size_t before = bytes_in_use();
    for (int round = 0; round < 300; round++) {
        object_list objects = make_objects(400, static_cast<uint64_t>(round));
        std::thread([&objects] { EXPECT_TRUE(check_and_free(objects)); }).join();
    }
    EXPECT_LE(bytes_in_use(), before + (size_t{2} << 20)) << "300 threads freed 180 MiB";
}

TEST(thread_exit, threads_that_free_one_object) {
    size_t slabs_before = slab_count();
    size_t before = bytes_in_use();
    for (int round = 0; round < 1000; round++) {
        void *object = opaque(malloc(100));
        std::thread([object] { free(object); }).join();
    }
    EXPECT_LE(bytes_in_use(), before + (size_t{1} << 20));
    EXPECT_LE(slab_count(), slabs_before + 8) << "a slab for each of 1000 threads that are gone";
}

TEST(thread_exit, caches_of_dead_threads_are_used_again) {
    auto live_once = [] {
        workload work(1, 3000);
        EXPECT_TRUE(work.run(1500));
    };
    for (int i = 0; i < 20; i++) {
        std::thread(live_once).join();
    }
    size_t slabs_before = slab_count();
    size_t mapped_before = bytes_mapped();
    for (int i = 0; i < 300; i++) {
        std::thread(live_once).join();
    }
    EXPECT_LE(slab_count(), slabs_before + 4);
    EXPECT_LE(bytes_mapped(), mapped_before + (size_t{8} << 20));
}

TEST(thread_exit, a_thread_finds_what_the_one_before_it_left) {
    if (variant_is_tiny) {
        GTEST_SKIP() << "bins of two objects are refilled all the time";
    }
    constexpr size_t threads = 200;
    auto live = [] { std::thread([] { EXPECT_TRUE(check_and_free(make_objects(100, 1))); }).join(); };
    for (size_t i = 0; i < threads; i++) {
        live();
    }
    uint64_t before = refill_count();
    for (size_t i = 0; i < threads; i++) {
        live();
    }
    // Each allocates objects of some forty classes.
    EXPECT_LE(refill_count() - before, 4 * threads);
}

TEST(thread_exit, in_any_order) {
    // Every thread waits for a turn of its own to end; its objects are freed by whoever comes next.
    constexpr size_t thread_count = 40;
    for (size_t stride : {1, 7, 23, 39}) {
        std::atomic<size_t> turn{0};
        std::vector<object_list> lists(thread_count);
        std::vector<std::thread> threads;
        for (size_t i = 0; i < thread_count; i++) {
            threads.emplace_back([&, i] {
                lists[i] = make_objects(100, i);
                while (turn.load() != i * stride % thread_count) {
                    std::this_thread::yield();
                }
                size_t previous = (i + thread_count / 2) % thread_count;
                if (!lists[previous].empty()) {
                    EXPECT_TRUE(check_and_free(lists[previous]));
                    lists[previous].clear();
                }
                turn++;
            });
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
        for (const object_list &list : lists) {
            EXPECT_TRUE(check_and_free(list));
        }
    }
}

TEST(thread_exit, detached_threads) {
    static std::atomic<int> finished;
    finished = 0;
    for (int i = 0; i < 300; i++) {
        std::thread([i] {
            workload work(static_cast<uint64_t>(i), 2000);
            EXPECT_TRUE(work.run(300));
            finished++;
        }).detach();
    }
    while (finished.load() < 300) {
        usleep(1000);
    }
}

// Keys whose destructors allocate, free, and set their value again, as long as POSIX lets them.
constexpr int key_count = 3;
pthread_key_t keys[key_count];
std::atomic<int> destructor_calls;
std::atomic<int> spoilt;

struct key_value {
    size_t key_index;
    int rounds_left;
    void *object;
};

void set_key(size_t key_index, int rounds_left) {
    auto *value = static_cast<key_value *>(opaque(malloc(sizeof(key_value))));
    value->key_index = key_index;
    value->rounds_left = rounds_left;
    value->object = opaque(malloc(500));
    fill_pattern(value->object, 500, key_index);
    pthread_setspecific(keys[key_index], value);
}

void destroy_key_value(void *pointer) {
    auto *value = static_cast<key_value *>(pointer);
    destructor_calls++;
    workload work(value->key_index, 1000);
    if (!has_pattern(value->object, 500, value->key_index) || !work.run(200)) {
        spoilt++;
    }
    if (value->rounds_left > 0) {
        set_key(value->key_index, value->rounds_left - 1);
    }
    free(value->object);
    free(value);
}

void run_threads_with_keys(int thread_count, int rounds) {
    for (int i = 0; i < thread_count; i++) {
        std::thread([rounds] {
            for (size_t key_index = 0; key_index < key_count; key_index++) {
                set_key(key_index, rounds - 1);
            }
        }).join();
    }
}

TEST(thread_exit, key_destructors_allocate_in_several_rounds) {
    for (pthread_key_t &key : keys) {
        ASSERT_EQ(pthread_key_create(&key, destroy_key_value), 0);
    }
    for (int rounds = 1; rounds <= 4; rounds++) {  // PTHREAD_DESTRUCTOR_ITERATIONS
        destructor_calls = 0;
        spoilt = 0;
        run_threads_with_keys(20, rounds);  // the first threads may cost what later ones use again
        size_t in_use_before = bytes_in_use();
        size_t slabs_before = slab_count();
        run_threads_with_keys(200, rounds);
        EXPECT_EQ(destructor_calls.load(), 220 * rounds * key_count);
        EXPECT_EQ(spoilt.load(), 0);
        EXPECT_LE(bytes_in_use(), in_use_before + (size_t{1} << 20)) << rounds;
        EXPECT_LE(slab_count(), slabs_before + 8) << rounds << " rounds: caches of dead threads are lost";
    }
    for (pthread_key_t key : keys) {
        pthread_key_delete(key);
    }
}

struct frees_at_thread_exit {
    std::vector<std::string> strings;

    ~frees_at_thread_exit() {
        workload work(strings.size(), 4000);
        if (!work.run(300)) {
            spoilt++;
        }
    }
};
thread_local frees_at_thread_exit exiting;

TEST(thread_exit, thread_local_destructors_allocate_and_free) {
    spoilt = 0;
    auto live_once = [] {
        for (int i = 0; i < 200; i++) {
            exiting.strings.emplace_back(static_cast<size_t>(i) * 10, 'x');
        }
    };
    for (int i = 0; i < 20; i++) {
        std::thread(live_once).join();
    }
    size_t before = bytes_in_use();
    for (int i = 0; i < 300; i++) {
        std::thread(live_once).join();
    }
    EXPECT_EQ(spoilt.load(), 0);
    EXPECT_LE(bytes_in_use(), before + (size_t{1} << 20));
}

// A thread that allocates until it is cancelled at a cancellation point; its cleanup handlers free.
struct cancelled_thread {
    std::atomic<bool> is_running{false};
    bool blocks = false;
    int pipe_ends[2] = {-1, -1};
};

void *allocate_until_cancelled(void *argument) {
    auto *self = static_cast<cancelled_thread *>(argument);
    void *object = opaque(malloc(10000));
    pthread_cleanup_push([](void *cleaned) { free(cleaned); }, object);
    for (;;) {
        {
            workload work(7, 4000);
            EXPECT_TRUE(work.run(200));
        }
        self->is_running = true;
        if (self->blocks) {
            char byte;
            EXPECT_LE(read(self->pipe_ends[0], &byte, 1), 0);
        }
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return nullptr;
}

TEST(thread_exit, by_cancellation) {
    size_t before = 0;
    for (int i = 0; i < 220; i++) {
        if (i == 20) {
            before = bytes_in_use();
        }
        cancelled_thread state;
        state.blocks = i % 2 == 0;
        ASSERT_EQ(pipe(state.pipe_ends), 0);
        pthread_t thread;
        ASSERT_EQ(pthread_create(&thread, nullptr, allocate_until_cancelled, &state), 0);
        while (!state.is_running.load()) {
            std::this_thread::yield();
        }
        pthread_cancel(thread);
        void *result = nullptr;
        pthread_join(thread, &result);
        EXPECT_EQ(result, PTHREAD_CANCELED);
        close(state.pipe_ends[0]);
        close(state.pipe_ends[1]);
    }
    EXPECT_LE(bytes_in_use(), before + (size_t{1} << 20));
}

// POSIX.1-2017 XSH 2.9.5.2 does not let realloc be a cancellation point, so what awaits the thread still awaits it
// behind one that has to move the object.
void *grow_while_to_be_cancelled(void *is_grown) {
    constexpr size_t bytes = size_t{8} << 20;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    void *object = memset(opaque(malloc(bytes)), 1, bytes);
    void *neighbour = memset(opaque(malloc(bytes)), 1, bytes);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    object = opaque(realloc(object, 8 * bytes));
    free(object);
    free(neighbour);
    *static_cast<bool *>(is_grown) = true;
    pthread_testcancel();
    return nullptr;
}

TEST(thread_exit, not_within_realloc) {
    for (int i = 0; i < 4; i++) {
        bool is_grown = false;
        pthread_t thread;
        ASSERT_EQ(pthread_create(&thread, nullptr, grow_while_to_be_cancelled, &is_grown), 0);
        void *result = nullptr;
        pthread_join(thread, &result);
        EXPECT_EQ(result, PTHREAD_CANCELED);
        EXPECT_TRUE(is_grown);
    }
}

pthread_barrier_t all_are_there;

// Threads that allocate nothing: glibc has them free what belonged to others, when nobody is told any more that they
// exit.
TEST(thread_exit, detached_threads_that_never_call) {
    constexpr unsigned thread_count = 40;
    free(opaque(malloc(1)));
    size_t slabs_before = slab_count();
    for (int round = 0; round < 5; round++) {
        pthread_barrier_init(&all_are_there, nullptr, thread_count + 1);
        for (unsigned i = 0; i < thread_count; i++) {
            pthread_t thread;
            ASSERT_EQ(pthread_create(
                          &thread, nullptr,
                          [](void *) -> void * {
                              pthread_barrier_wait(&all_are_there);
                              return nullptr;
                          },
                          nullptr),
                      0);
            pthread_detach(thread);
        }
        pthread_barrier_wait(&all_are_there);
        while (status_kib("Threads:") > 1) {
            usleep(1000);
        }
        pthread_barrier_destroy(&all_are_there);
    }
    // At most the locked slabs, one for each CPU, and those of the per-CPU front end.
    EXPECT_LE(slab_count(), slabs_before + 2 * static_cast<size_t>(sysconf(_SC_NPROCESSORS_CONF)));
}

}  // namespace
