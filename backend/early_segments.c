#include "backend/early_segments.h"

#include "backend/hugepage.h"
#include "backend/page_heap.h"
#include "backend/run_store.h"
#include "base/atomic.h"

// Twice what a heap takes up when it counts as large. Further ones stay as they are.
#define EARLY_MAX (2 * TD_HUGE_HEAP_BYTES / TD_SEGMENT_BYTES)
// Pages that small objects are to take up in a segment, for a hugepage is resident as a whole.
#define USED_MIN (TD_SEGMENT_PAGES / 8 * 7)

static struct td_segment *early[EARLY_MAX];  // guarded by td_backend_lock
static size_t early_count;                   // guarded by td_backend_lock
static bool was_forked;                      // atomic, any thread: those in the table may be a child's as well

static void forget_shared_locked(void) {
    if (td_unlikely(td_load_relaxed(&was_forked))) {
        td_store_relaxed(&was_forked, false);
        early_count = 0;
    }
}

void td_early_segments_add_locked(struct td_segment *segment) {
    forget_shared_locked();
    if (early_count < EARLY_MAX)
        early[early_count++] = segment;
}

void td_early_segments_remove_locked(struct td_segment *segment) {
    for (size_t i = 0; i < early_count; i++) {
        if (early[i] == segment) {
            early[i] = early[--early_count];
            return;
        }
    }
}

// Large objects may never be filled. What is cheap to find out comes first: it is asked at each tick.
static bool is_full(const struct td_segment *segment) {
    return segment->used_pages >= USED_MIN &&
           td_segment_used_bytes(segment) >= USED_MIN * TD_PAGE_BYTES + td_segment_large_bytes(segment);
}

// One that is to be a hugepage, pinned, and early no more; NULL if there is none, or the heap is small.
static struct td_segment *take_locked(void) {
    forget_shared_locked();
    if (early_count == 0 || !td_page_heap_wants_hugepages())
        return NULL;
    for (size_t i = 0; i < early_count; i++) {
        struct td_segment *segment = early[i];
        if (is_full(segment)) {
            td_early_segments_remove_locked(segment);
            segment->is_split = true;
            segment->is_pinned = true;
            return segment;
        }
    }
    return NULL;
}

void td_early_segments_maintain(void) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    struct td_segment *segment = take_locked();
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    if (segment == NULL)
        return;
    td_hugepage_make_whole(segment);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    segment->is_pinned = false;
    td_page_heap_relink(segment);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}

void td_early_segments_note_fork(void) {
    td_store_relaxed(&was_forked, true);
}
