// The per-thread front end's slabs, over a middle end that counts.
#include <algorithm>
#include <cstddef>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/frontends/registry_fixture.h"

namespace {

class registry : public registry_fixture {
  protected:
    static constexpr size_t warm_max = cpus * TD_WARM_SLABS;
    static constexpr size_t thread_count = 8;

    static void come_and_go(unsigned seed) {
        std::minstd_rand random(seed);
        std::vector<std::pair<size_t, void *>> held(50, {0, nullptr});
        for (int life = 0; life < 300; life++) {
            struct td_slab *slab = begin_thread();
            for (int step = 0; step < 50; step++) {
                auto &[class_index, object] = held[random() % held.size()];
                if (object != nullptr) {
                    deallocate(slab, class_index, object);
                }
                class_index = 1 + random() % (TD_CLASS_COUNT - 1);
                object = allocate(slab, class_index);
                EXPECT_NE(object, nullptr);
            }
            if (life == 299) {
                for (auto &[class_index, object] : held) {
                    if (object != nullptr) {
                        deallocate(slab, class_index, object);
                    }
                }
            }
            end_thread(slab);
        }
    }
};

TEST_F(registry, a_thread_finds_what_the_last_one_left) {
    struct td_slab *slab = begin_thread();
    void *object = allocate(slab, small_class);
    deallocate(slab, small_class, object);
    size_t budget = slab->budget_bytes;
    end_thread(slab);
    size_t fetches = fake_middle::fetches();
    struct td_slab *next = begin_thread();
    EXPECT_EQ(next, slab);
    EXPECT_EQ(next->budget_bytes, budget);
    void *found = allocate(next, small_class);
    EXPECT_EQ(fake_middle::fetches(), fetches);
    deallocate(next, small_class, found);
    end_thread(next);
}

TEST_F(registry, so_many_slabs_stay_warm_and_no_more) {
    size_t threads = warm_max + 5;
    std::vector<struct td_slab *> slabs = begin_threads(threads);
    end_threads(slabs);
    size_t with_objects = 0;
    for (struct td_slab *slab : slabs) {
        with_objects += td_slab_cached_bytes(slab) != 0;
        EXPECT_EQ(td_slab_cached_bytes(slab) != 0, slab->budget_bytes != 0);
    }
    EXPECT_EQ(with_objects, warm_max);
}

TEST_F(registry, no_more_stays_warm_than_cpus_may_have) {
    std::vector<struct td_slab *> slabs = begin_threads(2);
    for (struct td_slab *slab : slabs) {
        td_budget_end(slab);
        slab->budget_bytes = cpus * TD_SLAB_BUDGET_BYTES / 2 + 1;
    }
    end_threads(slabs);
    EXPECT_NE(td_slab_cached_bytes(slabs[0]), 0u);
    EXPECT_EQ(td_slab_cached_bytes(slabs[1]), 0u);
}

TEST_F(registry, warm_slabs_are_emptied_when_nobody_needs_them) {
    if (warm_max < 2) {
        GTEST_SKIP() << "takes two";
    }
    std::vector<struct td_slab *> slabs = begin_threads(2);
    end_thread(slabs[0]);
    td_registry_drain_idle();
    end_thread(slabs[1]);
    for (int tick = 2; tick < TD_IDLE_TICKS; tick++) {
        td_registry_drain_idle();
        EXPECT_NE(td_slab_cached_bytes(slabs[0]), 0u) << tick;
    }
    td_registry_drain_idle();
    EXPECT_EQ(td_slab_cached_bytes(slabs[0]), 0u);
    EXPECT_NE(td_slab_cached_bytes(slabs[1]), 0u) << "it was left later";
    td_registry_drain_idle();
    EXPECT_EQ(td_slab_cached_bytes(slabs[1]), 0u);
}

TEST_F(registry, counts_slabs_of_every_kind) {
    struct td_frontend_stats before = {};
    td_registry_add_stats(&before);
    std::vector<struct td_slab *> slabs = begin_threads(3);
    end_thread(slabs[0]);
    td_registry_retire(slabs[1]);
    td_budget_remove_thread();
    struct td_frontend_stats after = {};
    td_registry_add_stats(&after);
    EXPECT_EQ(after.slabs, before.slabs + 2);
    EXPECT_EQ(after.cached_bytes - before.cached_bytes,
              td_slab_cached_bytes(slabs[0]) + td_slab_cached_bytes(slabs[2]));
    EXPECT_GE(after.refills, before.refills + 3);
    end_thread(slabs[2]);
}

TEST_F(registry, is_crowded_beyond_a_few_threads_unless_there_is_a_warm_slab) {
    std::vector<struct td_slab *> slabs = begin_threads(few);
    EXPECT_TRUE(td_registry_is_crowded());
    EXPECT_EQ(td_registry_take(true), nullptr);
    struct td_slab *one_more = begin_thread();
    end_thread(one_more);
    EXPECT_FALSE(td_registry_is_crowded());
    td_registry_drain();
    EXPECT_TRUE(td_registry_is_crowded());
    end_threads(slabs);
    EXPECT_EQ(td_registry_is_crowded(), few == 0);
}

TEST_F(registry, of_a_fork_only_the_callers_slab_and_warm_ones_keep_their_objects) {
    std::vector<struct td_slab *> slabs = begin_threads(3);
    end_thread(slabs[0]);
    td_registry_fork_prepare();
    td_registry_fork_child(slabs[1], 1);
    EXPECT_NE(td_slab_cached_bytes(slabs[0]), 0u);
    EXPECT_NE(td_slab_cached_bytes(slabs[1]), 0u);
    EXPECT_EQ(td_slab_cached_bytes(slabs[2]), 0u);
    end_thread(slabs[1]);
}

// Another library's fork handler may start one.
TEST_F(registry, a_thread_that_begins_while_a_child_is_made_ready_has_its_slab_to_itself) {
    std::vector<struct td_slab *> slabs = begin_threads(4);
    retire_thread(slabs[3]);  // which the late one gets
    struct td_slab *late = nullptr;
    fake_middle::during_returns([&] { late = late != nullptr ? late : begin_thread(); });
    td_registry_fork_prepare();
    td_registry_fork_child(slabs[1], 1);
    fake_middle::during_returns([] {});
    ASSERT_NE(late, nullptr);
    EXPECT_EQ(late, slabs[3]);
    use(late);
    // Both are counted.
    std::vector<struct td_slab *> more = begin_threads(few > 2 ? few - 2 : 0);
    EXPECT_TRUE(td_registry_is_crowded());
    end_threads(more);
    end_thread(late);
    end_thread(slabs[1]);
    td_registry_drain();
    EXPECT_EQ(td_registry_is_crowded(), few == 0);
}

TEST_F(registry, of_many_threads_that_begin_at_once_a_few_get_a_slab) {
    end_thread(begin_thread());  // leaves a warm one, which all of them see
    std::vector<struct td_slab *> slabs(200, nullptr);
    std::vector<std::thread> threads;
    for (struct td_slab *&slab : slabs) {
        threads.emplace_back([&slab] { slab = td_registry_take(true); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    size_t count = 0;
    for (struct td_slab *slab : slabs) {
        count += slab != nullptr;
        if (slab != nullptr) {
            td_registry_retire(slab);
        }
    }
    EXPECT_LE(count, std::max<size_t>(few, 1));
    EXPECT_GT(count, 0u);
}

TEST_F(registry, nothing_is_lost_or_doubled_where_threads_come_and_go) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < thread_count; i++) {
        threads.emplace_back(come_and_go, i + 1);
    }
    for (int i = 0; i < 200; i++) {
        td_registry_drain_idle();
        if (i % 20 == 0) {
            td_registry_drain();
        }
        std::this_thread::yield();
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

}  // namespace
