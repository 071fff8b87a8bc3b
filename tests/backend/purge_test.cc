// What goes back to the operating system, and when: the clock is the test's.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/large.h"
#include "backend/page_heap.h"
#include "backend/purge.h"
#include "backend/run_store.h"
#include "base/size_class.h"

// The linker puts this in the place of td_page_heap_each.
void __real_td_page_heap_each(void (*visit)(struct td_segment *, void *), void *argument);
void __wrap_td_page_heap_each(void (*visit)(struct td_segment *, void *), void *argument);
}

namespace {

size_t walks;  // of all segments

}  // namespace

void __wrap_td_page_heap_each(void (*visit)(struct td_segment *, void *), void *argument) {
    walks++;
    __real_td_page_heap_each(visit, argument);
}

namespace {

constexpr size_t mib = size_t{1} << 20;
constexpr uint64_t decay_ms = 1000;

// Later than all that earlier tests saw.
uint64_t now_ms = 100 * decay_ms;

void *allocate(size_t bytes) {
    bool is_zero;
    void *memory = td_large_alloc(bytes, 16, &is_zero);
    EXPECT_NE(memory, nullptr);
    memset(memory, 0xa5, bytes);
    return memory;
}

void deallocate(void *memory) {
    td_large_free(memory, "free");
}

// Adds free pages of a hugepage that is much used.
void add_stuck(struct td_segment *segment, void *bytes) {
    bool stays = segment->run.is_huge && segment->used_pages > TD_SEGMENT_PAGES / 4;
    *static_cast<size_t *>(bytes) += stays ? segment->dirty_free * TD_PAGE_BYTES : 0;
}

size_t dirty_bytes() {
    struct td_backend_stats stats;
    td_backend_get_stats(&stats);
    size_t stuck = 0;
    __real_td_page_heap_each(add_stuck, &stuck);
    EXPECT_EQ(td_purge_purgeable_bytes() + stuck, stats.dirty_bytes)
        << "the sum that is kept is not that of all segments";
    return stats.dirty_bytes;
}

bool is_intact(const void *memory, size_t bytes) {
    const char *chars = static_cast<const char *>(memory);
    return chars[0] == static_cast<char>(0xa5) && memcmp(chars, chars + 1, bytes - 1) == 0;
}

class purge : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        td_backend_set_decay_ms(decay_ms);
        fake_os::fail_purges(false);
        td_backend_purge(SIZE_MAX);
        while (td_run_store_unmap_one()) {
            // A place for hugepages stays one: begin with fresh memory.
        }
        pass(3 * decay_ms);  // the peaks of earlier tests are forgotten
        fake_os::forget_purges();
        ASSERT_EQ(dirty_bytes(), 0u);
    }

    void TearDown() override {
        for (void *memory : objects_) {
            deallocate(memory);
        }
        td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
        td_backend_check();
    }

    // Time passes, with the maintenance that comes every tick.
    static void pass(uint64_t ms) {
        for (uint64_t end = now_ms + ms; now_ms < end; now_ms += TD_TICK_MS) {
            fake_os::set_clock_ms(now_ms);
            td_backend_maintain(now_ms);
        }
    }

    void hold(size_t bytes, size_t count) {
        for (size_t i = 0; i < count; i++) {
            objects_.push_back(allocate(bytes));
        }
    }

    void free_all_but(size_t left) {
        while (objects_.size() > left) {
            deallocate(objects_.back());
            objects_.pop_back();
        }
    }

    std::vector<void *> objects_;
};

TEST_F(purge, keeps_what_the_last_peak_needed_for_the_decay_time) {
    hold(4 * mib, 10);
    free_all_but(0);
    pass(decay_ms);
    EXPECT_EQ(fake_os::purged_bytes(), 0u);
    EXPECT_EQ(dirty_bytes(), 40 * mib);
}

TEST_F(purge, gives_everything_back_two_windows_after_the_peak) {
    hold(4 * mib, 10);
    hold(mib, 3);
    free_all_but(0);
    pass(2 * decay_ms + TD_TICK_MS);
    EXPECT_GE(fake_os::purged_bytes(), 43 * mib);
    EXPECT_EQ(dirty_bytes(), 0u);
}

