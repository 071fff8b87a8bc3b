// What operations on free runs look at and change: not all that there are, nor all of a long one.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/free_runs.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
}

namespace {

class free_runs : public testing::Test {
  protected:
    // One run, clean.
    void start(size_t segments) {
        while (td_run_store_unmap_one()) {
            // Nothing of what earlier tests left stays.
        }
        ASSERT_TRUE(td_run_store_grow(segments));
        ASSERT_EQ(td_free_runs_bytes(TD_RUN_CLEAN), segments * TD_SEGMENT_BYTES);
        bool is_clean;
        struct td_segment_run *run = take(segments, 1, &is_clean);
        ASSERT_NE(run, nullptr);
        base_ = run->base;
        put(run, TD_RUN_CLEAN);
    }

    static struct td_segment_run *take(size_t segments, size_t align, bool *is_clean) {
        EXPECT_TRUE(td_run_store_enter());
        struct td_segment_run *run = td_run_take(segments, align, is_clean);
        td_run_store_leave();
        EXPECT_NE(run, nullptr);
        return run;
    }

    static struct td_segment_run *take(size_t segments, size_t align = 1) {
        bool is_clean;
        return take(segments, align, &is_clean);
    }

    static void put(struct td_segment_run *run, enum td_run_state state, uint64_t now_ms = 0) {
        td_run_store_enter_anyway();
        td_run_put(run, state, now_ms);
        td_run_store_leave();
    }

    static struct td_segment_run *take_oldest(size_t segments) {
        EXPECT_TRUE(td_run_store_enter());
        struct td_segment_run *run = td_run_take_oldest_dirty(UINT64_MAX, segments);
        td_run_store_leave();
        return run;
    }

    uintptr_t base_ = 0;
};

// The page map's entries of the segments in the middle of a long run are marked, so that stores show.
class long_free_run : public free_runs {
  protected:
    void SetUp() override {
        start(segments);
        mark();
    }

    void TearDown() override { unmark(); }

    uintptr_t first() const { return base_ + margin * TD_SEGMENT_BYTES; }

    void mark() { td_page_map_set_run(first(), marked, &mark_); }

    // What is beside them is of the same run.
    void unmark() {
        struct td_segment_run *run = td_page_map_run(reinterpret_cast<const void *>(first() - TD_SEGMENT_BYTES));
        td_page_map_set_run(first(), marked, run);
    }

    size_t stores() const {
        size_t count = 0;
        for (size_t i = 0; i < marked; i++) {
            count += td_page_map_run(reinterpret_cast<const void *>(first() + i * TD_SEGMENT_BYTES)) != &mark_;
        }
        return count;
    }

    static constexpr size_t segments = 200;
    static constexpr size_t margin = 20;
    static constexpr size_t marked = segments - 2 * margin;
    struct td_segment_run mark_ = {};
};

TEST_F(long_free_run, is_named_anew_for_nobody_who_takes_and_puts_little) {
    for (enum td_run_state state : {TD_RUN_CLEAN, TD_RUN_DIRTY}) {
        for (size_t align : {1, 8}) {
            struct td_segment_run *first = take(1);
            td_run_store_enter_anyway();
            EXPECT_TRUE(td_run_extend(first, 3));
            EXPECT_TRUE(td_run_extend(first, 6));
            td_run_store_leave();
            EXPECT_EQ(stores(), 0u);
            struct td_segment_run *second = take(2, align);
            EXPECT_EQ(stores(), 0u);
            put(first, state);
            put(second, state);
            EXPECT_EQ(stores(), 0u);
        }
    }
}

TEST_F(long_free_run, is_named_anew_for_no_part_of_a_purge) {
    unmark();
    put(take(segments), TD_RUN_DIRTY);
    mark();
    for (int i = 0; i < 10; i++) {
        struct td_segment_run *run = take_oldest(1);
        EXPECT_EQ(run->segments, 1u);
        put(run, TD_RUN_CLEAN);
    }
    EXPECT_EQ(stores(), 0u);
}

TEST_F(long_free_run, is_named_anew_for_no_segment_that_is_unmapped) {
    for (int i = 0; i < 10; i++) {
        ASSERT_TRUE(td_run_store_unmap_one());
    }
    EXPECT_FALSE(fake_os::is_mapped(base_ + 9 * TD_SEGMENT_BYTES, TD_SEGMENT_BYTES));
    EXPECT_EQ(stores(), 0u);
}

// Dirty runs with something between them, the oldest first.
class many_free_runs : public free_runs {
  protected:
    void make_runs(const std::vector<size_t> &lengths) {
        size_t all = 0;
        for (size_t length : lengths) {
            all += length + 1;
        }
        start(all);
        for (size_t length : lengths) {
            runs_.push_back(take(length));
            fences_.push_back(take(1));
        }
        for (size_t i = 0; i < runs_.size(); i++) {
            put(runs_[i], TD_RUN_DIRTY, 1000 + i);
        }
    }

