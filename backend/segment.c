#include "backend/segment.h"

#include <string.h>

#include "backend/purgeable.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/minmax.h"
#include "base/size_class.h"

// The first page from `page` on whose bit, after `flip`, is set; TD_SEGMENT_PAGES if none is.
static size_t next_bit(const uint64_t *words, uint64_t flip, size_t page) {
    while (page < TD_SEGMENT_PAGES) {
        uint64_t word = (words[page / 64] ^ flip) >> (page % 64);
        if (word != 0)
            return page + (size_t)__builtin_ctzll(word);
        page = (page / 64 + 1) * 64;
    }
    return TD_SEGMENT_PAGES;
}

static size_t next_set(const uint64_t *words, size_t page) {
    return next_bit(words, 0, page);
}

static size_t next_clear(const uint64_t *words, size_t page) {
    return next_bit(words, ~(uint64_t)0, page);
}

// The bits of word `word` that lie in [page, page + pages).
static uint64_t mask_in_word(size_t word, size_t page, size_t pages) {
    size_t low = page > word * 64 ? page - word * 64 : 0;
    size_t end = page + pages - word * 64;
    uint64_t below_end = end >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << end) - 1;
    return below_end & (~(uint64_t)0 << low);
}

static void set_range(uint64_t *words, size_t page, size_t pages) {
    for (size_t word = page / 64; word * 64 < page + pages; word++)
        words[word] |= mask_in_word(word, page, pages);
}

static void clear_range(uint64_t *words, size_t page, size_t pages) {
    for (size_t word = page / 64; word * 64 < page + pages; word++)
        words[word] &= ~mask_in_word(word, page, pages);
}

static size_t count_range(const uint64_t *words, size_t page, size_t pages) {
    size_t count = 0;
    for (size_t word = page / 64; word * 64 < page + pages; word++)
        count += (size_t)__builtin_popcountll(words[word] & mask_in_word(word, page, pages));
    return count;
}

static size_t find_longest_free(const struct td_segment *segment) {
    size_t longest = 0;
    for (size_t page = next_clear(segment->used, 0); page < TD_SEGMENT_PAGES;) {
        size_t end = next_set(segment->used, page);
        longest = td_max(longest, end - page);
        page = next_clear(segment->used, end);
    }
    return longest;
}

static size_t find_free(const struct td_segment *segment, size_t pages, size_t align_pages) {
    for (size_t page = next_clear(segment->used, 0); page < TD_SEGMENT_PAGES;) {
        size_t aligned = td_round_up(page, align_pages);
        size_t end = next_set(segment->used, page);
        if (aligned + pages <= end)
            return aligned;
        page = next_clear(segment->used, end);
    }
    return TD_SEGMENT_PAGES;
}

// Behind each change of what it looks at.
static void count_purgeable(struct td_segment *segment) {
    bool stays = segment->run.is_huge && segment->used_pages > TD_HUGE_USED_MAX_PAGES;
    td_purgeable_set(segment, stays ? 0 : segment->dirty_free);
}

static void set_dirty_free(struct td_segment *segment, size_t pages) {
    segment->dirty_free = (uint16_t)pages;
    count_purgeable(segment);
}

static bool take_pages(struct td_segment *segment, size_t page, size_t pages) {
    size_t dirty = count_range(segment->dirty, page, pages);
    set_range(segment->used, page, pages);
    set_range(segment->dirty, page, pages);
    segment->used_pages = (uint16_t)(segment->used_pages + pages);
    set_dirty_free(segment, segment->dirty_free - dirty);
    segment->longest_free = (uint16_t)find_longest_free(segment);
    return dirty == 0;
}

static void return_pages(struct td_segment *segment, size_t page, size_t pages) {
    clear_range(segment->used, page, pages);
    segment->used_pages = (uint16_t)(segment->used_pages - pages);
    set_dirty_free(segment, segment->dirty_free + pages);
    segment->longest_free = (uint16_t)find_longest_free(segment);
}

static size_t first_page_of(const struct td_segment *segment, const struct td_span *span) {
    return (size_t)(span - segment->spans);
}

void td_segment_init(struct td_segment *segment, uintptr_t base, bool is_dirty) {
    segment->run = (struct td_segment_run){.base = base, .segments = 1, .state = TD_RUN_SPANS};
    segment->used_pages = 0;
    segment->rebuilds = 0;
    segment->is_split = false;
    segment->is_pinned = false;
    segment->turn = 0;
    segment->whole_since = 0;
    segment->longest_free = TD_SEGMENT_PAGES;
    set_dirty_free(segment, is_dirty ? TD_SEGMENT_PAGES : 0);
    memset(segment->used, 0, sizeof segment->used);
    memset(segment->dirty, is_dirty ? 0xff : 0, sizeof segment->dirty);
}

void td_segment_end(struct td_segment *segment) {
    set_dirty_free(segment, 0);
}