TEST_F(purge, what_is_in_use_keeps_its_contents) {
    td_backend_set_hugepages(TD_HUGEPAGES_NEVER);  // those stay whole
    hold(256 << 10, 40);
    hold(4 * mib, 4);
    std::vector<void *> freed;
    for (size_t i = 0; i < objects_.size(); i += 2) {
        deallocate(objects_[i]);
        freed.push_back(objects_[i]);
    }
    pass(2 * decay_ms + TD_TICK_MS);
    EXPECT_EQ(dirty_bytes(), 0u);
    EXPECT_GT(fake_os::purged_bytes(), 0u);
    std::vector<void *> kept;
    for (size_t i = 1; i < objects_.size(); i += 2) {
        EXPECT_TRUE(is_intact(objects_[i], i < 40 ? 256 << 10 : 4 * mib));
        kept.push_back(objects_[i]);
    }
    objects_ = kept;
}

TEST_F(purge, a_load_that_comes_again_within_the_time_costs_nothing) {
    hold(4 * mib, 10);
    for (int wave = 0; wave < 10; wave++) {
        free_all_but(3);
        pass(decay_ms / 2);
        hold(4 * mib, 7);
        pass(decay_ms / 2);
    }
    EXPECT_EQ(fake_os::purged_bytes(), 0u);
}

TEST_F(purge, follows_the_peak_down) {
    hold(4 * mib, 20);
    free_all_but(0);
    hold(4 * mib, 5);
    // From here on the need is 20 MiB at most.
    for (int wave = 0; wave < 6; wave++) {
        free_all_but(0);
        pass(decay_ms / 2);
        hold(4 * mib, 5);
        pass(decay_ms / 2);
    }
    EXPECT_EQ(fake_os::purged_bytes(), 60 * mib);
    EXPECT_EQ(dirty_bytes(), 0u);
}

// There may be tens of thousands, and whoever allocates waits for the lock.
TEST_F(purge, no_tick_walks_all_segments) {
    hold(256 << 10, 5);
    hold(4 * mib, 2);
    free_all_but(1);
    size_t walks_before = walks;
    pass(3 * decay_ms);
    EXPECT_EQ(walks, walks_before);
    EXPECT_GT(fake_os::purged_bytes(), 0u);
    EXPECT_EQ(dirty_bytes(), 0u);
    EXPECT_GT(walks, walks_before) << "the statistics do, so they are counted";
}

TEST_F(purge, no_decay_means_at_the_next_tick) {
    td_backend_set_decay_ms(0);
    hold(4 * mib, 10);
    free_all_but(0);
    pass(2 * TD_TICK_MS);
    EXPECT_EQ(dirty_bytes(), 0u);
}

// Threads read the clock before they take the lock.
TEST_F(purge, a_tick_that_comes_late_does_not_end_the_window) {
    for (int peak = 0; peak < 2; peak++) {
        hold(4 * mib, 10);
        free_all_but(0);
        now_ms += decay_ms;
        td_backend_maintain(now_ms);
    }
    fake_os::forget_purges();
    size_t dirty = dirty_bytes();
    td_backend_maintain(now_ms - 4);
    for (uint64_t end = now_ms + decay_ms / 2; now_ms < end; now_ms += TD_TICK_MS) {
        td_backend_maintain(now_ms);
    }
    EXPECT_EQ(fake_os::purged_bytes(), 0u);
    EXPECT_EQ(dirty_bytes(), dirty);
}

TEST_F(purge, on_demand_gives_back_what_is_asked_for) {
    hold(4 * mib, 10);
    free_all_but(0);
    size_t purged = td_backend_purge(6 * mib);
    EXPECT_GE(purged, 6 * mib);
    EXPECT_LT(purged, 6 * mib + TD_SEGMENT_BYTES);
    EXPECT_EQ(fake_os::purged_bytes(), purged);
    EXPECT_EQ(dirty_bytes(), 40 * mib - purged);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 40 * mib - purged);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
}