    void TearDown() override {
        for (struct td_segment_run *fence : fences_) {
            put(fence, TD_RUN_DIRTY);
        }
    }

    std::vector<struct td_segment_run *> runs_;
    std::vector<struct td_segment_run *> fences_;
};

TEST_F(many_free_runs, but_the_oldest_of_each_length_are_not_looked_at_for_the_oldest) {
    make_runs(std::vector<size_t>(20, 1));
    for (size_t i = 1; i < runs_.size(); i++) {
        runs_[i]->freed_ms = 1;  // whoever looks at it would prefer it
    }
    std::vector<struct td_segment_run *> taken;
    for (struct td_segment_run *run : runs_) {
        run->freed_ms = 1000;
        taken.push_back(take_oldest(1));
        EXPECT_EQ(taken.back(), run);
    }
    for (struct td_segment_run *run : taken) {
        put(run, TD_RUN_DIRTY);
    }
}

TEST_F(many_free_runs, leave_in_the_order_of_their_age_whatever_their_lengths) {
    make_runs({3, 1, 20, 1, 2, 20, 3, 17});
    std::vector<struct td_segment_run *> taken;
    for (size_t i = 0; i < runs_.size(); i++) {
        taken.push_back(take_oldest(SIZE_MAX));
        EXPECT_EQ(taken.back()->freed_ms, 1000 + i);
    }
    EXPECT_EQ(take_oldest(SIZE_MAX), nullptr);
    for (struct td_segment_run *run : taken) {
        put(run, TD_RUN_DIRTY);
    }
}

TEST_F(many_free_runs, what_a_purge_leaves_of_the_oldest_is_the_oldest) {
    make_runs({3, 2, 2});
    struct td_segment_run *taken = take_oldest(1);
    EXPECT_EQ(taken->base, base_);
    struct td_segment_run *next = take_oldest(SIZE_MAX);
    EXPECT_EQ(next->base, base_ + TD_SEGMENT_BYTES);
    put(next, TD_RUN_DIRTY);
    put(taken, TD_RUN_DIRTY);
}

TEST_F(many_free_runs, that_are_too_short_are_not_looked_at) {
    make_runs({2, 2, 2, 4, 5, 5, 5, 6});
    for (struct td_segment_run *run : runs_) {
        if (run->segments == 2 || run->segments == 5) {
            run->segments += 100;  // whoever looks at it would take it to fit
        }
    }
    struct td_segment_run *first = take(3);
    EXPECT_EQ(first->base, runs_[3]->base);
    struct td_segment_run *second = take(6);
    EXPECT_EQ(second->base, runs_[7]->base);
    for (struct td_segment_run *run : runs_) {
        run->segments -= run->segments > 100 ? 100 : 0;
    }
    put(first, TD_RUN_DIRTY);
    put(second, TD_RUN_DIRTY);
}

}  // namespace
