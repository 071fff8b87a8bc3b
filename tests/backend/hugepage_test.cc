// Hugepages that were split, and come back when what was given back is used again: the clock is the test's.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/backend/backend_stats.h"
#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/large.h"
#include "backend/page_heap.h"
#include "backend/run_store.h"
#include "base/size_class.h"
}

namespace {

constexpr size_t object_bytes = 128 << 10;
constexpr size_t objects_in_segment = TD_SEGMENT_BYTES / object_bytes;
constexpr size_t segments = 6;
constexpr size_t objects_until_reused = TD_REUSED_BYTES_MIN / object_bytes;

// Later than all that earlier tests saw.
uint64_t now_ms = 1000000;

uintptr_t address_of(const void *pointer) {
    return reinterpret_cast<uintptr_t>(pointer);
}

struct td_segment *segment_of(const void *pointer) {
    return td_page_heap_segment_of(address_of(pointer));
}

size_t dirty_bytes() {
    return backend_stats().dirty_bytes;
}

// Six hugepages, of each of which one object in 16 stays.
class hugepage : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        td_backend_purge(SIZE_MAX);
        while (td_run_store_unmap_one()) {
            // A place for hugepages stays one: begin with fresh memory.
        }
        td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
        use(segments * objects_in_segment);
        go_down();
        ASSERT_EQ(kept_.size(), segments);
        next_tick();
        fake_os::take_collapses();
        rebuilt_before_ = rebuilt();
    }

    void TearDown() override {
        fake_os::fail_collapses(false);
        release();
        for (void *memory : kept_) {
            td_large_free(memory, "free");
        }
        td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
        td_backend_check();
    }

    // Takes so many objects.
    void use(size_t count) {
        for (size_t i = 0; i < count; i++) {
            bool is_zero;
            void *memory = td_large_alloc(object_bytes, 16, &is_zero);
            ASSERT_NE(memory, nullptr);
            memset(memory, 0xa5, object_bytes);
            objects_.push_back(memory);
        }
    }

    void release() {
        for (void *memory : objects_) {
            td_large_free(memory, "free");
        }
        objects_.clear();
    }

    // Frees all but the first object in each segment, and gives back what is free.
    void go_down() {
        std::vector<void *> freed;
        for (void *memory : objects_) {
            (address_of(memory) % TD_SEGMENT_BYTES == 0 ? kept_ : freed).push_back(memory);
        }
        objects_ = freed;
        release();
        td_backend_purge(SIZE_MAX);
        for (const void *memory : kept_) {
            ASSERT_FALSE(segment_of(memory)->run.is_huge);
            ASSERT_FALSE(fake_os::wants_hugepages(address_of(memory)));
        }
    }

    static void next_tick() {
        now_ms += TD_TICK_MS;
        fake_os::set_clock_ms(now_ms);
    }

    std::vector<void *> kept_;
    std::vector<void *> objects_;
    uint64_t rebuilt_before_ = 0;
};

TEST_F(hugepage, stays_split_where_little_is_used_again) {
    for (int i = 0; i < 2; i++) {
        use(objects_until_reused - 1);
        next_tick();
        release();
        next_tick();
    }
    EXPECT_TRUE(fake_os::take_collapses().empty());
}

TEST_F(hugepage, is_whole_once_much_is_used_again_and_before_it_is_touched) {
    use(objects_until_reused - 1);
    EXPECT_TRUE(fake_os::take_collapses().empty());
    use(1);
    std::vector<uintptr_t> collapsed = fake_os::take_collapses();
    ASSERT_EQ(collapsed.size(), 1u);
    struct td_segment *segment = segment_of(objects_.back());
    EXPECT_EQ(collapsed[0], segment->run.base);
    EXPECT_TRUE(segment->run.is_huge);
    EXPECT_TRUE(fake_os::wants_hugepages(collapsed[0]));
    EXPECT_EQ(rebuilt(), rebuilt_before_ + 1);
    use(1);
    EXPECT_EQ(segment_of(objects_.back()), segment) << "the same one is whole by now";
    EXPECT_TRUE(fake_os::take_collapses().empty());
}