TEST_F(purge, of_everything_makes_one_run_of_what_was_a_place_for_hugepages_and_what_was_none) {
    size_t bytes = 3 * TD_HUGE_HEAP_BYTES;
    ASSERT_TRUE(td_run_store_grow(bytes / TD_SEGMENT_BYTES));
    hold(mib, bytes / mib);
    free_all_but(0);
    td_backend_purge(SIZE_MAX);
    fake_os::limit_mapping(0);
    bool is_zero = false;
    void *memory = td_large_alloc(bytes, 16, &is_zero);
    fake_os::limit_mapping(SIZE_MAX);
    ASSERT_NE(memory, nullptr);
    EXPECT_TRUE(is_zero);
    deallocate(memory);
}

TEST_F(purge, counts_what_it_gave_back) {
    struct td_backend_stats before, after;
    td_backend_get_stats(&before);
    hold(4 * mib, 4);
    hold(300 << 10, 4);
    free_all_but(5);
    td_backend_purge(SIZE_MAX);
    td_backend_get_stats(&after);
    EXPECT_EQ(after.purged_bytes - before.purged_bytes, fake_os::purged_bytes());
    EXPECT_EQ(after.dirty_bytes, 0u);
    size_t sum = after.small_span_bytes + after.large_bytes + after.large_tail_bytes + after.dirty_bytes;
    EXPECT_EQ(sum + after.clean_bytes, after.mapped_bytes);
}

TEST_F(purge, what_cannot_be_given_back_stays_dirty) {
    hold(4 * mib, 5);
    hold(256 << 10, 5);
    free_all_but(6);
    size_t dirty = dirty_bytes();
    ASSERT_GT(dirty, 0u);
    free_all_but(4);
    dirty = dirty_bytes();
    fake_os::fail_purges(true);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
    pass(3 * decay_ms);
    EXPECT_EQ(dirty_bytes(), dirty);
    bool is_zero = true;
    void *memory = td_large_alloc(4 * mib, 16, &is_zero);
    EXPECT_FALSE(is_zero) << "dirty memory is promised to be zero";
    deallocate(memory);
    fake_os::fail_purges(false);
    td_backend_purge(SIZE_MAX);
    EXPECT_EQ(dirty_bytes(), 0u);
}

// As after mlockall.
TEST_F(purge, what_is_refused_costs_a_tick_no_more_than_some_calls_and_all_is_asked_for_in_time) {
    td_backend_set_hugepages(TD_HUGEPAGES_NEVER);
    std::vector<void *> kept;
    for (int i = 0; i < 480; i++) {  // 8 holes in each of 30 segments
        (i % 2 == 0 ? kept : objects_).push_back(allocate(128 << 10));
    }
    hold(2 * mib, 90);
    free_all_but(0);
    objects_ = kept;
    fake_os::fail_purges(true);
    std::set<uintptr_t> asked;
    for (int i = 0; i < 200; i++) {
        fake_os::forget_purges();
        pass(TD_TICK_MS);
        std::vector<fake_os::range> refused = fake_os::refused_purges();
        EXPECT_LE(refused.size(), 2 * 64u);
        for (const fake_os::range &each : refused) {
            asked.insert(each.begin);
        }
    }
    EXPECT_GE(asked.size(), 240u + 90) << "all holes, and all segments of the one run";
    fake_os::fail_purges(false);
    pass(3 * decay_ms);
    EXPECT_EQ(dirty_bytes(), 0u);
}

TEST_F(purge, a_hugepage_of_which_nothing_can_go_stays_one) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    hold(128 << 10, 2 * 16);
    std::swap(objects_[0], objects_[17]);
    free_all_but(1);
    fake_os::fail_purges(true);
    td_backend_purge(SIZE_MAX);
    auto address = reinterpret_cast<uintptr_t>(objects_[0]);
    EXPECT_TRUE(td_page_heap_segment_of(address)->run.is_huge);
    EXPECT_TRUE(fake_os::wants_hugepages(address));
    fake_os::fail_purges(false);
    td_backend_purge(SIZE_MAX);
    EXPECT_FALSE(td_page_heap_segment_of(address)->run.is_huge);
    EXPECT_FALSE(fake_os::wants_hugepages(address));
}

