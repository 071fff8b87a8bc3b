// The policy of slabs.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "tests/frontends/slab_fixture.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/slab.h"
#include "middle/middle.h"
}

namespace {

using slab = slab_fixture;

TEST_F(slab, of_zeros_has_nothing_and_takes_nothing) {
    void *zeros = calloc(1, TD_SLAB_BYTES);
    struct td_slab *empty = static_cast<struct td_slab *>(zeros);
    int object;
    for (size_t i = 0; i < TD_CLASS_COUNT; i++) {
        EXPECT_EQ(pop(empty, i), nullptr);
        EXPECT_FALSE(td_slab_plain_push(empty, td_class_code(i), &object));
    }
    EXPECT_EQ(td_slab_cached_bytes(empty), 0u);
    free(zeros);
}

TEST_F(slab, hands_every_object_to_one_owner_only) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        std::vector<void *> held = allocate_many(i, 600);
        ASSERT_EQ(std::set<void *>(held.begin(), held.end()).size(), held.size());
        ASSERT_EQ(std::count(held.begin(), held.end(), nullptr), 0);
        ASSERT_GE(fake_middle::objects_out(i), held.size());
        deallocate_all(i, held);
        td_slab_flush(&td_slab_plain_ops, slab_);
        ASSERT_EQ(fake_middle::objects_out(i), 0u);
    }
}

TEST_F(slab, what_is_out_is_held_or_cached) {
    std::mt19937 random(1);
    std::vector<std::vector<void *>> held(TD_CLASS_COUNT);
    std::set<void *> known;
    for (int step = 0; step < 60000 && !HasFatalFailure(); step++) {
        size_t i = 1 + (random() % 3 == 0 ? random() % (TD_CLASS_COUNT - 1) : random() % 6);
        // Phases in which a class grows, and others in which it shrinks.
        bool grows = (static_cast<size_t>(step) / 500 + i) % 2 == 0;
        if (held[i].empty() || random() % 8 < (grows ? 6 : 2)) {
            void *object = allocate(i);
            ASSERT_NE(object, nullptr);
            ASSERT_TRUE(known.insert(object).second) << "handed out while it was held";
            held[i].push_back(object);
        } else {
            std::swap(held[i].back(), held[i][random() % held[i].size()]);
            known.erase(held[i].back());
            deallocate(i, held[i].back());
            held[i].pop_back();
        }
        if (step % 5000 == 4999) {
            td_slab_flush(&td_slab_plain_ops, slab_);
            ASSERT_EQ(td_slab_cached_bytes(slab_), 0u);
        }
        if (step % 100 == 0) {
            size_t out_bytes = 0, held_bytes = 0;
            for (size_t each = 1; each < TD_CLASS_COUNT; each++) {
                out_bytes += fake_middle::objects_out(each) * td_class_bytes(each);
                held_bytes += held[each].size() * td_class_bytes(each);
            }
            ASSERT_EQ(td_slab_cached_bytes(slab_), out_bytes - held_bytes);
            ASSERT_EQ(slab_->balance_bytes, static_cast<int64_t>(out_bytes));
        }
    }
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        deallocate_all(i, held[i]);
    }
}

TEST_F(slab, stays_within_its_budget) {
    for (size_t limit : {TD_SLAB_BUDGET_BYTES, TD_SLAB_BUDGET_FIRST_BYTES}) {
        slab_->budget_bytes = limit;
        td_slab_reset(slab_);
        for (int round = 0; round < 3; round++) {
            for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
                for (int burst = 0; burst < 4; burst++) {
                    deallocate_all(i, allocate_many(i, 300));
                    ASSERT_LE(slab_->capacity_bytes, static_cast<int64_t>(limit)) << td_class_bytes(i);
                    ASSERT_GE(slab_->capacity_bytes, 0);
                    // Two stacks for each bin's capacity.
                    ASSERT_LE(td_slab_cached_bytes(slab_), 2 * limit) << td_class_bytes(i);
                }
            }
        }
    }
}

#if !TD_TINY
TEST_F(slab, capacity_goes_to_the_bins_that_miss) {
    slab_->budget_bytes = TD_SLAB_BUDGET_FIRST_BYTES;
    size_t first = td_class_of(128), second = td_class_of(256);
    for (int round = 0; round < 20; round++) {
        deallocate_all(first, allocate_many(first, 200));
    }
    ASSERT_GE(slab_->capacity_bytes, static_cast<int64_t>(slab_->budget_bytes / 2))
        << "the first class has not filled the budget";
    for (int round = 0; round < 200; round++) {
        deallocate_all(second, allocate_many(second, 25));
    }
    size_t fetches = fake_middle::fetches();
    for (int round = 0; round < 10; round++) {
        deallocate_all(second, allocate_many(second, 25));
    }
    EXPECT_EQ(fake_middle::fetches(), fetches) << "the second class got no room";
}

