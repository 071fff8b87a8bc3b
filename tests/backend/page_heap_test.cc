#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "tests/backend/backend_stats.h"
#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/free_runs.h"
#include "backend/large.h"
#include "backend/metadata.h"
#include "backend/page_heap.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
#include "base/size_class.h"
}

namespace {

char *memory_of(const struct td_span *span) {
    return reinterpret_cast<char *>(span->start);
}

bool reads_as_zeros(const char *memory, size_t bytes) {
    return memory[0] == 0 && memcmp(memory, memory + 1, bytes - 1) == 0;
}

size_t mapped_bytes() {
    return td_free_runs_mapped_bytes();
}

class page_heap : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }

    void TearDown() override {
        while (!spans_.empty()) {
            give_back(spans_.size() - 1);
        }
        EXPECT_EQ(td_backend_used_bytes, 0u);
        td_backend_check();
    }

    struct td_span *take(size_t pages, size_t align_pages = 1, size_t class_index = 0) {
        bool was_clean = false;
        struct td_span *span = td_page_heap_alloc(pages, align_pages, class_index, &was_clean);
        if (span == nullptr) {
            return nullptr;
        }
        EXPECT_EQ(span->pages, pages);
        EXPECT_EQ(span->start % (align_pages * TD_PAGE_BYTES), 0u);
        EXPECT_EQ(span->state, class_index != 0 ? TD_SPAN_SMALL : TD_SPAN_LARGE);
        EXPECT_TRUE(fake_os::is_mapped(span->start, pages * TD_PAGE_BYTES));
        if (was_clean) {
            EXPECT_TRUE(reads_as_zeros(memory_of(span), pages * TD_PAGE_BYTES));
        }
        memset(memory_of(span), 0xa5, pages * TD_PAGE_BYTES);
        spans_.push_back(span);
        return span;
    }

    void give_back(size_t which) {
        td_page_heap_free(spans_[which]);
        spans_.erase(spans_.begin() + static_cast<std::ptrdiff_t>(which));
    }

    std::vector<struct td_span *> spans_;
};

TEST_F(page_heap, spans_never_overlap_and_are_whole_pages) {
    std::mt19937 random(1);
    for (int step = 0; step < 4000 && !HasFatalFailure(); step++) {
        if (spans_.empty() || random() % 5 < 3) {
            take(1 + random() % (random() % 8 == 0 ? 128 : 8), size_t{1} << random() % 4, random() % TD_CLASS_COUNT);
        } else {
            give_back(random() % spans_.size());
        }
        if (step % 64 == 0) {
            std::map<uintptr_t, uintptr_t> ends;
            size_t used = 0;
            for (const struct td_span *span : spans_) {
                ends[span->start] = span->start + span->pages * TD_PAGE_BYTES;
                used += span->pages * TD_PAGE_BYTES;
            }
            ASSERT_EQ(ends.size(), spans_.size());
            uintptr_t last_end = 0;
            for (const auto &each : ends) {
                ASSERT_GE(each.first, last_end);
                last_end = each.second;
            }
            ASSERT_EQ(td_backend_used_bytes, used);
            td_backend_check();
        }
    }
}

TEST_F(page_heap, the_page_map_knows_a_spans_class_while_it_lives) {
    struct td_span *span = take(2, 1, 33);
    ASSERT_NE(span, nullptr);
    char *memory = memory_of(span);
    EXPECT_EQ(td_page_map_class(memory), 33u);
    EXPECT_EQ(td_page_map_class(memory + TD_PAGE_BYTES), 33u);
    EXPECT_EQ(td_page_heap_segment_of(span->start), td_page_heap_segment_of(span->start + 1));
    give_back(0);
    EXPECT_EQ(td_page_map_class(memory), 0u);
    EXPECT_EQ(td_page_map_class(memory + TD_PAGE_BYTES), 0u);
}

TEST_F(page_heap, new_spans_come_from_the_fullest_segment_that_fits) {
    take(TD_SEGMENT_PAGES / 2);
    take(TD_SEGMENT_PAGES / 2 - 10);  // leaves 10 pages in one segment
    take(TD_SEGMENT_PAGES / 2);       // and half of another
    struct td_segment *fuller = td_page_heap_segment_of(spans_[0]->start);
    ASSERT_EQ(td_page_heap_segment_of(spans_[1]->start), fuller);
    struct td_segment *emptier = td_page_heap_segment_of(spans_[2]->start);
    ASSERT_NE(emptier, fuller);
    EXPECT_EQ(td_page_heap_segment_of(take(6)->start), fuller);
    EXPECT_EQ(td_page_heap_segment_of(take(6)->start), emptier);
    EXPECT_EQ(td_page_heap_segment_of(take(4)->start), fuller);
}

