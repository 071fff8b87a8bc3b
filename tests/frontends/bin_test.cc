// What a single bin of a slab does: its stacks, its guess and its slots.
#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "tests/frontends/slab_fixture.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/slab.h"
}

namespace {

using bin = slab_fixture;

size_t capacity_of(const struct td_slab *slab, size_t class_index) {
    const struct td_slab_bin &bin = slab->bins[class_index];
    return bin.free_room + (size_t{bin.free_top} - bin.free_bottom);
}

#if !TD_TINY
TEST_F(bin, whose_stack_of_frees_is_full_feeds_allocations) {
    constexpr size_t i = 4;
    for (int round = 0; round < 20; round++) {
        deallocate_all(i, allocate_many(i, 100));
    }
    size_t fetches = fake_middle::fetches(), returns = fake_middle::returns();
    for (int round = 0; round < 100; round++) {
        std::vector<void *> held = allocate_many(i, 100);
        // The other way round, so that no stack is ever what it was.
        std::reverse(held.begin(), held.end());
        deallocate_all(i, held);
    }
    EXPECT_EQ(fake_middle::fetches(), fetches) << "a load that fits went to the middle end";
    EXPECT_EQ(fake_middle::returns(), returns);
}

TEST_F(bin, with_one_stack_hands_out_what_was_freed_last) {
    constexpr size_t i = TD_TABLE_CLASSES + 1;
    std::vector<void *> held = allocate_many(i, 2);
    deallocate_all(i, held);
    EXPECT_EQ(allocate(i), held[1]);
    EXPECT_EQ(allocate(i), held[0]);
    deallocate_all(i, held);
}

TEST_F(bin, with_one_stack_guesses_an_object_and_is_right_whichever_it_was) {
    constexpr size_t i = TD_TABLE_CLASSES + 1;
    std::vector<void *> held = allocate_many(i, 2);
    for (int which : {0, 0, 1, 1, 0, 1, 0}) {
        deallocate(i, held[which]);
        EXPECT_EQ(pop(slab_, i), held[which]);  // in the same slot each time
    }
    deallocate_all(i, held);
    EXPECT_EQ(pop(slab_, i), held[1]);
    EXPECT_EQ(pop(slab_, i), held[0]);
    deallocate_all(i, {held[1], held[0]});
    EXPECT_EQ(pop(slab_, i), held[0]);  // in a slot that it was not in
    td_slab_flush(&td_slab_plain_ops, slab_);
    EXPECT_EQ(pop(slab_, i), nullptr);
    deallocate(i, held[0]);
}

TEST_F(bin, with_one_stack_keeps_what_was_freed_last) {
    for (size_t i = TD_TABLE_CLASSES + 1; i < TD_CLASS_COUNT; i++) {
        std::vector<void *> freed = allocate_many(i, 1000);
        td_slab_flush(&td_slab_plain_ops, slab_);
        deallocate_all(i, freed);
        std::vector<void *> kept;
        while (void *object = pop(slab_, i)) {
            kept.push_back(object);
        }
        ASSERT_FALSE(kept.empty()) << "class " << i;
        EXPECT_TRUE(std::equal(kept.begin(), kept.end(), freed.rbegin())) << "class " << i;
        deallocate_all(i, kept);
    }
}

TEST_F(bin, keeps_little_more_than_a_stack_where_objects_are_only_freed) {
    for (size_t i = 1; i <= TD_TABLE_CLASSES; i++) {
        const size_t bin_max = td_class_info[i].bin_max;
        // It was empty and full in turn once.
        const size_t stack = std::min<size_t>(bin_max, 2 * TD_BIN_MAX);
        std::vector<void *> held = allocate_many(i, 20 * stack);
        td_slab_flush(&td_slab_plain_ops, slab_);
        size_t most = 0;
        for (size_t freed = 0; freed < held.size(); freed++) {
            deallocate(i, held[freed]);
            bool is_settled = freed >= 10 * stack;
            most = is_settled ? std::max(most, td_slab_cached_bytes(slab_) / td_class_bytes(i)) : 0;
        }
        EXPECT_LE(most, stack + TD_BIN_MIN) << "class " << i;
        // Who allocates again keeps what is freed: more each time, up to all that a stack may hold.
        for (size_t capacity = stack; capacity <= bin_max; capacity *= 2) {
            deallocate_all(i, allocate_many(i, bin_max));
        }
        size_t fetches = fake_middle::fetches();
        for (int round = 0; round < 3; round++) {
            deallocate_all(i, allocate_many(i, bin_max));
        }
        EXPECT_EQ(fake_middle::fetches(), fetches) << "class " << i;
        td_slab_flush(&td_slab_plain_ops, slab_);
    }
}

TEST_F(bin, that_returns_objects_has_others_for_a_signal_handler) {
    for (size_t i : {1, 4, 5, TD_TABLE_CLASSES}) {
        bool has_others = true;
        fake_middle::during_returns([&] { has_others = has_others && td_slab_cached_bytes(slab_) != 0; });
        size_t returns = fake_middle::returns();
        for (int round = 0; round < 10; round++) {
            deallocate_all(i, allocate_many(i, 5000));
        }
        EXPECT_GT(fake_middle::returns(), returns);
        EXPECT_TRUE(has_others) << "class " << i;
        fake_middle::during_returns([] {});
        td_slab_flush(&td_slab_plain_ops, slab_);
    }
}

TEST_F(bin, of_many_objects_leaves_others_half_of_the_budget) {
    for (size_t i = 1; td_class_bytes(i) <= TD_CACHE_LINE; i++) {
        for (slab_->budget_bytes = TD_SLAB_BUDGET_FIRST_BYTES; slab_->budget_bytes <= TD_SLAB_BUDGET_BYTES;
             slab_->budget_bytes *= 2) {
            for (int round = 0; round < 10; round++) {
                deallocate_all(i, allocate_many(i, 3000));
            }
            const size_t half = slab_->budget_bytes / 2 / td_class_bytes(i);
            const size_t most = std::min<size_t>(half, td_class_info[i].bin_max);
            EXPECT_LE(capacity_of(slab_, i), most) << "class " << i;
            EXPECT_GT(2 * capacity_of(slab_, i), most) << "class " << i << " could have twice as much";
        }
        td_slab_reset(slab_);
    }
}

// As where most messages are answered by somebody else.
TEST_F(bin, that_is_full_but_never_quite_empty_stays_small) {
    constexpr size_t i = 4;
    std::vector<void *> held = allocate_many(i, 200 * 1000);
    td_slab_reset(slab_);
    while (held.size() >= 1000) {
        deallocate_all(i, {held.end() - 1000, held.end()});
        held.resize(held.size() - 1000);
        std::vector<void *> few = allocate_many(i, 8);
        held.insert(held.begin(), few.begin(), few.end());
    }
    EXPECT_LE(capacity_of(slab_, i), size_t{2} * TD_BIN_MAX);
    deallocate_all(i, held);
}

TEST_F(bin, that_is_only_ever_empty_stays_small) {
    constexpr size_t i = 1;
    std::vector<void *> held = allocate_many(i, 20000);
    size_t capacity = static_cast<size_t>(slab_->capacity_bytes) / td_class_bytes(i);
    EXPECT_LE(capacity, size_t{TD_BIN_MAX});
    deallocate_all(i, held);
}
#endif

TEST_F(bin, knows_what_was_freed_last) {
    void *object = allocate(3);
    deallocate(3, object);
    ASSERT_FALSE(td_slab_plain_push(slab_, td_class_code(3), object));
    EXPECT_TRUE(td_slab_was_freed_last(slab_, 3, object));
    int other = 0;
    EXPECT_FALSE(td_slab_was_freed_last(slab_, 3, &other));
    EXPECT_FALSE(td_slab_was_freed_last(slab_, 4, object));
    EXPECT_EQ(pop(slab_, 4), nullptr);
}

std::function<void()> during_next_pop_batch;

size_t pop_batch_when_others_are_done(struct td_slab *slab, size_t class_index, void **objects, size_t count) {
    std::exchange(during_next_pop_batch, [] {})();
    return td_slab_plain_ops.pop_batch(slab, class_index, objects, count);
}

// As when a thread is to give a bin a little more, and sleeps while others give it much.
TEST_F(bin, that_others_have_given_longer_stacks_meanwhile_keeps_them) {
    if (TD_TINY) {
        GTEST_SKIP() << "bins have but one length";
    }
    constexpr size_t class_index = 4;  // 64 bytes
    std::vector<void *> held;
    while (capacity_of(slab_, class_index) < TD_FIRST_REGION_SLOTS) {
        held.push_back(allocate(class_index));
    }
    while (void *object = pop(slab_, class_index)) {
        held.push_back(object);
    }
    const size_t most = td_class_info[class_index].bin_max;
    during_next_pop_batch = [&] {
        while (capacity_of(slab_, class_index) < most) {
            deallocate_all(class_index, allocate_many(class_index, 4 * most));
        }
        td_slab_flush(&td_slab_plain_ops, slab_);
    };
    const struct td_slab_ops ops = {pop_batch_when_others_are_done, td_slab_plain_ops.push_batch,
                                    td_slab_plain_ops.replace_bin};
    held.push_back(td_slab_refill(&ops, slab_, class_index));
    EXPECT_EQ(slab_->bins[class_index].region, TD_REGION_WHOLE);
    EXPECT_EQ(capacity_of(slab_, class_index), most);
    deallocate_all(class_index, held);
}

}  // namespace