TEST_F(slab, bins_in_use_do_not_take_capacity_from_each_other_in_turns) {
    slab_->budget_bytes = size_t{256} << 10;
    // Objects from 16 bytes to 4 KiB, whose bins would hold several times the budget.
    size_t classes = td_class_of_medium(4096);
    std::mt19937 random(1);
    std::vector<std::pair<size_t, void *>> held(5000);
    for (auto &[i, object] : held) {
        i = 1 + random() % classes;
        object = allocate(i);
    }
    const auto replace_many = [&] {
        for (int step = 0; step < 200000; step++) {
            auto &[i, object] = held[random() % held.size()];
            deallocate(i, object);
            i = 1 + random() % classes;
            object = allocate(i);
        }
    };
    replace_many();  // until the bins have settled
    size_t calls_before = fake_middle::fetches() + fake_middle::returns();
    replace_many();
    // 46,673 where each slow path may ask bins to give up capacity.
    EXPECT_LT(fake_middle::fetches() + fake_middle::returns() - calls_before, 36000u);
    for (const auto &[i, object] : held) {
        deallocate(i, object);
    }
}

// What a larger budget would save: not what only passes through.
TEST_F(slab, counts_slow_paths_of_bins_that_are_empty_and_full_in_turns) {
    size_t i = td_class_of(1024);
    size_t more_than_fit = 4 * TD_SLAB_BUDGET_FIRST_BYTES / 1024;
    auto pass_in_turns = [&] {
        for (int round = 0; round < 100; round++) {
            deallocate_all(i, allocate_many(i, more_than_fit));
        }
    };
    slab_->budget_bytes = TD_SLAB_BUDGET_FIRST_BYTES;
    pass_in_turns();
    EXPECT_GE(slab_->cramped, 2 * 90u) << "it is empty and full in turns";
    uint64_t before = slab_->cramped;
    std::vector<void *> held = allocate_many(i, 20000);
    deallocate_all(i, held);
    EXPECT_LE(slab_->cramped, before + 2);
    slab_->budget_bytes = TD_SLAB_BUDGET_BYTES;
    pass_in_turns();
    before = slab_->cramped;
    pass_in_turns();
    EXPECT_EQ(slab_->cramped, before);
}

// Each transfer moves as much as the middle end keeps together: a broken batch would break all that come after it.
TEST_F(slab, what_only_passes_through_moves_in_whole_batches) {
    for (size_t i = 1; i <= TD_TABLE_CLASSES; i++) {
        const size_t batch = td_class_info[i].batch;
        const size_t settled = 20 * batch;
        std::vector<void *> held = allocate_many(i, settled);
        size_t before = fake_middle::fetches();
        std::vector<void *> more = allocate_many(i, settled);
        EXPECT_LE(fake_middle::fetches() - before, 21u) << "class " << i;
        deallocate_all(i, held);
        before = fake_middle::returns();
        deallocate_all(i, more);
        EXPECT_LE(fake_middle::returns() - before, 21u) << "class " << i;
        td_slab_flush(&td_slab_plain_ops, slab_);
    }
}

// Whatever was allocated at once before: a bin that has just the room for what takes turns grows as well.
TEST_F(slab, pairs_of_a_small_size_come_to_take_few_slow_paths) {
    constexpr size_t pairs = 5000;
    for (size_t i = 1; i <= TD_TABLE_CLASSES; i++) {
        for (size_t before = 1; before <= TD_BIN_MAX + 2; before++) {
            struct td_slab *used = std::exchange(slab_, td_slab_new(TD_SLAB_BUDGET_BYTES, 0));
            ASSERT_NE(slab_, nullptr);
            deallocate_all(i, allocate_many(i, before));
            take_turns(i, pairs);
            uint64_t settled = td_slab_slow_paths(slab_);
            EXPECT_LE(take_turns(i, pairs), 2 * pairs / td_class_info[i].swap_min + 1)
                << "class " << i << ", " << before;
            EXPECT_EQ(td_slab_slow_paths(slab_), settled) << "class " << i << ", " << before << ": more than swaps";
            td_slab_flush(&td_slab_plain_ops, slab_);
            free(std::exchange(slab_, used));
        }
    }
}

// As a thread might ask that found another CPU's bin empty.
TEST_F(slab, a_bin_with_one_stack_never_swaps) {
    for (size_t i = TD_TABLE_CLASSES + 1; i < TD_CLASS_COUNT; i++) {
        deallocate_all(i, allocate_many(i, TD_BIN_MAX));
        ASSERT_GT(td_slab_cached_bytes(slab_), 0u);
        slab_->bins[i].alloc = 0;  // a hint, and none is one
        struct td_slab_bin expected, desired;
        EXPECT_FALSE(td_slab_swapped_bin(slab_, i, td_class_info[i].swap_min, &expected, &desired)) << "class " << i;
        EXPECT_FALSE(td_slab_swapped_bin(slab_, i, 1, &expected, &desired)) << "class " << i;
        td_slab_flush(&td_slab_plain_ops, slab_);
    }
}

