// Locked slabs, over a middle end that counts: what is handed out twice or lost is seen there.
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/locked_slab.h"
}

namespace {

constexpr size_t small_class = 3;  // two stacks
constexpr size_t thread_count = 8;
constexpr size_t held_max = 300;

class locked_slab : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        sched_getaffinity(0, sizeof all_cpus_, &all_cpus_);
    }

    void TearDown() override {
        sched_setaffinity(0, sizeof all_cpus_, &all_cpus_);
        td_locked_slabs_drain();
        expect_nothing_is_out();
    }

    // So that every call meets the same slab.
    static struct td_slab *stay_on_this_cpu() {
        cpu_set_t cpu;
        CPU_ZERO(&cpu);
        CPU_SET(static_cast<size_t>(sched_getcpu()), &cpu);
        EXPECT_EQ(sched_setaffinity(0, sizeof cpu, &cpu), 0);
        return td_locked_slab_of_cpu();
    }

    static void expect_nothing_is_out() {
        for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
            EXPECT_EQ(fake_middle::objects_out(i), 0u) << "class " << i;
        }
    }

  private:
    cpu_set_t all_cpus_;
};

// The first test, as no CPU has a slab yet.
TEST_F(locked_slab, is_not_made_by_a_thread_that_forks) {
    td_locked_slabs_fork_prepare();
    td_lock_begin_bypass();
    struct td_slab *slab = stay_on_this_cpu();
    td_lock_end_bypass();
    td_locked_slabs_fork_done();
    EXPECT_EQ(slab, nullptr) << "others would take its lock, and this thread would not";
    EXPECT_NE(td_locked_slab_of_cpu(), nullptr);
}

TEST_F(locked_slab, is_the_same_for_all_who_run_on_the_cpu) {
    struct td_slab *slab = stay_on_this_cpu();
    ASSERT_NE(slab, nullptr);
    struct td_slab *other = nullptr;
    std::thread([&] { other = td_locked_slab_of_cpu(); }).join();  // inherits the affinity
    EXPECT_EQ(other, slab);
}

TEST_F(locked_slab, hands_out_what_it_took_back) {
    struct td_slab *slab = stay_on_this_cpu();
    for (size_t class_index : {small_class, size_t{TD_CLASS_COUNT - 1}}) {
        void *object = td_locked_slab_alloc(slab, class_index);
        ASSERT_NE(object, nullptr);
        td_locked_slab_free(slab, class_index, object);
        fake_middle::limit_objects(0);
        bool came_back = false;
        std::vector<void *> objects;
        while (void *next = td_locked_slab_alloc(slab, class_index)) {
            objects.push_back(next);
            came_back = came_back || next == object;
        }
        fake_middle::limit_objects(SIZE_MAX);
        EXPECT_TRUE(came_back) << "class " << class_index;
        for (void *each : objects) {
            td_locked_slab_free(slab, class_index, each);
        }
    }
}

TEST_F(locked_slab, takes_objects_of_several_classes_back_at_once) {
    struct td_slab *slab = stay_on_this_cpu();
    std::vector<struct td_object> objects;
    for (size_t i = 0; i < 3 * TD_BATCH_MAX; i++) {
        for (size_t class_index : {small_class, size_t{TD_CLASS_COUNT - 1}}) {
            objects.push_back({class_index, td_locked_slab_alloc(slab, class_index)});
            ASSERT_NE(objects.back().pointer, nullptr);
        }
    }
    td_locked_slab_free_all(slab, objects.data(), 0);
    td_locked_slab_free_all(slab, objects.data(), objects.size());  // more than there is room for
    td_locked_slabs_drain();
    expect_nothing_is_out();
}

TEST_F(locked_slab, says_that_there_is_no_memory) {
    struct td_slab *slab = stay_on_this_cpu();
    td_locked_slabs_drain();
    fake_middle::fail_fetches(1);
    EXPECT_EQ(td_locked_slab_alloc(slab, small_class), nullptr);
    void *object = td_locked_slab_alloc(slab, small_class);
    EXPECT_NE(object, nullptr);
    td_locked_slab_free(slab, small_class, object);
}