TEST_F(purge, a_segment_that_cannot_be_purged_does_not_keep_the_others_from_it) {
    // 16 objects of 128 KiB fill a segment; one of each stays.
    hold(128 << 10, 4 * 16);
    std::vector<void *> kept;
    for (size_t i = 0; i < objects_.size(); i++) {
        if (i % 16 == 3) {
            kept.push_back(objects_[i]);
        } else {
            deallocate(objects_[i]);
        }
    }
    objects_ = kept;
    size_t dirty = dirty_bytes();
    fake_os::lock_segment_of(kept[1]);
    size_t purged = td_backend_purge(SIZE_MAX);
    EXPECT_GE(purged, dirty - TD_SEGMENT_BYTES);
    EXPECT_GT(dirty_bytes(), 0u);
    fake_os::lock_segment_of(nullptr);
    td_backend_purge(SIZE_MAX);
    EXPECT_EQ(dirty_bytes(), 0u);
}

// A dirty run of 20 segments and, freed later, one of 4.
class purge_of_locked_runs : public purge {
  protected:
    void SetUp() override {
        purge::SetUp();
        ASSERT_TRUE(td_run_store_grow(26));
        hold(2 * 20 * mib, 1);
        hold(2 * mib, 1);
        hold(2 * 4 * mib, 1);
        hold(2 * mib, 1);
        run_ = static_cast<char *>(objects_[0]);
        deallocate(objects_[0]);
        fake_os::set_clock_ms(now_ms + 1);
        deallocate(objects_[2]);
        objects_ = {objects_[1], objects_[3]};
        ASSERT_EQ(dirty_bytes(), 48 * mib);
        td_backend_get_stats(&before_);
    }

    void TearDown() override {
        fake_os::lock_segment_of(nullptr);
        purge::TearDown();
    }

    size_t counted_bytes() const {
        struct td_backend_stats now;
        td_backend_get_stats(&now);
        return now.purged_bytes - before_.purged_bytes;
    }

    char *run_;
    struct td_backend_stats before_;
};

TEST_F(purge_of_locked_runs, all_but_the_locked_segment_goes) {
    for (size_t at : {0, 7, 19}) {
        fake_os::lock_segment_of(run_ + at * TD_SEGMENT_BYTES);
        size_t dirty = dirty_bytes();
        size_t counted = counted_bytes();
        EXPECT_EQ(td_backend_purge(SIZE_MAX), dirty - TD_SEGMENT_BYTES);
        EXPECT_EQ(fake_os::purged_bytes(), dirty - TD_SEGMENT_BYTES) << "counts what did not go, or went before";
        EXPECT_EQ(counted_bytes() - counted, dirty - TD_SEGMENT_BYTES);
        EXPECT_EQ(dirty_bytes(), TD_SEGMENT_BYTES);
        EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
        fake_os::lock_segment_of(nullptr);
        EXPECT_EQ(td_backend_purge(SIZE_MAX), TD_SEGMENT_BYTES);
        EXPECT_EQ(dirty_bytes(), 0u);
        fake_os::forget_purges();
        hold(2 * 20 * mib, 1);
        ASSERT_EQ(objects_.back(), run_);
        free_all_but(2);
    }
}

TEST_F(purge_of_locked_runs, a_part_goes_though_the_first_segment_cannot) {
    fake_os::lock_segment_of(run_);
    for (size_t step = 1; step <= 23; step++) {
        EXPECT_EQ(td_backend_purge(TD_SEGMENT_BYTES), TD_SEGMENT_BYTES);
        EXPECT_EQ(dirty_bytes(), (24 - step) * TD_SEGMENT_BYTES);
        EXPECT_EQ(fake_os::purged_bytes(), step * TD_SEGMENT_BYTES);
    }
    EXPECT_EQ(td_backend_purge(TD_SEGMENT_BYTES), 0u);
}