TEST_F(page_heap, empty_segments_become_free_runs_and_are_used_again) {
    for (int i = 0; i < 40; i++) {
        take(TD_SEGMENT_PAGES / 2);
    }
    size_t mapped = mapped_bytes();
    while (!spans_.empty()) {
        give_back(0);
    }
    EXPECT_EQ(td_free_runs_bytes(TD_RUN_CLEAN) + td_free_runs_bytes(TD_RUN_DIRTY), mapped);
    EXPECT_GE(td_free_runs_bytes(TD_RUN_DIRTY), 20 * TD_SEGMENT_BYTES);
    for (int i = 0; i < 40; i++) {
        take(TD_SEGMENT_PAGES / 2);
    }
    EXPECT_EQ(mapped_bytes(), mapped) << "mapped more though all was free";
}

TEST_F(page_heap, resizes_in_place_and_counts_it) {
    struct td_span *span = take(10);
    memset(memory_of(span), 0x77, 10 * TD_PAGE_BYTES);
    ASSERT_TRUE(td_page_heap_resize(span, 30));
    EXPECT_EQ(span->pages, 30);
    EXPECT_EQ(td_backend_used_bytes, 30 * TD_PAGE_BYTES);
    EXPECT_EQ(memory_of(span)[10 * TD_PAGE_BYTES - 1], 0x77);
    struct td_span *behind = take(1);
    if (behind->start == span->start + 30 * TD_PAGE_BYTES) {
        EXPECT_FALSE(td_page_heap_resize(span, 31));
        EXPECT_EQ(span->pages, 30);
    }
    ASSERT_TRUE(td_page_heap_resize(span, 5));
    EXPECT_EQ(td_backend_used_bytes, 6 * TD_PAGE_BYTES);
    EXPECT_EQ(memory_of(span)[0], 0x77);
    td_backend_check();
}

TEST_F(page_heap, has_no_span_when_the_system_has_no_memory) {
    fake_os::limit_mapping(0);
    size_t count = 0;
    errno = 0;
    while (take(TD_SEGMENT_PAGES / 2) != nullptr) {
        count++;
        ASSERT_LT(count, 1000u);
    }
    EXPECT_EQ(errno, ENOMEM);
    td_backend_check();
    fake_os::limit_mapping(SIZE_MAX);
    EXPECT_NE(take(TD_SEGMENT_PAGES / 2), nullptr);
}

// No memory for descriptors, as with a limit on the address space, which free memory counts against as well.
class page_heap_without_descriptors : public page_heap {
  protected:
    void SetUp() override {
        ASSERT_TRUE(td_run_store_grow(64 * 4));
        for (int i = 0; i < 64; i++) {
            objects_.push_back(allocate_large(4));
        }
        fake_os::limit_mapping(0);
        while (td_metadata_alloc(TD_CACHE_LINE, TD_CACHE_LINE) != nullptr) {
            // Nothing else uses it.
        }
    }

    void TearDown() override {
        td_run_store_enter_anyway();
        while (taken_ != nullptr) {
            struct td_segment_run *run = taken_;
            taken_ = run->next;
            td_run_put(run, TD_RUN_DIRTY, 0);
        }
        td_run_store_leave();
        free_large_but(0);
        page_heap::TearDown();
        fake_os::limit_mapping(SIZE_MAX);
    }

    static void *allocate_large(size_t segments) {
        bool is_zero;
        return td_large_alloc(segments * TD_SEGMENT_BYTES, 16, &is_zero);
    }

    void free_large_but(size_t left) {
        while (objects_.size() > left) {
            td_large_free(objects_.back(), "free");
            objects_.pop_back();
        }
    }

    // Leaves many descriptors of runs and none of a segment.
    void use_up_segments() {
        free_large_but(2);
        bool was_clean;
        while (struct td_span *span = td_page_heap_alloc(TD_SEGMENT_PAGES / 2, 1, 0, &was_clean)) {
            spans_.push_back(span);
        }
        ASSERT_GE(spans_.size(), 2u);
        ASSERT_GT(td_free_runs_bytes(TD_RUN_DIRTY), 8 * TD_SEGMENT_BYTES) << "it is not memory that is missing";
    }

    // Leaves too few descriptors of runs for an operation.
    void use_up_runs() {
        struct td_segment_run *run = nullptr;
        do {
            bool is_clean;
            if (!td_run_store_enter()) {
                return;
            }
            run = td_run_take(1, 1, &is_clean);
            td_run_store_leave();
            if (run != nullptr) {
                run->next = taken_;
                taken_ = run;
            }
        } while (run != nullptr);
    }

    std::vector<void *> objects_;
    struct td_segment_run *taken_ = nullptr;
};

TEST_F(page_heap_without_descriptors, a_segment_that_has_room_is_enough) {
    use_up_segments();
    give_back(0);
    EXPECT_NE(take(TD_SEGMENT_PAGES / 2), nullptr);
}

