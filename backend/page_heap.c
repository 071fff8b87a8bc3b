#include "backend/page_heap.h"

#include <errno.h>

#include "backend/early_segments.h"
#include "backend/free_runs.h"
#include "backend/hugepage.h"
#include "backend/os.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/minmax.h"

// Segments by the length of their longest free run, 0 to TD_SEGMENT_PAGES.
static struct td_segment_run *lists[TD_SEGMENT_PAGES + 1];   // guarded by td_backend_lock
static uint64_t nonempty[(TD_SEGMENT_PAGES + 1 + 63) / 64];  // guarded by td_backend_lock; a bit per list

size_t td_backend_used_bytes;
size_t td_backend_used_peak_bytes;
size_t td_backend_small_span_bytes;

void td_backend_note_used(size_t bytes) {
    td_backend_used_bytes += bytes;
    td_backend_used_peak_bytes = td_max(td_backend_used_peak_bytes, td_backend_used_bytes);
}

void td_backend_note_unused(size_t bytes) {
    td_backend_used_bytes -= bytes;
}

// Large spans have class 0.
static void note_small_span(size_t class_index, int64_t bytes) {
    if (class_index != 0)
        td_store_relaxed(&td_backend_small_span_bytes, td_backend_small_span_bytes + (size_t)bytes);
}

static void link_segment(struct td_segment *segment) {
    size_t list = segment->longest_free;
    struct td_segment_run *run = &segment->run;
    segment->list = (uint16_t)list;
    run->prev = NULL;
    run->next = lists[list];
    if (run->next != NULL)
        run->next->prev = run;
    lists[list] = run;
    nonempty[list / 64] |= (uint64_t)1 << (list % 64);
}

static void unlink_segment(struct td_segment *segment) {
    struct td_segment_run *run = &segment->run;
    size_t list = segment->list;
    if (run->prev != NULL)
        run->prev->next = run->next;
    else
        lists[list] = run->next;
    if (run->next != NULL)
        run->next->prev = run->prev;
    if (lists[list] == NULL)
        nonempty[list / 64] &= ~((uint64_t)1 << (list % 64));
}

// The first list from `list` on that is not empty; beyond the last if there is none.
static size_t next_list(size_t list) {
    while (list <= TD_SEGMENT_PAGES) {
        uint64_t word = nonempty[list / 64] >> (list % 64);
        if (word != 0)
            return list + (size_t)__builtin_ctzll(word);
        list = (list / 64 + 1) * 64;
    }
    return list;
}

void td_page_heap_relink(struct td_segment *segment) {
    unlink_segment(segment);
    if (segment->used_pages != 0 || segment->is_pinned) {
        link_segment(segment);
        return;
    }
    td_early_segments_remove_locked(segment);
    enum td_run_state state = segment->dirty_free != 0 ? TD_RUN_DIRTY : TD_RUN_CLEAN;
    td_run_put(td_run_from_segment(segment), state, td_os_clock_ms());
}

// From the first segment of each list; with `looks_at_all`, from any.
static struct td_span *take_span_locked(size_t pages, size_t align_pages, bool looks_at_all, bool *was_clean) {
    for (size_t list = next_list(pages); list <= TD_SEGMENT_PAGES; list = next_list(list + 1)) {
        struct td_segment_run *run = lists[list];
        do {
            struct td_segment *segment = td_segment_of_run(run);
            struct td_span *span = td_segment_take_span(segment, pages, align_pages, was_clean);
            if (span != NULL) {
                unlink_segment(segment);
                link_segment(segment);
                return span;
            }
            run = run->next;  // long enough, but not where it would be aligned
        } while (looks_at_all && run != NULL);
    }
    return NULL;
}

bool td_page_heap_wants_hugepages(void) {
    enum td_hugepages policy = td_run_store_hugepages();
    return policy == TD_HUGEPAGES_ALWAYS ||
           (policy == TD_HUGEPAGES_AUTO && td_backend_used_bytes >= TD_HUGE_HEAP_BYTES);
}