TEST_F(hugepage, all_that_is_free_in_it_is_resident) {
    EXPECT_EQ(dirty_bytes(), 0u);
    use(objects_until_reused);
    const struct td_segment *segment = segment_of(objects_.back());
    EXPECT_EQ(dirty_bytes(), (TD_SEGMENT_PAGES - segment->used_pages) * TD_PAGE_BYTES);
    bool is_zero = true;
    objects_.push_back(td_large_alloc(object_bytes, 16, &is_zero));
    EXPECT_EQ(segment_of(objects_.back()), segment);
    EXPECT_FALSE(is_zero);
}

TEST_F(hugepage, every_segment_that_is_used_again_is_whole) {
    use(segments * (objects_in_segment - 1));
    size_t split = (objects_until_reused - 1) / (objects_in_segment - 1);  // used up before it was known to be much
    EXPECT_EQ(fake_os::take_collapses().size(), segments - split);
    EXPECT_EQ(rebuilt(), rebuilt_before_ + segments - split);
}

TEST_F(hugepage, comes_back_each_time_that_it_was_split) {
    for (int round = 0; round < 3; round++) {
        use(segments * (objects_in_segment - 1));
        EXPECT_FALSE(fake_os::take_collapses().empty());
        std::vector<void *> before = kept_;
        kept_.clear();
        objects_.insert(objects_.end(), before.begin(), before.end());
        go_down();
        next_tick();
    }
}

TEST_F(hugepage, that_the_kernel_refuses_is_not_tried_again_and_the_next_after_as_much_use) {
    fake_os::fail_collapses(true);
    use(objects_until_reused);
    struct td_segment *refused = segment_of(objects_.back());
    EXPECT_EQ(fake_os::take_collapses(), std::vector<uintptr_t>{refused->run.base});
    EXPECT_FALSE(refused->run.is_huge);
    EXPECT_FALSE(fake_os::wants_hugepages(refused->run.base));
    EXPECT_EQ(dirty_bytes(), 0u);
    fake_os::fail_collapses(false);
    size_t rest = segments * (objects_in_segment - 1) - objects_until_reused;
    size_t rest_of_refused = (TD_SEGMENT_PAGES - refused->used_pages) * TD_PAGE_BYTES / object_bytes;
    use(rest_of_refused);
    EXPECT_TRUE(fake_os::take_collapses().empty());
    use(rest - rest_of_refused);
    std::vector<uintptr_t> collapsed = fake_os::take_collapses();
    size_t until_next = rest_of_refused + objects_until_reused - 1;
    EXPECT_EQ(collapsed.size(), (rest - until_next + objects_in_segment - 2) / (objects_in_segment - 1));
    EXPECT_EQ(rebuilt(), rebuilt_before_ + collapsed.size());
}

TEST_F(hugepage, that_never_was_one_is_none_afterwards) {
    td_backend_set_hugepages(TD_HUGEPAGES_NEVER);
    use(2 * segments * objects_in_segment);
    fake_os::take_collapses();
    void *last = objects_.back();
    struct td_segment *segment = segment_of(last);
    ASSERT_FALSE(segment->run.is_huge);
    objects_.pop_back();
    release();
    td_backend_purge(SIZE_MAX);
    next_tick();
    while (segment_of(last)->used_pages < TD_SEGMENT_PAGES) {
        use(1);
    }
    for (uintptr_t base : fake_os::take_collapses()) {
        EXPECT_NE(base, segment->run.base);
    }
    objects_.push_back(last);
}

// As the central free lists tell it of spans that gave pages back and stayed.
TEST_F(hugepage, is_missed_by_spans_that_stayed) {
    use(1);
    struct td_segment *segment = segment_of(objects_[0]);
    struct td_span *span = td_segment_span_at(segment, address_of(objects_[0]));
    const uint8_t rebuilds = td_backend_rebuilds(span);
    td_backend_note_reuse(span, TD_REUSED_BYTES_MIN - object_bytes - 1);
    EXPECT_FALSE(segment->run.is_huge);
    EXPECT_EQ(td_backend_rebuilds(span), rebuilds);
    td_backend_note_reuse(span, 1);
    EXPECT_EQ(fake_os::take_collapses(), std::vector<uintptr_t>{segment->run.base});
    EXPECT_TRUE(segment->run.is_huge);
    EXPECT_EQ(td_backend_rebuilds(span), rebuilds + 1);
}

}  // namespace