TEST_F(page_heap_without_descriptors, runs_do_not_wait_for_one_of_a_segment) {
    use_up_segments();
    objects_.push_back(allocate_large(4));
    ASSERT_NE(objects_.back(), nullptr);
    EXPECT_EQ(td_large_resize(objects_[0], 2 * TD_SEGMENT_BYTES), objects_[0]);
    EXPECT_GE(td_backend_purge(3 * TD_SEGMENT_BYTES), 3 * TD_SEGMENT_BYTES);
}

TEST_F(page_heap_without_descriptors, objects_shrink_where_nothing_can_be_cut_off) {
    use_up_runs();
    for (void *object : objects_) {
        EXPECT_EQ(td_large_resize(object, 2 * TD_SEGMENT_BYTES), object);
        EXPECT_EQ(td_large_usable_bytes(object, "free"), 2 * TD_SEGMENT_BYTES);
    }
    EXPECT_EQ(td_backend_used_bytes, objects_.size() * 2 * TD_SEGMENT_BYTES);
}

TEST_F(page_heap_without_descriptors, an_object_is_refused_where_nothing_can_be_unmapped_either) {
    free_large_but(62);
    fake_os::fail_unmaps(true);
    use_up_runs();
    ASSERT_GE(td_free_runs_bytes(TD_RUN_DIRTY) + td_free_runs_bytes(TD_RUN_CLEAN), TD_SEGMENT_BYTES);
    EXPECT_EQ(allocate_large(1), nullptr);
    fake_os::fail_unmaps(false);
}

TEST_F(page_heap, where_memory_is_out_any_aligned_hole_will_do) {
    constexpr size_t pages = TD_SEGMENT_PAGES / 4;
    // The holes of all segments are as long, and one alone is aligned: not that of the segment that is looked at first.
    for (size_t shift : {size_t{0}, pages / 2, pages / 2}) {
        size_t rest = TD_SEGMENT_PAGES - pages - shift;
        take(TD_SEGMENT_PAGES - 1);
        give_back(spans_.size() - 1);
        if (shift != 0) {
            take(shift);
        }
        take(pages);
        take(rest);
    }
    for (size_t i = spans_.size(); i-- > 0;) {
        if (spans_[i]->pages == pages) {
            give_back(i);
        }
    }
    while (td_run_store_unmap_one()) {
        // Else there would be memory.
    }
    fake_os::limit_mapping(0);
    struct td_span *span = take(pages, pages);
    fake_os::limit_mapping(SIZE_MAX);
    ASSERT_NE(span, nullptr);
    EXPECT_NE(take(pages, pages), nullptr) << "and then there is memory again";
}

TEST_F(page_heap, only_a_large_heap_is_given_hugepages) {
    while (td_run_store_unmap_one()) {
        // A place for hugepages stays one: begin with fresh memory.
    }
    while (td_backend_used_bytes < TD_HUGE_HEAP_BYTES) {
        take(TD_SEGMENT_PAGES / 2);
        ASSERT_FALSE(fake_os::wants_hugepages(spans_.back()->start)) << td_backend_used_bytes;
    }
    take(TD_SEGMENT_PAGES / 2);
    take(TD_SEGMENT_PAGES / 2);
    EXPECT_TRUE(fake_os::wants_hugepages(spans_.back()->start));
    EXPECT_TRUE(td_page_heap_segment_of(spans_.back()->start)->run.is_huge);
}

TEST_F(page_heap, room_that_another_thread_makes_meanwhile_leaves_no_segment_empty) {
    while (td_run_store_unmap_one()) {
        // Begin with fresh memory, which is advised.
    }
    while (td_backend_used_bytes < TD_HUGE_HEAP_BYTES) {
        take(TD_SEGMENT_PAGES / 2);
    }
    size_t segments_before = count_segments();
    bool made_room = false;
    fake_os::while_advising([this, &made_room] {
        give_back(0);
        made_room = true;
    });
    take(TD_SEGMENT_PAGES / 2);
    EXPECT_TRUE(made_room);
    EXPECT_EQ(count_segments(), segments_before);
}

TEST_F(page_heap, hugepages_never_means_never) {
    td_backend_set_hugepages(TD_HUGEPAGES_NEVER);
    size_t advised_before = 0, advised_after = 0;
    for (const fake_os::range &each : fake_os::mapped()) {
        advised_before += fake_os::wants_hugepages(each.begin);
    }
    while (td_backend_used_bytes < 2 * TD_HUGE_HEAP_BYTES) {
        take(TD_SEGMENT_PAGES / 2);
    }
    for (const fake_os::range &each : fake_os::mapped()) {
        advised_after += fake_os::wants_hugepages(each.begin);
    }
    EXPECT_EQ(advised_after, advised_before);
    td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
}

}  // namespace