TEST_F(purge_of_locked_runs, what_is_not_purged_holds_what_it_held) {
    bool is_zero = true;
    fake_os::lock_segment_of(run_ + TD_SEGMENT_BYTES);
    td_backend_purge(SIZE_MAX);
    void *memory = td_large_alloc(TD_SEGMENT_BYTES, 16, &is_zero);
    EXPECT_EQ(memory, run_ + TD_SEGMENT_BYTES);
    EXPECT_FALSE(is_zero);
    EXPECT_TRUE(is_intact(memory, TD_SEGMENT_BYTES));
    deallocate(memory);
    for (int i = 0; i < 4; i++) {
        fake_os::fail_purges(true);
        EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
    }
}

TEST_F(purge, a_hugepage_that_is_mostly_used_stays_whole) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    // 16 objects of 128 KiB fill a segment.
    hold(128 << 10, 3 * 16);
    std::vector<void *> kept;
    struct td_segment *segment = td_page_heap_segment_of(reinterpret_cast<uintptr_t>(objects_[20]));
    ASSERT_TRUE(segment->run.is_huge);
    for (void *memory : objects_) {
        bool is_in_segment = td_page_heap_segment_of(reinterpret_cast<uintptr_t>(memory)) == segment;
        if (is_in_segment && kept.size() < 5) {
            kept.push_back(memory);
        } else {
            deallocate(memory);
        }
    }
    objects_ = kept;
    td_backend_purge(SIZE_MAX);
    EXPECT_EQ(dirty_bytes(), 11 * 128u << 10) << "5 of 16 parts are in use";
    free_all_but(4);
    td_backend_purge(SIZE_MAX);
    EXPECT_EQ(dirty_bytes(), 0u) << "a quarter is in use";
    for (const void *memory : objects_) {
        EXPECT_TRUE(is_intact(memory, 128 << 10));
    }
}

// What stays is no reason to take runs that are needed again.
TEST_F(purge, what_cannot_go_is_no_surplus) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    hold(128 << 10, 10 * 16);
    std::vector<void *> kept;
    for (size_t i = 0; i < objects_.size(); i++) {
        if (i % 16 < 5) {
            kept.push_back(objects_[i]);
        } else {
            deallocate(objects_[i]);
        }
    }
    objects_ = kept;
    td_backend_purge(SIZE_MAX);
    size_t stuck = dirty_bytes();
    ASSERT_GE(stuck, 10 * mib);
    EXPECT_EQ(td_purge_purgeable_bytes(), 0u);
    fake_os::forget_purges();
    for (int wave = 0; wave < 10; wave++) {
        hold(4 * mib, 2);
        pass(decay_ms / 2);
        free_all_but(kept.size());
        pass(decay_ms / 2);
    }
    EXPECT_EQ(fake_os::purged_bytes(), 0u);
    free_all_but(0);
    pass(3 * decay_ms);
    EXPECT_EQ(dirty_bytes(), 0u);
}

TEST_F(purge, pages_of_a_span_in_use_go_back_unless_much_of_their_hugepage_is_used) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    constexpr size_t class_index = 48;  // 4 KiB
    struct td_span *span = td_backend_alloc_span(class_index);
    ASSERT_NE(span, nullptr);
    // All objects but the last are free.
    span->free_bits[0] = (uint64_t{1} << (td_class_info[class_index].span_objects - 1)) - 1;
    struct td_segment *segment = td_page_heap_segment_of(span->start);
    ASSERT_TRUE(segment->run.is_huge);
    while (segment->used_pages <= TD_SEGMENT_PAGES / 4 + span->pages) {
        hold(64 << 10, 1);
    }
    fake_os::forget_purges();

    EXPECT_EQ(td_backend_purge_pages(span->start, 8192), 0u);
    EXPECT_TRUE(fake_os::purges().empty());
    EXPECT_TRUE(fake_os::wants_hugepages(span->start));
    free_all_but(objects_.size() - 2);
    EXPECT_EQ(td_backend_purge_pages(span->start, 8192), 8192u);
    ASSERT_EQ(fake_os::purges().size(), 1u);
    EXPECT_EQ(fake_os::purges()[0].begin, span->start);
    EXPECT_EQ(fake_os::purges()[0].bytes, 8192u);
    EXPECT_FALSE(fake_os::wants_hugepages(span->start)) << "the kernel would fill it again";
    fake_os::fail_purges(true);
    EXPECT_EQ(td_backend_purge_pages(span->start + 8192, 4096), 0u);
    td_backend_free_span(span);
}

