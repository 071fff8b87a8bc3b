#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/backend/fake_os.h"
#include "tests/backend/large_fixture.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/large.h"
#include "backend/os.h"
#include "backend/run_store.h"
}

namespace {

// A long-lived object in a run that was freed by a longer one.
class large_tail : public large {
  protected:
    void SetUp() override {
        while (td_run_store_unmap_one()) {
            // A place for hugepages stays one: begin with fresh memory.
        }
        td_backend_set_hugepages(TD_HUGEPAGES_NEVER);
        fake_os::set_clock_ms(now_ms_);
        memory_ = allocate(2 * mib);
        end_ = reinterpret_cast<uintptr_t>(memory_) + 2 * mib;
        memset(memory_, 0xa5, 2 * mib);
    }

    void TearDown() override {
        if (memory_ != nullptr) {
            deallocate(memory_);
        }
        fake_os::lock_segment_of(nullptr);
        td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
        td_backend_set_decay_ms(TD_DECAY_MS_DEFAULT);
        large::TearDown();
    }

    void replace(size_t bytes) {
        deallocate(memory_);
        char *memory = allocate(bytes);
        ASSERT_EQ(memory, memory_);
        fake_os::forget_purges();
    }

    void shrink(size_t bytes) {
        ASSERT_EQ(td_large_resize(memory_, bytes), memory_);
        fake_os::forget_purges();
    }

    void pass(uint64_t ms) {
        now_ms_ += ms;
        fake_os::set_clock_ms(now_ms_);
        td_backend_maintain(now_ms_);
    }

    // Whether that, and nothing else of the run, was given back: what lies behind `bytes`.
    bool went_behind(size_t bytes) const {
        std::vector<fake_os::range> purges = fake_os::purges();
        fake_os::forget_purges();
        uintptr_t start = end_ - 2 * mib + bytes;
        return purges.size() == 1 && purges[0].begin == start && purges[0].bytes == end_ - start;
    }

    static size_t counted_bytes() {
        struct td_backend_stats stats;
        td_backend_get_stats(&stats);
        EXPECT_EQ(stats.large_bytes + stats.large_tail_bytes + stats.dirty_bytes + stats.clean_bytes,
                  stats.mapped_bytes);
        return stats.purged_bytes;
    }

    static uint64_t now_ms_;  // later than all that earlier tests saw
    char *memory_;
    uintptr_t end_;
};

uint64_t large_tail::now_ms_ = 1000000;

TEST_F(large_tail, goes_back_when_it_is_as_old_as_the_decay) {
    for (bool is_shrunk : {false, true}) {
        size_t counted = counted_bytes();
        is_shrunk ? shrink(1200 * kib) : replace(1200 * kib);
        pass(TD_DECAY_MS_DEFAULT - 1);
        EXPECT_TRUE(fake_os::purges().empty());
        pass(1);
        EXPECT_TRUE(went_behind(1200 * kib));
        EXPECT_EQ(counted_bytes() - counted, 848 * kib);
        pass(2 * TD_DECAY_MS_DEFAULT);
        EXPECT_TRUE(fake_os::purges().empty()) << "it is clean";
        EXPECT_EQ(memory_[1200 * kib - 1], '\xa5');
        EXPECT_TRUE(reads_as_zeros(memory_ + 1200 * kib, 848 * kib));
        ASSERT_EQ(td_large_resize(memory_, 2 * mib), memory_);
        memset(memory_, 0xa5, 2 * mib);
    }
}

TEST_F(large_tail, goes_back_on_demand) {
    shrink(1800 * kib);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 248 * kib);
    EXPECT_TRUE(went_behind(1800 * kib));
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
}

TEST_F(large_tail, of_objects_that_come_and_go_costs_no_system_call) {
    uint64_t calls = td_os_call_count();
    for (int i = 0; i < 100; i++) {
        now_ms_ += TD_DECAY_MS_DEFAULT - 1;
        fake_os::set_clock_ms(now_ms_);
        replace(1200 * kib);
        shrink(1100 * kib);
        ASSERT_EQ(td_large_resize(memory_, 1300 * kib), memory_);
    }
    EXPECT_EQ(td_os_call_count(), calls);
    pass(TD_DECAY_MS_DEFAULT - 1);
    EXPECT_TRUE(fake_os::purges().empty());
}

TEST_F(large_tail, that_is_short_or_clean_stays) {
    shrink(2 * mib - 56 * kib);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
    char *fresh = allocate(2 * mib + 8 * kib);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
    deallocate(fresh);
}