// Adds an empty segment to the lists, or brings memory for one: then try again. Called with descriptors for it at hand.
// The lock is held, and given up before memory is brought, never after a segment is added: who has another's span to
// take then would leave it empty. False if there is no memory.
static bool add_segment_locked(void) {
    bool is_clean;
    struct td_segment_run *run = td_run_take(1, 1, &is_clean);
    if (run == NULL) {
        td_run_store_leave();
        bool is_provided = td_run_store_provide(1);
        return td_run_store_enter_anyway_for_segment() && is_provided;
    }
    if (is_clean && !td_page_map_is_place(run->base) && td_page_heap_wants_hugepages()) {
        run->is_huge = true;  // under the lock: whoever puts a run beside it looks
        td_page_map_set_place(run->base, 1, true);
        td_run_store_leave();
        td_os_advise_hugepages((void *)run->base, TD_SEGMENT_BYTES, true);
        bool has_descriptors = td_run_store_enter_anyway_for_segment();
        td_run_put(run, TD_RUN_CLEAN, 0);
        return has_descriptors;
    }
    struct td_segment *segment = td_run_to_segment(run, is_clean);
    if (!segment->run.is_huge && !td_page_heap_wants_hugepages())
        td_early_segments_add_locked(segment);
    link_segment(segment);
    return true;
}

struct td_span *td_page_heap_alloc(size_t pages, size_t align_pages, size_t class_index, bool *was_clean) {
    // A segment that has room needs no descriptor, and there may be no memory for one.
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    struct td_span *span = take_span_locked(pages, align_pages, false, was_clean);
    if (td_unlikely(span == NULL)) {
        td_run_store_leave();
        bool has_memory = td_run_store_enter_anyway_for_segment();
        while (has_memory && (span = take_span_locked(pages, align_pages, false, was_clean)) == NULL)
            has_memory = add_segment_locked();
        if (!has_memory)
            span = take_span_locked(pages, align_pages, true, was_clean);
    }
    bool is_missed = false;
    if (td_likely(span != NULL)) {
        span->class_index = (uint8_t)class_index;
        span->state = class_index != 0 ? TD_SPAN_SMALL : TD_SPAN_LARGE;
        td_backend_note_used(pages * TD_PAGE_BYTES);
        note_small_span(class_index, (int64_t)(pages * TD_PAGE_BYTES));
        is_missed = *was_clean && td_hugepage_note_reuse_locked(td_segment_of_span(span), pages * TD_PAGE_BYTES);
    }
    td_run_store_leave();
    if (td_unlikely(is_missed))
        td_hugepage_make_whole(td_segment_of_span(span));
    if (span == NULL)
        errno = ENOMEM;
    else if (class_index != 0)
        td_page_map_set_class(span->start, pages, class_index);
    return span;
}

struct td_segment *td_page_heap_segment_of(uintptr_t address) {
    return td_segment_of_run(td_page_map_run((void *)address));
}

void td_page_heap_free_locked(struct td_span *span) {
    struct td_segment *segment = td_segment_of_span(span);
    td_backend_note_unused(span->pages * TD_PAGE_BYTES);
    note_small_span(span->class_index, -(int64_t)(span->pages * TD_PAGE_BYTES));
    td_segment_return_span(segment, span);
    td_page_heap_relink(segment);
}

void td_page_heap_free(struct td_span *span) {
    if (span->class_index != 0)
        td_page_map_set_class(span->start, span->pages, 0);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    td_page_heap_free_locked(span);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}

bool td_page_heap_resize(struct td_span *span, size_t pages) {
    struct td_segment *segment = td_segment_of_span(span);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    size_t old_pages = span->pages;
    bool is_done = td_segment_resize_span(segment, span, pages);
    if (is_done) {
        td_backend_note_unused(old_pages * TD_PAGE_BYTES);
        td_backend_note_used(pages * TD_PAGE_BYTES);
        td_page_heap_relink(segment);
    }
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return is_done;
}

void td_page_heap_each(void (*visit)(struct td_segment *segment, void *argument), void *argument) {
    for (size_t list = 0; list <= TD_SEGMENT_PAGES; list++)
        for (struct td_segment_run *run = lists[list]; run != NULL; run = run->next)
            visit(td_segment_of_run(run), argument);
}
