// A segment against a naive model of its pages: random takes, returns, resizes and purges.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "backend/purgeable.h"
#include "backend/segment.h"
}

namespace {

constexpr uintptr_t base = uintptr_t{0x7f0000} << 21;

struct model {
    struct page_state {
        int owner = -1;  // the span that it belongs to, -1 if it is free, -2 if it is held
        bool is_dirty = false;
    };
    page_state pages[TD_SEGMENT_PAGES];

    size_t free_run_at(size_t first) const {
        size_t length = 0;
        while (first + length < TD_SEGMENT_PAGES && pages[first + length].owner == -1) {
            length++;
        }
        return length;
    }

    size_t longest_free() const {
        size_t longest = 0;
        for (size_t page = 0; page < TD_SEGMENT_PAGES; page++) {
            longest = std::max(longest, free_run_at(page));
        }
        return longest;
    }

    // The lowest page at which `count` pages are free and aligned; TD_SEGMENT_PAGES if there is none.
    size_t first_fit(size_t count, size_t align) const {
        size_t page = 0;
        while (page < TD_SEGMENT_PAGES && free_run_at(page) < count) {
            page += align;
        }
        return page < TD_SEGMENT_PAGES ? page : TD_SEGMENT_PAGES;
    }

    size_t used() const {
        size_t count = 0;
        for (const page_state &each : pages) {
            count += each.owner != -1;
        }
        return count;
    }

    size_t dirty_free() const {
        size_t count = 0;
        for (const page_state &each : pages) {
            count += each.owner == -1 && each.is_dirty;
        }
        return count;
    }
};

class segment : public testing::Test {
  protected:
    void TearDown() override {
        td_segment_end(segment_.get());
        EXPECT_EQ(td_purgeable_pages, 0u);
    }

    void start(bool is_dirty) {
        td_segment_init(segment_.get(), base, is_dirty);
        model_ = model();
        spans_.clear();
        for (model::page_state &page : model_.pages) {
            page.is_dirty = is_dirty;
        }
    }

    size_t first_page_of(const struct td_span *span) const { return (span->start - base) / TD_PAGE_BYTES; }

    void take(size_t pages, size_t align) {
        size_t expected = model_.first_fit(pages, align);
        bool was_clean = false;
        struct td_span *span = td_segment_take_span(segment_.get(), pages, align, &was_clean);
        if (expected == TD_SEGMENT_PAGES) {
            ASSERT_EQ(span, nullptr);
            return;
        }
        ASSERT_NE(span, nullptr);
        ASSERT_EQ(first_page_of(span), expected);
        ASSERT_EQ(span->pages, pages);
        bool is_clean = true;
        for (size_t page = expected; page < expected + pages; page++) {
            is_clean = is_clean && !model_.pages[page].is_dirty;
            model_.pages[page] = {static_cast<int>(expected), true};
        }
        ASSERT_EQ(was_clean, is_clean);
        span->state = TD_SPAN_LARGE;
        spans_.push_back(span);
    }

    void give_back(size_t which) {
        struct td_span *span = spans_[which];
        for (size_t page = 0; page < span->pages; page++) {
            model_.pages[first_page_of(span) + page].owner = -1;
        }
        td_segment_return_span(segment_.get(), span);
        ASSERT_EQ(span->state, TD_SPAN_FREE);
        spans_.erase(spans_.begin() + static_cast<std::ptrdiff_t>(which));
    }

    void resize(size_t which, size_t pages) {
        struct td_span *span = spans_[which];
        size_t first = first_page_of(span), before = span->pages;
        bool fits = pages <= before || model_.free_run_at(first + before) >= pages - before;
        ASSERT_EQ(td_segment_resize_span(segment_.get(), span, pages), fits);
        ASSERT_EQ(span->pages, fits ? pages : before);
        for (size_t page = pages; page < before; page++) {
            model_.pages[first + page].owner = -1;
        }
        for (size_t page = before; fits && page < pages; page++) {
            model_.pages[first + page] = {static_cast<int>(first), true};
        }
    }

    // What the purge does, with and without the operating system's consent.
    void purge(size_t from, bool succeeds) {
        size_t page = from, pages = 0;
        size_t expected = from;
        while (expected < TD_SEGMENT_PAGES && !is_dirty_free(expected)) {
            expected++;
        }
        bool is_found = td_segment_next_dirty_range(segment_.get(), &page, &pages);
        ASSERT_EQ(is_found, expected < TD_SEGMENT_PAGES);
        if (!is_found) {
            return;
        }
        ASSERT_EQ(page, expected);
        size_t length = 0;
        while (page + length < TD_SEGMENT_PAGES && is_dirty_free(page + length)) {
            length++;
        }
        ASSERT_EQ(pages, length);
        td_segment_hold_pages(segment_.get(), page, pages);
        set_owners(page, pages, -2);
        check();
        td_segment_release_pages(segment_.get(), page, pages, succeeds);
        set_owners(page, pages, -1);
        for (size_t i = 0; i < pages; i++) {
            model_.pages[page + i].is_dirty = !succeeds;
        }
    }