TEST_F(slab, has_room_for_all_bins_at_their_largest) {
    size_t words = slab_->words_used;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        size_t before = 0;
        for (const enum td_region region : {TD_REGION_FIRST, TD_REGION_SECOND, TD_REGION_THIRD, TD_REGION_WHOLE}) {
            if (before < td_class_info[i].bin_max) {
                before = td_slab_region_slots(i, region);
                words += (td_class_has_two_stacks(i) ? 2 : 1) * (before + 1);
            }
        }
    }
    EXPECT_LE(words, TD_SLAB_BYTES / sizeof(void *));
}

TEST_F(slab, a_bin_that_can_never_grow_robs_no_other) {
    slab_->budget_bytes = TD_SLAB_BUDGET_FIRST_BYTES;
    deallocate_all(8, allocate_many(8, 40));
    int64_t capacity_bytes = slab_->capacity_bytes;
    for (int i = 0; i < 1000; i++) {
        deallocate(TD_CLASS_COUNT - 1, allocate(TD_CLASS_COUNT - 1));
    }
    EXPECT_EQ(slab_->capacity_bytes, capacity_bytes);
}
#endif

TEST_F(slab, refills_with_few_calls) {
    constexpr size_t i = 1;
    allocate_many(i, 0);
    size_t fetches = fake_middle::fetches();
    std::vector<void *> held = allocate_many(i, 100 * TD_BATCH_MAX);
    EXPECT_LE(fake_middle::fetches() - fetches, TD_TINY ? 100u : 120u);
    deallocate_all(i, held);
}

TEST_F(slab, without_memory_it_says_so_and_loses_nothing) {
    fake_middle::limit_objects(10);
    std::vector<void *> held;
    for (void *object; (object = allocate(7)) != nullptr;) {
        held.push_back(object);
        ASSERT_LE(held.size(), 10u);
    }
    EXPECT_EQ(held.size(), 10u);
    EXPECT_EQ(errno, ENOMEM);
    void *again = held.back();
    held.pop_back();
    deallocate(7, again);
    EXPECT_EQ(allocate(7), again) << "what was freed is not found again";
    held.push_back(again);
    fake_middle::limit_objects(SIZE_MAX);
    deallocate_all(7, held);
}

TEST_F(slab, a_reset_leaves_neither_objects_nor_capacity) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i += 3) {
        deallocate_all(i, allocate_many(i, 50));
    }
    void *fetched_elsewhere[1 + TD_BATCH_SLACK];
    size_t count = td_middle_fetch(1, fetched_elsewhere, 1);
    deallocate_all(1, std::vector<void *>(fetched_elsewhere, fetched_elsewhere + count));
    EXPECT_GT(slab_->capacity_bytes, 0);
    td_slab_reset(slab_);
    EXPECT_EQ(slab_->capacity_bytes, 0);
    EXPECT_EQ(slab_->balance_bytes, 0);
    EXPECT_EQ(td_slab_cached_bytes(slab_), 0u);
    expect_nothing_is_out();
    deallocate_all(5, allocate_many(5, 100));  // and it can be used again
}

TEST_F(slab, a_reset_leaves_bins_their_slots) {
    const auto use_bins = [this] {
        for (size_t i = 1; i < TD_CLASS_COUNT; i += 3) {
            deallocate_all(i, allocate_many(i, 50));
        }
    };
    // Until the bins are as large as this use makes them.
    for (uint32_t before = 0; before != slab_->words_used;) {
        before = slab_->words_used;
        td_slab_reset(slab_);
        use_bins();
    }
    uint32_t words_used = slab_->words_used;
    td_slab_reset(slab_);
    EXPECT_EQ(slab_->words_used, words_used);
    EXPECT_LT(words_used, TD_SLAB_BYTES / sizeof(void *) * 3 / 4) << "there is room for more";
    use_bins();
    EXPECT_EQ(slab_->words_used, words_used) << "a bin got new slots";
}

TEST_F(slab, becomes_idle_when_it_lies_unused) {
    void *object = allocate(3);
    for (int round = 0; round < 2; round++) {
        EXPECT_FALSE(td_slab_becomes_idle(slab_)) << "it was used since the last tick";
        for (int tick = 1; tick < TD_IDLE_TICKS; tick++) {
            EXPECT_FALSE(td_slab_becomes_idle(slab_)) << tick;
        }
        EXPECT_TRUE(td_slab_becomes_idle(slab_));
        deallocate(3, object);
        object = allocate(3);
        deallocate(3, allocate(3));
        deallocate(4, allocate(4));
    }
    deallocate(3, object);
}

