// What a heap had before it was large becomes hugepages, one at a tick.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/backend/backend_stats.h"
#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/page_heap.h"
#include "backend/run_store.h"
#include "base/size_class.h"
}

namespace {

constexpr size_t half = TD_SEGMENT_PAGES / 2;
constexpr size_t early_segments = TD_HUGE_HEAP_BYTES / TD_SEGMENT_BYTES;

// Later than all that earlier tests saw.
uint64_t now_ms = 1000000;

// Segments of two spans each.
class early_segments_test : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        td_backend_purge(SIZE_MAX);
        while (td_run_store_unmap_one()) {
            // A place for hugepages stays one: begin with fresh memory.
        }
        fake_os::take_collapses();
        rebuilt_before_ = rebuilt();
    }

    void TearDown() override {
        fake_os::fail_collapses(false);
        td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
        while (!spans_.empty()) {
            give_back(spans_.size() - 1);
        }
        EXPECT_EQ(count_segments(), 0u);
        td_backend_check();
    }

    // Class 0 is a large object's; of the others all objects are in use.
    void take(size_t pages, size_t class_index = td_class_of(64)) {
        bool was_clean;
        struct td_span *span = td_page_heap_alloc(pages, 1, class_index, &was_clean);
        ASSERT_NE(span, nullptr);
        spans_.push_back(span);
    }

    void give_back(size_t index) {
        td_page_heap_free(spans_[index]);
        spans_.erase(spans_.begin() + static_cast<std::ptrdiff_t>(index));
    }

    void grow_to(size_t bytes) {
        while (td_backend_used_bytes < bytes) {
            take(half);
        }
    }

    // What the kernel was asked to make hugepages of at the next tick.
    static std::vector<uintptr_t> tick() {
        now_ms += TD_TICK_MS;
        fake_os::set_clock_ms(now_ms);
        td_backend_maintain(now_ms);
        return fake_os::take_collapses();
    }

    struct td_segment *segment_of(size_t index) const {
        return td_page_heap_segment_of(spans_[index]->start);
    }

    std::vector<struct td_span *> spans_;
    uint64_t rebuilt_before_ = 0;
};

TEST_F(early_segments_test, become_hugepages_one_at_a_tick_once_the_heap_is_large) {
    grow_to(TD_HUGE_HEAP_BYTES - half * TD_PAGE_BYTES);
    EXPECT_TRUE(tick().empty());
    grow_to(TD_HUGE_HEAP_BYTES);
    for (size_t i = 0; i < early_segments; i++) {
        std::vector<uintptr_t> asked = tick();
        ASSERT_EQ(asked.size(), 1u) << i;
        const struct td_segment *segment = td_page_heap_segment_of(asked[0]);
        EXPECT_EQ(segment->run.base, asked[0]);
        EXPECT_TRUE(segment->run.is_huge);
        EXPECT_FALSE(segment->is_split);
        EXPECT_TRUE(fake_os::wants_hugepages(asked[0]));
        EXPECT_EQ(rebuilt(), rebuilt_before_ + i + 1);
    }
    EXPECT_TRUE(tick().empty());
    for (size_t i = 0; i < spans_.size(); i++) {
        EXPECT_TRUE(segment_of(i)->run.is_huge);
    }
}

TEST_F(early_segments_test, of_which_less_is_in_use_wait_until_more_is) {
    take(half);
    take(half / 2);
    uintptr_t base = segment_of(0)->run.base;
    grow_to(2 * TD_HUGE_HEAP_BYTES);
    for (size_t i = 0; i < 2 * early_segments; i++) {
        std::vector<uintptr_t> asked = tick();
        EXPECT_EQ(std::count(asked.begin(), asked.end(), base), 0);
    }
    take(half / 2);
    ASSERT_EQ(segment_of(spans_.size() - 1)->run.base, base);
    EXPECT_EQ(tick(), std::vector<uintptr_t>{base});
}

TEST_F(early_segments_test, large_objects_count_as_not_in_use) {
    while (td_backend_used_bytes < 2 * TD_HUGE_HEAP_BYTES) {
        take(half, 0);
    }
    EXPECT_TRUE(tick().empty()) << "for they may never be filled";
}

TEST_F(early_segments_test, are_none_that_were_made_in_a_large_heap_of_what_it_had_used_before) {
    fake_os::fail_collapses(true);
    grow_to(TD_HUGE_HEAP_BYTES + 2 * TD_SEGMENT_BYTES);
    while (!tick().empty()) {
        // None is early any more.
    }
    give_back(0);
    give_back(0);
    take(half);
    take(half);
    ASSERT_FALSE(segment_of(spans_.size() - 1)->run.is_huge);
    EXPECT_TRUE(tick().empty());
}