TEST_F(large_tail, is_that_of_the_last_segment_whatever_was_cut_off_or_added) {
    deallocate(memory_);
    td_backend_purge(SIZE_MAX);
    memory_ = allocate(8 * mib);
    shrink(1200 * kib);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 8 * mib - 1200 * kib);
    fake_os::forget_purges();
    ASSERT_EQ(td_large_resize(memory_, 2 * mib + 1), memory_);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u) << "it has grown into clean memory";
    ASSERT_EQ(td_large_resize(memory_, 4 * mib), memory_);
    shrink(1200 * kib);
    ASSERT_EQ(td_large_resize(memory_, 3 * mib), memory_);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), mib) << "it has grown into dirty memory";
    EXPECT_EQ(fake_os::purges().back().begin, reinterpret_cast<uintptr_t>(memory_) + 3 * mib);
}

TEST_F(large_tail, that_is_locked_is_tried_again) {
    shrink(1200 * kib);
    fake_os::lock_segment_of(memory_);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
    pass(TD_DECAY_MS_DEFAULT);
    fake_os::lock_segment_of(nullptr);
    EXPECT_TRUE(fake_os::purges().empty());
    pass(TD_DECAY_MS_DEFAULT);
    EXPECT_TRUE(went_behind(1200 * kib));
}

TEST_F(large_tail, object_does_not_grow_into_it_while_it_goes_back) {
    shrink(1200 * kib);
    void *resized = memory_;
    fake_os::while_purging([&] { resized = td_large_resize(memory_, 1300 * kib); });
    fake_os::let_moves(fake_os::moves::are_unknown);
    td_backend_purge(SIZE_MAX);
    EXPECT_EQ(resized, nullptr);
    EXPECT_EQ(td_large_usable_bytes(memory_, "free"), 1200 * kib);
    EXPECT_EQ(td_large_resize(memory_, 1304 * kib), memory_);
    EXPECT_EQ(td_large_usable_bytes(memory_, "free"), 1304 * kib);
}

TEST_F(large_tail, that_was_on_its_way_back_goes_at_the_place_it_was_moved_to) {
    shrink(1200 * kib);
    void *moved = nullptr;
    fake_os::while_purging([&] { moved = td_large_resize(memory_, 1300 * kib); });
    td_backend_purge(SIZE_MAX);
    ASSERT_NE(moved, nullptr);
    ASSERT_NE(moved, memory_);
    memory_ = static_cast<char *>(moved);
    fake_os::forget_purges();
    td_backend_purge(SIZE_MAX);
    uintptr_t tail = reinterpret_cast<uintptr_t>(memory_) + 1304 * kib;
    std::vector<fake_os::range> purges = fake_os::purges();
    EXPECT_TRUE(std::any_of(purges.begin(), purges.end(), [&](const fake_os::range &each) {
        return each.begin == tail && each.bytes == 2 * mib - 1304 * kib;
    }));
}

TEST_F(large_tail, nobody_has_the_run_while_it_goes_back) {
    shrink(1200 * kib);
    char *other = nullptr;
    fake_os::while_purging([&] {
        deallocate(memory_);
        other = allocate(2 * mib);
    });
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 848 * kib);
    EXPECT_NE(other, memory_);
    memory_ = allocate(2 * mib);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory_) + 2 * mib, end_) << "and afterwards it is free";
    deallocate(other);
}

TEST_F(large_tail, in_a_hugepage_goes_if_it_is_much_of_it) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    while (td_run_store_unmap_one()) {
        // Fresh memory is needed.
    }
    char *other = allocate(2 * mib);
    std::swap(memory_, other);
    end_ = reinterpret_cast<uintptr_t>(memory_) + 2 * mib;
    ASSERT_TRUE(fake_os::wants_hugepages(end_ - 1));
    shrink(1600 * kib);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 0u);
    EXPECT_TRUE(fake_os::wants_hugepages(end_ - 1));
    shrink(1200 * kib);
    EXPECT_EQ(td_backend_purge(SIZE_MAX), 848 * kib);
    EXPECT_FALSE(fake_os::wants_hugepages(end_ - 1)) << "the kernel would fill it again";
    deallocate(other);
}

TEST_F(large_tail, of_many_objects_goes_back_in_several_ticks) {
    std::vector<char *> objects;
    for (int i = 0; i < 100; i++) {
        objects.push_back(allocate(2 * mib));
        ASSERT_EQ(td_large_resize(objects.back(), 1200 * kib), objects.back());
    }
    fake_os::forget_purges();
    pass(TD_DECAY_MS_DEFAULT);
    EXPECT_EQ(fake_os::purges().size(), 64u);
    pass(TD_TICK_MS);
    EXPECT_EQ(fake_os::purges().size(), 100u);
    for (char *each : objects) {
        deallocate(each);
    }
}

}  // namespace
