// The per-thread front end's slabs and their budgets, over a middle end that counts.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/perthread/budget.h"
#include "frontends/perthread/registry.h"
}

namespace {

constexpr size_t small_class = 3;
constexpr size_t cpus = 2;
constexpr size_t warm_max = cpus * TD_WARM_SLABS;
constexpr size_t few = cpus * TD_FEW_THREADS;
constexpr size_t total_bytes = cpus * TD_THREAD_BUDGETS_PER_CPU_BYTES;
static_assert(total_bytes >= TD_SLAB_BUDGET_BYTES, "what one thread may have");
// A balance for the largest budget.
constexpr int64_t much = TD_MUCH_IN_USE_TIMES * int64_t{TD_SLAB_BUDGET_BYTES};
constexpr size_t thread_count = 8;

void *allocate(struct td_slab *slab, size_t class_index) {
    void *object = td_slab_plain_pop(slab, td_class_code(class_index), td_class_has_two_stacks(class_index));
    return object != nullptr ? object : td_slab_refill(&td_slab_plain_ops, slab, class_index);
}

void deallocate(struct td_slab *slab, size_t class_index, void *object) {
    if (!td_slab_plain_push(slab, td_class_code(class_index), object)) {
        td_slab_overflow(&td_slab_plain_ops, slab, class_index, object);
    }
}

// What a thread does when it begins.
struct td_slab *begin_thread() {
    td_budget_add_thread();
    struct td_slab *slab = td_registry_take(false);
    EXPECT_NE(slab, nullptr);
    if (slab->budget_bytes == 0) {
        td_budget_begin(slab);
    }
    return slab;
}

void end_thread(struct td_slab *slab) {
    td_registry_leave(slab);
    td_budget_remove_thread();
}

// What a thread does that exits while enough is warm.
void retire_thread(struct td_slab *slab) {
    slab->capacity_bytes = 0;
    td_registry_retire(slab);
    td_budget_remove_thread();
}

void use(struct td_slab *slab) {
    deallocate(slab, small_class, allocate(slab, small_class));
}

size_t objects_out() {
    size_t count = 0;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        count += fake_middle::objects_out(i);
    }
    return count;
}

class registry : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        td_size_class_init();
        td_budget_init(cpus);
        td_registry_init(cpus);
    }

    void TearDown() override {
        td_registry_drain();
        EXPECT_EQ(objects_out(), 0u);
    }

    // So many threads at once, each of which uses its slab.
    static std::vector<struct td_slab *> begin_threads(size_t count) {
        std::vector<struct td_slab *> slabs;
        for (size_t i = 0; i < count; i++) {
            slabs.push_back(begin_thread());
            use(slabs.back());
        }
        return slabs;
    }

    static void end_threads(const std::vector<struct td_slab *> &slabs) {
        for (struct td_slab *slab : slabs) {
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

// Claims more, as a thread does whose bins fill its budget.
void claim(struct td_slab *slab) {
    slab->capacity_bytes = static_cast<int64_t>(slab->budget_bytes);
    slab->bins[small_class].free_room = 1;
    td_budget_claim(slab, small_class);
}

// Claims what it may.
void claim_all(struct td_slab *slab) {
    for (int i = 0; i < 100; i++) {
        claim(slab);
    }
}

TEST_F(registry, budgets_grow_with_use_to_what_a_cpu_may_have) {
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

// The budget of a slab, with nothing in use, after slow paths and changes of roles of which one in `period` is for want
// of a large object's slots.
size_t budget_where_slots_are_missed(uint32_t period) {
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

TEST_F(registry, a_budget_that_is_too_small_for_what_a_thread_allocates_all_the_time_grows) {
    EXPECT_GT(budget_where_slots_are_missed(1), TD_BIN_MIN * TD_MAX_SMALL_BYTES);
    EXPECT_GT(budget_where_slots_are_missed(TD_UNSERVED_SHARE), TD_BIN_MIN * TD_MAX_SMALL_BYTES);
    EXPECT_EQ(budget_where_slots_are_missed(2 * TD_UNSERVED_SHARE), size_t{TD_SLAB_BUDGET_SMALL_BYTES});
}

TEST_F(registry, a_budget_does_not_grow_for_small_objects_where_large_ones_lack_slots) {
    struct td_slab *slab = begin_thread();
    for (int i = 0; i < 1000; i++) {
        slab->refills++;
        slab->unserved++;
        claim(slab);
    }
    EXPECT_EQ(slab->budget_bytes, size_t{TD_SLAB_BUDGET_SMALL_BYTES});
    retire_thread(slab);
}

// The budget of a slab, with nothing in use, after so many slow paths of bins that are empty and full in turns.
size_t budget_of_cramped(size_t count, size_t per_ms) {
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

TEST_F(registry, a_budget_that_many_bins_need_more_of_grows_by_what_that_has_cost) {
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
TEST_F(registry, a_thread_that_keeps_few_objects_of_many_sizes_comes_to_need_few_slow_paths) {
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

// So many threads at once, which in turns claim what they may, and have walked slow paths enough for all there is.
std::vector<size_t> budgets_of_busy_threads(size_t count, int64_t balance = 0) {
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

size_t sum(const std::vector<size_t> &numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), size_t{0});
}

// What so many threads that begin one after the other get at first.
size_t first_budgets(size_t count) {
    size_t bytes = 0;
    for (size_t i = 1; i <= count; i++) {
        bytes += std::clamp(total_bytes / i, size_t{TD_SLAB_BUDGET_MIN_BYTES}, size_t{TD_SLAB_BUDGET_FIRST_BYTES});
    }
    return bytes;
}

TEST_F(registry, budgets_of_many_threads_do_not_grow_beyond_what_there_is_for_all) {
    EXPECT_LE(sum(budgets_of_busy_threads(100)), total_bytes);
    EXPECT_GT(sum(budgets_of_busy_threads(100)), first_budgets(100));
    std::vector<size_t> budgets = budgets_of_busy_threads(1000);
    EXPECT_EQ(sum(budgets), first_budgets(1000)) << "which is more than there is";
    EXPECT_EQ(budgets_of_busy_threads(1000, much), budgets) << "whatever they keep";
    EXPECT_EQ(*std::min_element(budgets.begin(), budgets.end()), size_t{TD_SLAB_BUDGET_MIN_BYTES});
}

TEST_F(registry, of_much_in_small_objects_few_threads_may_have_a_part) {
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

TEST_F(registry, what_exited_threads_have_left_counts_where_little_is_in_use) {
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

TEST_F(registry, few_threads_that_keep_or_pass_on_much_may_have_what_cpus_have) {
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

TEST_F(registry, a_thread_may_have_its_share_whatever_slabs_of_others_hold) {
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

void come_and_go(unsigned seed) {
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