struct td_span *td_segment_take_span(struct td_segment *segment, size_t pages, size_t align_pages, bool *was_clean) {
    size_t page = find_free(segment, pages, align_pages);
    if (page == TD_SEGMENT_PAGES)
        return NULL;
    *was_clean = take_pages(segment, page, pages);
    memset(&segment->first_page[page], (int)page, pages);
    struct td_span *span = &segment->spans[page];
    span->start = segment->run.base + page * TD_PAGE_BYTES;
    span->pages = (uint16_t)pages;
    span->free_bits = segment->free_bits[page];
    return span;
}

void td_segment_return_span(struct td_segment *segment, struct td_span *span) {
    return_pages(segment, first_page_of(segment, span), span->pages);
    span->state = TD_SPAN_FREE;
    segment->whole_since = 0;
}

bool td_segment_resize_span(struct td_segment *segment, struct td_span *span, size_t pages) {
    size_t page = first_page_of(segment, span);
    size_t end = page + span->pages;
    if (pages < span->pages) {
        return_pages(segment, page + pages, span->pages - pages);
    } else if (pages > span->pages) {
        if (page + pages > TD_SEGMENT_PAGES || next_set(segment->used, end) < page + pages)
            return false;
        take_pages(segment, end, page + pages - end);
        memset(&segment->first_page[end], (int)page, page + pages - end);
    }
    span->pages = (uint16_t)pages;
    return true;
}

struct td_span *td_segment_span_at(struct td_segment *segment, uintptr_t address) {
    return &segment->spans[segment->first_page[(address >> TD_PAGE_SHIFT) % TD_SEGMENT_PAGES]];
}

bool td_segment_next_dirty_range(const struct td_segment *segment, size_t *page, size_t *pages) {
    uint64_t free_dirty[TD_SEGMENT_WORDS];
    for (size_t word = 0; word < TD_SEGMENT_WORDS; word++)
        free_dirty[word] = segment->dirty[word] & ~segment->used[word];
    *page = next_set(free_dirty, *page);
    *pages = next_clear(free_dirty, *page) - *page;
    return *page < TD_SEGMENT_PAGES;
}

void td_segment_hold_pages(struct td_segment *segment, size_t page, size_t pages) {
    take_pages(segment, page, pages);
}

void td_segment_release_pages(struct td_segment *segment, size_t page, size_t pages, bool are_clean) {
    return_pages(segment, page, pages);
    if (are_clean) {
        clear_range(segment->dirty, page, pages);
        set_dirty_free(segment, segment->dirty_free - pages);
    }
}

// Bytes of the free objects in a span. The bits are the central free list's, and may be those of a span before it.
static size_t free_object_bytes(const struct td_span *span) {
    const struct td_class_info *info = &td_class_info[span->class_index];
    size_t objects = 0;
    for (size_t word = 0; word * 64 < info->span_objects; word++)
        objects += (size_t)__builtin_popcountll(td_load_relaxed(&span->free_bits[word]));
    return td_min(objects, info->span_objects) * info->object_bytes;
}

size_t td_segment_used_bytes(const struct td_segment *segment) {
    size_t bytes = segment->used_pages * TD_PAGE_BYTES;
    for (size_t page = 0; page < TD_SEGMENT_PAGES; page++)
        if (segment->spans[page].state == TD_SPAN_SMALL)
            bytes -= free_object_bytes(&segment->spans[page]);
    return bytes;
}

size_t td_segment_large_bytes(const struct td_segment *segment) {
    size_t bytes = 0;
    for (size_t page = 0; page < TD_SEGMENT_PAGES; page++)
        if (segment->spans[page].state == TD_SPAN_LARGE)
            bytes += segment->spans[page].pages * TD_PAGE_BYTES;
    return bytes;
}

void td_segment_set_huge(struct td_segment *segment, bool is_huge) {
    td_store_relaxed(&segment->run.is_huge, is_huge);
    count_purgeable(segment);
}

void td_segment_set_dirty(struct td_segment *segment) {
    memset(segment->dirty, 0xff, sizeof segment->dirty);
    set_dirty_free(segment, TD_SEGMENT_PAGES - segment->used_pages);
}

void td_segment_check(const struct td_segment *segment) {
    td_assert(segment->run.state == TD_RUN_SPANS);
    td_assert(segment->used_pages == count_range(segment->used, 0, TD_SEGMENT_PAGES));
    td_assert(segment->longest_free == find_longest_free(segment));
    size_t dirty_used = 0;
    for (size_t word = 0; word < TD_SEGMENT_WORDS; word++)
        dirty_used += (size_t)__builtin_popcountll(segment->dirty[word] & segment->used[word]);
    td_assert(segment->dirty_free == count_range(segment->dirty, 0, TD_SEGMENT_PAGES) - dirty_used);
}