TEST_F(locked_slab, is_counted_with_what_it_holds) {
    struct td_slab *slab = stay_on_this_cpu();
    td_locked_slabs_drain();
    struct td_frontend_stats before = {};
    td_locked_slabs_add_stats(&before);
    EXPECT_GE(before.slabs, 1u);
    EXPECT_EQ(before.cached_bytes, 0u);
    td_locked_slab_free(slab, small_class, td_locked_slab_alloc(slab, small_class));
    struct td_frontend_stats after = {};
    td_locked_slabs_add_stats(&after);
    EXPECT_EQ(after.slabs, before.slabs);
    EXPECT_GE(after.cached_bytes, td_class_bytes(small_class));
    EXPECT_GT(after.refills, before.refills);
}

TEST_F(locked_slab, is_emptied_when_it_lies_unused) {
    struct td_slab *slab = stay_on_this_cpu();
    td_locked_slabs_drain();
    td_locked_slab_free(slab, small_class, td_locked_slab_alloc(slab, small_class));
    for (int tick = 0; tick < TD_IDLE_TICKS; tick++) {
        EXPECT_GT(fake_middle::objects_out(small_class), 0u) << tick;
        td_locked_slabs_drain_idle();
    }
    td_locked_slabs_drain_idle();
    expect_nothing_is_out();
}

TEST_F(locked_slab, notices_that_what_was_freed_last_is_freed_again) {
    struct td_slab *slab = stay_on_this_cpu();
    void *object = td_locked_slab_alloc(slab, small_class);
    td_locked_slab_free(slab, small_class, object);
    EXPECT_DEATH(td_locked_slab_free(slab, small_class, object), "double free of 0x[0-9a-f]+ \\(48-byte object\\)");
}

// Objects are swapped at random, so most are freed by another thread on another CPU.
void allocate_and_free(unsigned seed) {
    std::minstd_rand random(seed);
    std::vector<std::pair<size_t, void *>> held(held_max, {0, nullptr});
    for (int step = 0; step < 40000; step++) {
        auto &[class_index, object] = held[random() % held_max];
        if (object != nullptr) {
            td_locked_slab_free(td_locked_slab_of_cpu(), class_index, object);
        }
        class_index = 1 + random() % (TD_CLASS_COUNT - 1);
        object = td_locked_slab_alloc(td_locked_slab_of_cpu(), class_index);
        EXPECT_NE(object, nullptr);
    }
    for (auto &[class_index, object] : held) {
        if (object != nullptr) {
            td_locked_slab_free(td_locked_slab_of_cpu(), class_index, object);
        }
    }
}

TEST_F(locked_slab, loses_and_doubles_nothing_with_many_threads) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < thread_count; i++) {
        threads.emplace_back(allocate_and_free, i + 1);
    }
    // Emptied while they are in use, as by a thread that finds no memory.
    for (int i = 0; i < 50; i++) {
        td_locked_slabs_drain();
        std::this_thread::yield();
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

// As fork handlers do, of which some allocate.
TEST_F(locked_slab, can_be_used_by_who_holds_all_of_them) {
    struct td_slab *slab = stay_on_this_cpu();
    std::thread other(allocate_and_free, 1);
    for (int i = 0; i < 1000; i++) {
        td_locked_slabs_fork_prepare();
        td_lock_begin_bypass();
        EXPECT_NE(td_load_relaxed(&slab->lock.state), 0u);
        void *object = td_locked_slab_alloc(slab, small_class);
        EXPECT_NE(object, nullptr);
        td_locked_slab_free(slab, small_class, object);
        td_lock_end_bypass();
        td_locked_slabs_fork_done();
    }
    other.join();
}

}  // namespace
