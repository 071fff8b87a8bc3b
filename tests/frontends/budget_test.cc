// How much the slabs of the per-thread front end may hold, over a middle end that counts.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "tests/frontends/registry_fixture.h"

namespace {

class budget : public registry_fixture {
  protected:
    static constexpr size_t total_bytes = cpus * TD_THREAD_BUDGETS_PER_CPU_BYTES;
    static_assert(total_bytes >= TD_SLAB_BUDGET_BYTES, "what one thread may have");
    // A balance for the largest budget.
    static constexpr int64_t much = TD_MUCH_IN_USE_TIMES * int64_t{TD_SLAB_BUDGET_BYTES};

    // Claims more, as a thread does whose bins fill its budget.
    static void claim(struct td_slab *slab) {
        slab->capacity_bytes = static_cast<int64_t>(slab->budget_bytes);
        slab->bins[small_class].free_room = 1;
        td_budget_claim(slab, small_class);
    }

    // Claims what it may.
    static void claim_all(struct td_slab *slab) {
        for (int i = 0; i < 100; i++) {
            claim(slab);
        }
    }

    // The budget of a slab, with nothing in use, after slow paths and changes of roles of which one in `period` is for
    // want of a large object's slots.
    static size_t budget_where_slots_are_missed(uint32_t period) {
        constexpr size_t large_class = TD_CLASS_COUNT - 1;
        struct td_slab *slab = begin_thread();
        for (int i = 0; i < 1000; i++) {
            slab->refills++;
            slab->swaps += period - 1;
            td_budget_claim(slab, large_class);
        }
        size_t budget = slab->budget_bytes;
        EXPECT_EQ(td_slab_lacks_first_slots(slab, large_class), budget == TD_SLAB_BUDGET_SMALL_BYTES);
        retire_thread(slab);
        return budget;
    }

    // The budget of a slab, with nothing in use, after so many slow paths of bins that are empty and full in turns.
    static size_t budget_of_cramped(size_t count, size_t per_ms) {
        struct td_slab *slab = begin_thread();
        slab->refills += TD_SLAB_BUDGET_SMALL_BYTES / TD_SLOW_PATH_EARNS_BYTES;
        claim_all(slab);
        EXPECT_EQ(slab->budget_bytes, size_t{TD_SLAB_BUDGET_SMALL_BYTES});
        for (size_t i = 0; i < count; i++) {
            slab->refills++;
            slab->cramped++;
            fake_middle::set_clock_ms(1000 + i / per_ms);
            claim(slab);
        }
        size_t budget = slab->budget_bytes;
        retire_thread(slab);
        return budget;
    }

    // So many threads at once, which in turns claim what they may, and have walked slow paths enough for all there is.
    static std::vector<size_t> budgets_of_busy_threads(size_t count, int64_t balance = 0) {
        std::vector<struct td_slab *> slabs;
        for (size_t i = 0; i < count; i++) {
            slabs.push_back(begin_thread());
            slabs.back()->refills += TD_SLAB_BUDGET_BYTES / TD_SLOW_PATH_EARNS_BYTES;
            slabs.back()->balance_bytes = balance;
        }
        for (int round = 0; round < 20; round++) {
            for (struct td_slab *slab : slabs) {
                claim(slab);
            }
        }
        std::vector<size_t> budgets;
        for (struct td_slab *slab : slabs) {
            budgets.push_back(slab->budget_bytes);
            retire_thread(slab);
        }
        return budgets;
    }

    static size_t sum(const std::vector<size_t> &numbers) {
        return std::accumulate(numbers.begin(), numbers.end(), size_t{0});
    }

