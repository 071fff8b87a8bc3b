#include <csignal>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/large.h"
#include "backend/page_map.h"
#include "base/size_class.h"
}

namespace {

void *pointer_to(uintptr_t address) {
    return reinterpret_cast<void *>(address);
}

class backend : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }
    void TearDown() override { td_backend_check(); }
};

TEST_F(backend, a_span_of_each_class_is_found_from_each_of_its_objects) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        const struct td_class_info &info = td_class_info[i];
        struct td_span *span = td_backend_alloc_span(i);
        ASSERT_NE(span, nullptr);
        EXPECT_EQ(span->class_index, i);
        EXPECT_EQ(span->pages, info.span_pages);
        EXPECT_EQ(span->start % (info.align_pages * TD_PAGE_BYTES), 0u);
        for (size_t index = 0; index < info.span_objects; index++) {
            void *object = pointer_to(span->start + index * info.object_bytes);
            ASSERT_EQ(td_backend_span_of(object, "free"), span);
            ASSERT_EQ(td_page_map_class(object), i);
        }
        td_backend_free_span(span);
    }
}

TEST_F(backend, statistics_add_up_in_every_state) {
    std::vector<struct td_span *> spans;
    std::vector<void *> larges;
    auto expect_sum = [&] {
        struct td_backend_stats stats;
        td_backend_get_stats(&stats);
        EXPECT_EQ(stats.small_span_bytes + stats.large_bytes + stats.large_tail_bytes + stats.dirty_bytes +
                      stats.clean_bytes,
                  stats.mapped_bytes);
        size_t small_bytes = 0, large_bytes = 0;
        for (const struct td_span *span : spans) {
            small_bytes += span->pages * TD_PAGE_BYTES;
        }
        for (const void *memory : larges) {
            large_bytes += td_large_usable_bytes(memory, "free");
        }
        EXPECT_EQ(stats.small_span_bytes, small_bytes);
        EXPECT_EQ(td_backend_small_bytes(), small_bytes);
        EXPECT_EQ(stats.large_bytes, large_bytes);
    };
    bool is_zero;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        spans.push_back(td_backend_alloc_span(i));
        larges.push_back(td_large_alloc(i * 70000, 16, &is_zero));
        expect_sum();
    }
    while (!spans.empty()) {
        td_backend_free_span(spans.back());
        spans.pop_back();
        td_large_free(larges.back(), "free");
        larges.pop_back();
        if (spans.size() % 7 == 0) {
            td_backend_purge(size_t{1} << 20);
        }
        expect_sum();
    }
}

TEST_F(backend, works_again_after_a_fork_was_prepared) {
    td_backend_fork_prepare();
    td_backend_fork_done();
    struct td_span *span = td_backend_alloc_span(1);
    ASSERT_NE(span, nullptr);
    td_backend_free_span(span);
}

using backend_death_test = backend;

TEST_F(backend_death_test, pointers_outside_of_spans_end_the_process) {
    struct td_span *span = td_backend_alloc_span(4);
    struct td_span *neighbour = td_backend_alloc_span(5);
    uintptr_t last_page = (span->start | (TD_SEGMENT_BYTES - 1)) + 1 - TD_PAGE_BYTES;
    struct td_span *last = td_segment_span_at(td_segment_of_span(span), last_page);
    if (last->state == TD_SPAN_FREE) {
        last->start = 0;  // now nothing was ever there
    }
    int local = 0;
    EXPECT_EXIT(td_backend_span_of(&local, "free"), testing::KilledBySignal(SIGABRT),
                "tandem: free of 0x[0-9a-f]+, which was not allocated here");
    EXPECT_EXIT(td_backend_span_of(pointer_to(last_page), "realloc"), testing::KilledBySignal(SIGABRT),
                "tandem: realloc of 0x[0-9a-f]+, which was not allocated here");
    uintptr_t start = span->start;
    td_backend_free_span(span);
    EXPECT_EXIT(td_backend_span_of(pointer_to(start + 64), "free"), testing::KilledBySignal(SIGABRT),
                "tandem: double free of 0x[0-9a-f]+ \\(64-byte object\\)");
    td_backend_free_span(neighbour);
}

}  // namespace