// Finding out means to walk the segment: not for each of its spans, each time that they are passed.
TEST_F(purge, a_hugepage_that_was_refused_is_looked_at_again_when_that_may_help) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    constexpr size_t class_index = 48;  // 4 KiB
    std::vector<struct td_span *> spans;
    for (size_t pages = 0; pages <= TD_SEGMENT_PAGES / 2; pages += spans.back()->pages) {
        spans.push_back(td_backend_alloc_span(class_index));
        spans.back()->free_bits[0] = 0;
    }
    uintptr_t start = spans[0]->start;
    ASSERT_TRUE(td_page_heap_segment_of(start)->run.is_huge);
    auto set_all = [&](uint64_t free_bits) {
        for (struct td_span *span : spans) {
            span->free_bits[0] = free_bits;
        }
    };
    uint64_t all_free = (uint64_t{1} << td_class_info[class_index].span_objects) - 1;
    auto refuse = [&] {
        td_page_heap_segment_of(start)->run.is_huge = true;
        set_all(0);
        td_backend_purge(1);
        EXPECT_EQ(td_backend_purge_pages(start, 4096), 0u);
        set_all(all_free);
        EXPECT_EQ(td_backend_purge_pages(start, 4096), 0u) << "it is looked at each time";
    };
    refuse();
    td_backend_purge(1);
    EXPECT_EQ(td_backend_purge_pages(start, 4096), 4096u) << "on demand";
    refuse();
    pass(decay_ms + TD_TICK_MS);
    EXPECT_EQ(td_backend_purge_pages(start, 4096), 4096u) << "a window has ended";
    refuse();
    td_backend_free_span(spans.back());
    spans.pop_back();
    EXPECT_EQ(td_backend_purge_pages(start, 4096), 4096u) << "a span was freed";
    for (struct td_span *span : spans) {
        td_backend_free_span(span);
    }
}

TEST_F(purge, only_whole_os_pages_go_back) {
    fake_os::set_page_bytes(64 << 10);
    hold(72 << 10, 24);  // 9 of a segment's pages each, where 8 make an OS page
    std::vector<void *> kept;
    for (size_t i = 0; i < objects_.size(); i++) {
        if (i % 3 == 0 || i % 7 == 0) {
            deallocate(objects_[i]);
        } else {
            kept.push_back(objects_[i]);
        }
    }
    objects_ = kept;
    td_backend_purge(SIZE_MAX);
    EXPECT_GT(fake_os::purged_bytes(), 0u);
    for (const fake_os::range &each : fake_os::purges()) {
        EXPECT_EQ((each.begin | each.bytes) % (64 << 10), 0u);
    }
    for (const void *memory : objects_) {
        EXPECT_TRUE(is_intact(memory, 72 << 10));
    }
    fake_os::set_page_bytes(4096);
}

TEST_F(purge, whole_runs_leave_before_pages_of_segments) {
    hold(256 << 10, 5);
    hold(4 * mib, 2);
    std::swap(objects_[0], objects_[6]);
    free_all_but(1);  // a 4 MiB object remains
    td_backend_purge(TD_SEGMENT_BYTES);
    ASSERT_EQ(fake_os::purges().size(), 1u);
    EXPECT_EQ(fake_os::purges()[0].bytes % TD_SEGMENT_BYTES, 0u);
}

}  // namespace