    // What so many threads that begin one after the other get at first.
    static size_t first_budgets(size_t count) {
        size_t bytes = 0;
        for (size_t i = 1; i <= count; i++) {
            bytes += std::clamp(total_bytes / i, size_t{TD_SLAB_BUDGET_MIN_BYTES}, size_t{TD_SLAB_BUDGET_FIRST_BYTES});
        }
        return bytes;
    }
};

TEST_F(budget, budgets_grow_with_use_to_what_a_cpu_may_have) {
    for (size_t cpu_count : {size_t{1}, cpus}) {
        td_budget_init(cpu_count);
        struct td_slab *slab = begin_thread();
        EXPECT_LE(slab->budget_bytes, size_t{TD_SLAB_BUDGET_FIRST_BYTES});
        claim_all(slab);
        EXPECT_LE(slab->budget_bytes, 2 * size_t{TD_SLAB_BUDGET_FIRST_BYTES}) << "without having walked slow paths";
        slab->refills += TD_SLAB_BUDGET_BYTES / TD_SLOW_PATH_EARNS_BYTES / 4;
        slab->flushes += TD_SLAB_BUDGET_BYTES / TD_SLOW_PATH_EARNS_BYTES / 4;
        claim_all(slab);
        EXPECT_EQ(slab->budget_bytes, size_t{TD_SLAB_BUDGET_SMALL_BYTES}) << "for who keeps nothing";
        slab->balance_bytes = much;
        claim_all(slab);
        EXPECT_EQ(slab->budget_bytes, size_t{TD_SLAB_BUDGET_BYTES}) << cpu_count << " CPUs";
        retire_thread(slab);
    }
}

TEST_F(budget, a_budget_that_is_too_small_for_what_a_thread_allocates_all_the_time_grows) {
    EXPECT_GT(budget_where_slots_are_missed(1), TD_BIN_MIN * TD_MAX_SMALL_BYTES);
    EXPECT_GT(budget_where_slots_are_missed(TD_UNSERVED_SHARE), TD_BIN_MIN * TD_MAX_SMALL_BYTES);
    EXPECT_EQ(budget_where_slots_are_missed(2 * TD_UNSERVED_SHARE), size_t{TD_SLAB_BUDGET_SMALL_BYTES});
}

TEST_F(budget, a_budget_does_not_grow_for_small_objects_where_large_ones_lack_slots) {
    struct td_slab *slab = begin_thread();
    for (int i = 0; i < 1000; i++) {
        slab->refills++;
        slab->unserved++;
        claim(slab);
    }
    EXPECT_EQ(slab->budget_bytes, size_t{TD_SLAB_BUDGET_SMALL_BYTES});
    retire_thread(slab);
}

TEST_F(budget, a_budget_that_many_bins_need_more_of_grows_by_what_that_has_cost) {
    constexpr size_t small_bytes = TD_SLAB_BUDGET_SMALL_BYTES;
    constexpr size_t count = small_bytes / TD_CRAMPED_EARNS_BYTES;
    constexpr size_t often = 2 * TD_CRAMPED_PER_MS;
    // The first ones only tell when the time begins.
    EXPECT_EQ(budget_of_cramped(2 * count - 1, often), small_bytes);
    EXPECT_EQ(budget_of_cramped(2 * count, often), 2 * small_bytes);
    EXPECT_EQ(budget_of_cramped(4 * count, often), 4 * small_bytes);
    EXPECT_EQ(budget_of_cramped(100 * count, TD_CRAMPED_PER_MS / 2), small_bytes) << "too seldom to matter";
}

#if !TD_TINY
// Objects of up to 1 KiB, each of which takes the place of an earlier one; with the slow paths of the front end.
void replace_in_turn(struct td_slab *slab, std::vector<std::pair<size_t, void *>> *kept, size_t count,
                     std::mt19937 *random) {
    for (size_t step = 0; step < count; step++) {
        auto &[i, object] = (*kept)[(*random)() % kept->size()];
        if (object != nullptr && !td_slab_plain_push(slab, td_class_code(i), object)) {
            td_budget_claim(slab, i);
            td_slab_overflow(&td_slab_plain_ops, slab, i, object);
        }
        i = 1 + (*random)() % TD_TABLE_CLASSES;
        object = td_slab_plain_pop(slab, td_class_code(i), true);
        if (object == nullptr) {
            td_budget_claim(slab, i);
            object = td_slab_refill(&td_slab_plain_ops, slab, i);
        }
    }
}

// Little is in use; 8,000 to 10,000 slow paths if the budget stays small.
TEST_F(budget, a_thread_that_keeps_few_objects_of_many_sizes_comes_to_need_few_slow_paths) {
    constexpr size_t operations = 100000;
    for (size_t count : {1, 20, 60}) {
        struct td_slab *slab = begin_thread();
        std::mt19937 random(1);
        std::vector<std::pair<size_t, void *>> kept(count);
        replace_in_turn(slab, &kept, 40 * operations, &random);
        uint64_t before = td_slab_slow_paths(slab);
        replace_in_turn(slab, &kept, operations, &random);
        EXPECT_LE(td_slab_slow_paths(slab) - before, operations / 200) << count << " kept";
        for (const auto &[i, object] : kept) {
            deallocate(slab, i, object);
        }
        end_thread(slab);
    }
}
#endif

TEST_F(budget, budgets_of_many_threads_do_not_grow_beyond_what_there_is_for_all) {
    EXPECT_LE(sum(budgets_of_busy_threads(100)), total_bytes);
    EXPECT_GT(sum(budgets_of_busy_threads(100)), first_budgets(100));
    std::vector<size_t> budgets = budgets_of_busy_threads(1000);
    EXPECT_EQ(sum(budgets), first_budgets(1000)) << "which is more than there is";
    EXPECT_EQ(budgets_of_busy_threads(1000, much), budgets) << "whatever they keep";
    EXPECT_EQ(*std::min_element(budgets.begin(), budgets.end()), size_t{TD_SLAB_BUDGET_MIN_BYTES});
}

TEST_F(budget, of_much_in_small_objects_few_threads_may_have_a_part) {
    if (few == 0) {
        GTEST_SKIP() << "no threads are few";
    }
    std::vector<size_t> small(few, TD_SLAB_BUDGET_SMALL_BYTES);
    EXPECT_EQ(budgets_of_busy_threads(few), small);
    fake_middle::set_span_bytes(TD_MUCH_IN_USE_TIMES * (few / 2) * size_t{TD_SLAB_BUDGET_BYTES});
    EXPECT_EQ(budgets_of_busy_threads(few), std::vector<size_t>(few, TD_SLAB_BUDGET_BYTES / 2));
    EXPECT_EQ(budgets_of_busy_threads(2), std::vector<size_t>(2, TD_SLAB_BUDGET_BYTES)) << "what a CPU may have";
    EXPECT_EQ(sum(budgets_of_busy_threads(64 * few)), first_budgets(64 * few)) << "which are not few";
    fake_middle::set_span_bytes(0);
    EXPECT_EQ(budgets_of_busy_threads(few), small);
}

TEST_F(budget, what_exited_threads_have_left_counts_where_little_is_in_use) {
    constexpr size_t small = TD_SLAB_BUDGET_SMALL_BYTES;
    constexpr size_t for_both = TD_MUCH_IN_USE_TIMES * (small + 2 * small);
    std::vector<struct td_slab *> slabs = begin_threads(2);
    for (struct td_slab *slab : slabs) {
        slab->refills += TD_SLAB_BUDGET_BYTES / TD_SLOW_PATH_EARNS_BYTES;
        claim_all(slab);
        EXPECT_EQ(slab->budget_bytes, small);
    }
    slabs[1]->capacity_bytes = 0;
    end_thread(slabs[1]);
    fake_middle::set_span_bytes(for_both - 1);
    claim_all(slabs[0]);
    EXPECT_EQ(slabs[0]->budget_bytes, small);
    fake_middle::set_span_bytes(for_both);
    claim_all(slabs[0]);
    EXPECT_EQ(slabs[0]->budget_bytes, 2 * small);
    fake_middle::set_span_bytes(0);
    retire_thread(slabs[0]);
}

TEST_F(budget, few_threads_that_keep_or_pass_on_much_may_have_what_cpus_have) {
    if (few == 0) {
        GTEST_SKIP() << "no threads are few";
    }
    for (int64_t balance : {much, -much}) {
        EXPECT_EQ(budgets_of_busy_threads(few, balance), std::vector<size_t>(few, TD_SLAB_BUDGET_BYTES));
        EXPECT_EQ(budgets_of_busy_threads(2 * few, balance), std::vector<size_t>(2 * few, TD_SLAB_BUDGET_BYTES / 2));
        EXPECT_EQ(budgets_of_busy_threads(4 * few, balance), std::vector<size_t>(4 * few, TD_SLAB_BUDGET_BYTES / 8));
        EXPECT_EQ(budgets_of_busy_threads(few, balance / 4), std::vector<size_t>(few, TD_SLAB_BUDGET_BYTES / 4));
    }
}

TEST_F(budget, a_thread_may_have_its_share_whatever_slabs_of_others_hold) {
    std::vector<struct td_slab *> slabs = begin_threads(2);
    td_budget_end(slabs[0]);
    slabs[0]->budget_bytes = total_bytes;
    td_budget_fork_child(1, total_bytes + slabs[1]->budget_bytes);
    slabs[1]->refills += TD_SLAB_BUDGET_BYTES / TD_SLOW_PATH_EARNS_BYTES;
    slabs[1]->balance_bytes = much;
    claim_all(slabs[1]);
    EXPECT_EQ(slabs[1]->budget_bytes, total_bytes);
    td_registry_retire(slabs[0]);
    retire_thread(slabs[1]);
}

}  // namespace