TEST_F(slab, asks_for_maintenance_now_and_then) {
    size_t before = fake_middle::maintenances();
    for (int i = 0; i < 64; i++) {
        deallocate_all(2, allocate_many(2, size_t{4} * td_class_info[2].bin_max));
    }
    EXPECT_GT(fake_middle::maintenances(), before);
    EXPECT_LE(fake_middle::maintenances() - before, td_slab_slow_paths(slab_) / 16 + 1);
}

TEST_F(slab, a_failed_allocation_empties_the_caches_and_tries_again) {
    size_t drains = fake_middle::drains();
    void *object = td_slab_alloc_drained(6);
    EXPECT_NE(object, nullptr);
    EXPECT_EQ(fake_middle::drains(), drains + 1);
    td_slab_free_uncached(6, object, false);
    fake_middle::fail_fetches(1);
    EXPECT_EQ(td_slab_alloc_drained(6), nullptr);
}

TEST_F(slab, an_allocation_without_memory_fails_as_it_is_told) {
    errno = 0;
    EXPECT_EQ(td_slab_alloc_failed(90, TD_RETURN_NULL), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    size_t failures = fake_middle::new_failures();
    EXPECT_EQ(td_slab_alloc_failed(90, TD_THROW), nullptr);
    EXPECT_EQ(fake_middle::new_failures(), failures + 1);
}

TEST_F(slab, objects_pass_by_threads_that_have_none) {
    std::vector<void *> held;
    for (int i = 0; i < 100; i++) {
        held.push_back(td_slab_alloc_uncached(2, i % 2 == 0));
    }
    EXPECT_EQ(std::set<void *>(held.begin(), held.end()).size(), held.size());
    EXPECT_EQ(fake_middle::objects_out(2), held.size());
    for (void *object : held) {
        td_slab_free_uncached(2, object, false);
    }
}

// Two CPUs' slabs, between which the thread is moved at any step.
struct td_slab *moving_slabs[2];
std::mt19937 moving_random(9);

size_t moving_pop_batch(struct td_slab *, size_t class_index, void **objects, size_t count) {
    return td_slab_plain_ops.pop_batch(moving_slabs[moving_random() % 2], class_index, objects, count);
}

size_t moving_push_batch(struct td_slab *, size_t class_index, void *const *objects, size_t count) {
    return td_slab_plain_ops.push_batch(moving_slabs[moving_random() % 2], class_index, objects, count);
}

// Fails at times: the slab's owner was there first.
bool moving_replace_bin(struct td_slab *on, size_t class_index, struct td_slab_bin expected,
                        struct td_slab_bin desired) {
    return moving_random() % 4 != 0 && td_slab_plain_ops.replace_bin(on, class_index, expected, desired);
}

const struct td_slab_ops moving_ops = {moving_pop_batch, moving_push_batch, moving_replace_bin};

TEST_F(slab, steps_that_meet_different_slabs_lose_nothing) {
    struct td_slab *other = td_slab_new(TD_SLAB_BUDGET_BYTES, 0);
    moving_slabs[0] = slab_;
    moving_slabs[1] = other;
    std::mt19937 random(2);
    std::vector<std::vector<void *>> held(TD_CLASS_COUNT);
    std::set<void *> known;
    slab_->budget_bytes = size_t{64} << 10;
    for (int step = 0; step < 60000 && !HasFatalFailure(); step++) {
        size_t i = 1 + random() % 20 * (random() % 4 == 0 ? 4 : 1);
        struct td_slab *on = moving_slabs[random() % 2];
        bool grows = (static_cast<size_t>(step) / 700 + i) % 2 == 0;
        if (held[i].empty() || random() % 8 < (grows ? 6 : 2)) {
            void *object = pop(on, i);
            object = object != nullptr ? object : td_slab_refill(&moving_ops, on, i);
            ASSERT_NE(object, nullptr);
            ASSERT_TRUE(known.insert(object).second) << "handed out while it was held";
            held[i].push_back(object);
        } else {
            std::swap(held[i].back(), held[i][random() % held[i].size()]);
            known.erase(held[i].back());
            if (!td_slab_plain_push(on, td_class_code(i), held[i].back())) {
                td_slab_overflow(&moving_ops, on, i, held[i].back());
            }
            held[i].pop_back();
        }
        if (step % 100 == 0) {
            size_t cached_bytes = 0;
            for (size_t each = 1; each < TD_CLASS_COUNT; each++) {
                cached_bytes += (fake_middle::objects_out(each) - held[each].size()) * td_class_bytes(each);
            }
            ASSERT_EQ(td_slab_cached_bytes(slab_) + td_slab_cached_bytes(other), cached_bytes);
        }
    }
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        deallocate_all(i, held[i]);
    }
    td_slab_reset(other);
    free(other);
}

}  // namespace