TEST_F(early_segments_test, free_objects_count_as_not_in_use) {
    size_t class_index = td_class_of(64);
    std::vector<struct td_span *> small;
    while (td_backend_used_bytes < TD_HUGE_HEAP_BYTES) {
        struct td_span *span = td_backend_alloc_span(class_index);
        ASSERT_NE(span, nullptr);
        std::fill_n(span->free_bits, (td_class_info[class_index].span_objects + 63) / 64, ~uint64_t{0});
        small.push_back(span);
    }
    EXPECT_TRUE(tick().empty());
    for (struct td_span *span : small) {
        std::fill_n(span->free_bits, (td_class_info[class_index].span_objects + 63) / 64, uint64_t{0});
    }
    EXPECT_EQ(tick().size(), 1u);
    for (struct td_span *span : small) {
        td_page_heap_free(span);
    }
}

TEST_F(early_segments_test, that_the_kernel_refuses_are_not_asked_for_again) {
    fake_os::fail_collapses(true);
    grow_to(TD_HUGE_HEAP_BYTES);
    for (size_t i = 0; i < early_segments; i++) {
        std::vector<uintptr_t> asked = tick();
        ASSERT_EQ(asked.size(), 1u) << i;
        EXPECT_FALSE(td_page_heap_segment_of(asked[0])->run.is_huge);
        EXPECT_FALSE(fake_os::wants_hugepages(asked[0]));
    }
    fake_os::fail_collapses(false);
    EXPECT_TRUE(tick().empty());
    EXPECT_EQ(rebuilt(), rebuilt_before_);
}

TEST_F(early_segments_test, that_become_free_meanwhile_are_runs_again_afterwards) {
    grow_to(TD_HUGE_HEAP_BYTES);
    size_t segments_before = count_segments();
    fake_os::while_collapsing([this, segments_before] {
        while (!spans_.empty()) {
            give_back(spans_.size() - 1);
        }
        EXPECT_EQ(count_segments(), 1u) << "of " << segments_before;
    });
    EXPECT_EQ(tick().size(), 1u);
    EXPECT_EQ(count_segments(), 0u);
    EXPECT_TRUE(tick().empty());
}

TEST_F(early_segments_test, that_are_free_runs_again_are_forgotten) {
    grow_to(TD_HUGE_HEAP_BYTES);
    while (!spans_.empty()) {
        give_back(spans_.size() - 1);
    }
    ASSERT_EQ(count_segments(), 0u);
    // The descriptors are other segments' now.
    grow_to(TD_HUGE_HEAP_BYTES);
    std::vector<uintptr_t> all;
    for (std::vector<uintptr_t> asked; !(asked = tick()).empty();) {
        ASSERT_EQ(asked.size(), 1u);
        all.push_back(asked[0]);
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
    EXPECT_EQ(all.size(), early_segments);
}

TEST_F(early_segments_test, stay_as_they_are_after_a_fork) {
    grow_to(TD_HUGE_HEAP_BYTES);
    EXPECT_EQ(tick().size(), 1u);
    td_backend_fork_prepare();
    td_backend_fork_done();
    EXPECT_TRUE(tick().empty());
    size_t segments_before = count_segments();
    grow_to(2 * TD_HUGE_HEAP_BYTES);
    EXPECT_GT(count_segments(), segments_before);
    EXPECT_TRUE(tick().empty());
}

// Whoever is the only thread may fork in a handler that interrupted him with a lock, so none is taken.
TEST_F(early_segments_test, stay_as_they_are_after_a_fork_of_the_only_thread) {
    grow_to(TD_HUGE_HEAP_BYTES);
    EXPECT_EQ(tick().size(), 1u);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    td_backend_note_fork();
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    EXPECT_TRUE(tick().empty());
}

TEST_F(early_segments_test, that_come_after_a_fork_become_hugepages) {
    grow_to(TD_HUGE_HEAP_BYTES / 2);
    td_backend_note_fork();
    std::vector<uintptr_t> shared;
    for (const struct td_span *span : spans_) {
        shared.push_back(td_page_heap_segment_of(span->start)->run.base);
    }
    grow_to(TD_HUGE_HEAP_BYTES);
    size_t count = 0;
    for (std::vector<uintptr_t> asked; !(asked = tick()).empty(); count++) {
        EXPECT_EQ(std::count(shared.begin(), shared.end(), asked[0]), 0);
    }
    EXPECT_EQ(count, early_segments / 2);
}

TEST_F(early_segments_test, stay_as_they_are_where_hugepages_are_declined) {
    td_backend_set_hugepages(TD_HUGEPAGES_NEVER);
    grow_to(2 * TD_HUGE_HEAP_BYTES);
    EXPECT_TRUE(tick().empty());
}

}  // namespace