    void check() {
        td_segment_check(segment_.get());  // says something in debug builds
        ASSERT_EQ(segment_->used_pages, model_.used());
        ASSERT_EQ(segment_->longest_free, model_.longest_free());
        ASSERT_EQ(segment_->dirty_free, model_.dirty_free());
        bool stays = segment_->run.is_huge && model_.used() > TD_SEGMENT_PAGES / 4;
        ASSERT_EQ(td_purgeable_pages, stays ? 0u : model_.dirty_free()) << "there is no other segment";
        for (size_t page = 0; page < TD_SEGMENT_PAGES; page++) {
            const model::page_state &expected = model_.pages[page];
            ASSERT_EQ(segment_->used[page / 64] >> (page % 64) & 1, expected.owner != -1) << page;
            ASSERT_EQ(segment_->dirty[page / 64] >> (page % 64) & 1, expected.is_dirty) << page;
            if (expected.owner < 0) {
                continue;
            }
            uintptr_t last_byte = base + page * TD_PAGE_BYTES + TD_PAGE_BYTES - 1;
            struct td_span *span = td_segment_span_at(segment_.get(), last_byte);
            ASSERT_EQ(first_page_of(span), static_cast<size_t>(expected.owner)) << page;
        }
    }

    std::unique_ptr<struct td_segment> segment_{new struct td_segment()};
    model model_;
    std::vector<struct td_span *> spans_;

  private:
    bool is_dirty_free(size_t page) const { return model_.pages[page].owner == -1 && model_.pages[page].is_dirty; }

    void set_owners(size_t page, size_t pages, int owner) {
        for (size_t i = 0; i < pages; i++) {
            model_.pages[page + i].owner = owner;
            model_.pages[page + i].is_dirty = true;
        }
    }
};

TEST_F(segment, is_one_free_run_at_first) {
    for (bool is_dirty : {false, true}) {
        start(is_dirty);
        check();
        take(TD_SEGMENT_PAGES, 1);
        check();
        take(1, 1);
        give_back(0);
        check();
    }
}

TEST_F(segment, fills_up_page_by_page_and_empties_again) {
    start(false);
    for (size_t page = 0; page < TD_SEGMENT_PAGES; page++) {
        take(1, 1);
        check();
    }
    take(1, 1);
    while (!spans_.empty()) {
        give_back(spans_.size() / 2);
        check();
    }
    EXPECT_EQ(segment_->longest_free, TD_SEGMENT_PAGES);
}

TEST_F(segment, keeps_spans_where_their_alignment_wants_them) {
    for (size_t align = 1; align <= TD_SEGMENT_PAGES; align *= 2) {
        start(false);
        take(3, 1);
        for (size_t i = 0; i < 5; i++) {
            take(align / 2 + 1, align);
        }
        check();
    }
}

TEST_F(segment, its_spans_bitmaps_do_not_overlap) {
    start(false);
    for (size_t pages = 1; model_.longest_free() >= pages; pages++) {
        take(pages, 1);
    }
    for (size_t i = 1; i < spans_.size(); i++) {
        EXPECT_EQ(spans_[i]->free_bits, spans_[i - 1]->free_bits + spans_[i - 1]->pages * TD_PAGE_BITMAP_WORDS);
    }
}

class segment_model : public segment, public testing::WithParamInterface<unsigned> {};

TEST_P(segment_model, agrees) {
    std::mt19937 random(GetParam());
    start(GetParam() % 2 != 0);
    for (int step = 0; step < 3000 && !HasFatalFailure(); step++) {
        size_t length = 1 + random() % (random() % 4 == 0 ? 128 : 12);
        switch (random() % 9) {
        case 0:
        case 1:
        case 2:
            take(length, size_t{1} << random() % 6);
            break;
        case 3:
        case 4:
            if (!spans_.empty()) {
                give_back(random() % spans_.size());
            }
            break;
        case 5:
        case 6:
            if (!spans_.empty()) {
                resize(random() % spans_.size(), length);
            }
            break;
        case 7:
            td_segment_set_huge(segment_.get(), random() % 2 == 0);
            break;
        default:
            purge(random() % TD_SEGMENT_PAGES, random() % 4 != 0);
        }
        check();
    }
}

INSTANTIATE_TEST_SUITE_P(seeds, segment_model, testing::Range(1u, 9u));

}  // namespace
