// The decay: memory that stayed free through a whole window of `decay_ms` goes back at its end, a part at each tick.
// What is asked for again within the time costs no page fault, whether a peak comes again or the same needs meet other
// holes. Whole runs go first, oldest first, then free pages of the segments that have most of them; a hugepage is split
// only when most of it is free. The dirty tail of a large object goes when it is that old.
#include "backend/purge.h"

#include "backend/backend.h"
#include "backend/early_segments.h"
#include "backend/free_runs.h"
#include "backend/hugepage.h"
#include "backend/large_tail.h"
#include "backend/os.h"
#include "backend/page_heap.h"
#include "backend/purgeable.h"
#include "backend/run_store.h"
#include "base/atomic.h"
#include "base/minmax.h"

// Large objects whose tails go back at one tick, at most: system calls that one allocation waits for.
#define TAILS_PER_TICK 64

// Calls that the system may refuse at one tick, of runs and of segments, as it does all of them after mlockall.
#define REFUSALS_PER_TICK 64
// Of a run that is locked in part so many segments are asked for at one tick, and others at the next.
#define SEGMENTS_PER_TURN (REFUSALS_PER_TICK / 2)

// One purge of free memory.
struct purge {
    uint64_t number;
    size_t bytes;     // to go back
    size_t purged;    // that went
    size_t refusals;  // that may still come, of runs or of segments
    bool is_on_demand;
};

static uint64_t decay_ms = TD_DECAY_MS_DEFAULT;  // atomic, any thread
static uint64_t window_start_ms;                 // guarded by td_backend_lock
static size_t window_least;                      // guarded by td_backend_lock; purgeable at the window's ticks so far
static size_t surplus;                           // guarded by td_backend_lock; bytes that are still to go back
static size_t surplus_step;                      // guarded by td_backend_lock; how many at a tick
static uint64_t purge_count;                     // guarded by td_backend_lock
static uint64_t look_count = 1;                  // guarded by td_backend_lock; when hugepages are looked at again
static size_t purged_bytes;                      // statistic

void td_backend_set_decay_ms(uint64_t ms) {
    td_store_relaxed(&decay_ms, ms);
}

uint64_t td_backend_decay_ms(void) {
    return td_load_relaxed(&decay_ms);
}

size_t td_purge_total_bytes(void) {
    return td_load_relaxed(&purged_bytes);
}

size_t td_purge_purgeable_bytes(void) {
    return td_purgeable_pages * TD_PAGE_BYTES + td_free_runs_bytes(TD_RUN_DIRTY);
}

static bool purge_segments(const struct td_segment_run *run, size_t first, size_t segments) {
    return td_os_purge((void *)(run->base + first * TD_SEGMENT_BYTES), segments * TD_SEGMENT_BYTES) == 0;
}

// Puts the segments of a held run from `first` on into the store, and the run itself if that is 0. Returns the bytes
// that are clean now. Without a descriptor for the part it stays with the run.
static size_t put_back(struct td_segment_run *run, size_t first, bool is_clean) {
    size_t segments = run->segments - first;
    enum td_run_state state = is_clean ? TD_RUN_CLEAN : TD_RUN_DIRTY;
    td_run_store_enter_anyway();
    if (first == 0)
        td_run_put(run, state, td_os_clock_ms());
    else
        td_run_trim(run, first, state, td_os_clock_ms());
    bool is_done = first == 0 || run->segments == first;
    td_run_store_leave();
    return is_done && is_clean ? segments * TD_SEGMENT_BYTES : 0;
}

static bool is_in_turn(const struct purge *purge, size_t segments, size_t at) {
    size_t turns = (segments - 1) / SEGMENTS_PER_TURN + 1;
    return purge->is_on_demand || at / SEGMENTS_PER_TURN == purge->number % turns;
}

// Gives up to `bytes` of a held run back segment by segment, from its end on, and puts all of it into the store: as
// clean what went, as dirty the rest. Returns how many went.
static size_t purge_by_segment(struct purge *purge, struct td_segment_run *run, size_t bytes) {
    size_t purged = 0, gone = 0, segments = run->segments;
    bool tail_is_clean = false;
    for (size_t at = segments; at-- != 0;) {
        bool is_tried = gone < bytes && purge->refusals != 0 && is_in_turn(purge, segments, at);
        bool is_clean = is_tried && purge_segments(run, at, 1);
        gone += is_clean ? TD_SEGMENT_BYTES : 0;
        purge->refusals -= is_tried && !is_clean;
        if (at + 1 < run->segments && is_clean != tail_is_clean) {
            purged += put_back(run, at + 1, tail_is_clean);
            if (run->segments != at + 1)
                return purged + put_back(run, 0, false);
        }
        tail_is_clean = is_clean;
    }
    return purged + put_back(run, 0, tail_is_clean);
}

// Gives the oldest dirty run back that this purge did not fail with, but for the part of it beyond what is to go. False
// if there is no such run.
static bool purge_run(struct purge *purge) {
    size_t bytes = purge->bytes - purge->purged;
    td_run_store_enter_anyway();
    struct td_segment_run *run = td_run_take_oldest_dirty(purge->number, (bytes - 1) / TD_SEGMENT_BYTES + 1);
    td_run_store_leave();
    if (run == NULL)
        return false;
    if (purge_segments(run, 0, run->segments)) {
        purge->purged += put_back(run, 0, true);
        return true;
    }
    // A part of it is locked. What lies behind must have its turn too: it is one run with that part again afterwards.
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    run->failed_purge = purge->number;
    td_run_extend_over_dirty(run);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    purge->refusals--;
    purge->purged += purge_by_segment(purge, run, bytes);
    return true;
}

// Takes the next range of the segment's free dirty pages that is made of whole OS pages, from `*page` on.
static bool hold_range(struct td_segment *segment, size_t *page, size_t *pages) {
    size_t os_page = td_os_page_bytes();
    size_t granule = os_page > TD_PAGE_BYTES ? os_page / TD_PAGE_BYTES : 1;
    while (td_segment_next_dirty_range(segment, page, pages)) {
        size_t behind = *page + *pages;
        size_t end = behind & ~(granule - 1);
        *page = td_round_up(*page, granule);
        if (*page < end) {
            *pages = end - *page;
            td_segment_hold_pages(segment, *page, *pages);
            td_page_heap_relink(segment);
            return true;
        }
        *page = behind;
    }
    return false;
}

// Gives a held range of a segment's pages back; a hugepage is split only by what the system takes. The lock is held,
// and given up meanwhile.
static bool purge_range_locked(struct td_segment *segment, size_t page, size_t pages) {
    bool was_huge = segment->run.is_huge;
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    void *memory = (void *)(segment->run.base + page * TD_PAGE_BYTES);
    bool is_clean = td_os_purge(memory, pages * TD_PAGE_BYTES) == 0;
    if (is_clean && was_huge)
        td_hugepage_decline(segment);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    if (is_clean)
        td_hugepage_split_locked(segment);
    td_segment_release_pages(segment, page, pages, is_clean);
    return is_clean;
}

// Gives all free dirty pages of the next segment back. False if each has had its turn, which ends the round.
static bool purge_next_segment(struct purge *purge) {
    size_t page = 0, pages = 0;
    td_hugepage_enter();
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    struct td_segment *segment = td_purgeable_take();
    if (segment == NULL)
        td_purgeable_begin_round();
    // Locked memory, and less than a page of the system's, stay dirty.
    while (segment != NULL && purge->refusals != 0 && hold_range(segment, &page, &pages)) {
        bool is_clean = purge_range_locked(segment, page, pages);
        purge->purged += is_clean ? pages * TD_PAGE_BYTES : 0;
        purge->refusals -= !is_clean;
        // It may be dirty again before the round ends. (On demand each has one turn: the purge must come to an end
        // while others free.)
        if (segment->dirty_free == 0 && !purge->is_on_demand)
            td_purgeable_forget_turn(segment);
        bool is_last = segment->used_pages == 0;
        td_page_heap_relink(segment);
        if (is_last)
            break;
        page += pages;
    }
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    td_hugepage_leave();
    return segment != NULL;
}

// Gives `bytes` of free memory back, or more, unless so many calls are refused. What was refused is the last to be
// tried again.
static size_t purge_free(size_t bytes, bool is_on_demand) {
    size_t refusals = is_on_demand ? SIZE_MAX : REFUSALS_PER_TICK;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    struct purge purge = {.number = ++purge_count, .bytes = bytes, .refusals = refusals, .is_on_demand = is_on_demand};
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    while (purge.purged < bytes && purge.refusals != 0 && purge_run(&purge)) {
        // The next one.
    }
    purge.refusals = refusals;
    while (purge.purged < bytes && purge.refusals != 0 && purge_next_segment(&purge)) {
        // The next ones.
    }
    td_add_relaxed(&purged_bytes, purge.purged);
    return purge.purged;
}

// Gives tails back that are dirty since `until_ms` at least, until that are `bytes`, but `max` tails at most. Each is
// tried once: those that are refused go to the list's end.
static size_t purge_tails(uint64_t until_ms, size_t bytes, size_t max) {
    size_t total = 0;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    size_t left = td_min(td_large_tail_count(), max);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    while (left > 0 && total < bytes && td_large_tail_purge(until_ms, &total))
        left--;
    td_add_relaxed(&purged_bytes, total);
    return total;
}

size_t td_backend_purge(size_t bytes) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    td_purgeable_begin_round();
    look_count++;
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    size_t total = purge_free(bytes, true);
    if (total < bytes)
        total += purge_tails(UINT64_MAX, bytes - total, SIZE_MAX);
    if (bytes == SIZE_MAX)
        td_run_store_join_clean();
    return total;
}

// Whether pages of a span in use may go back: not where that splits a hugepage of which much is in use. All its spans
// ask; the answer is kept until a span is freed, a window ends, or memory is given back on demand.
static bool may_split(struct td_segment *segment) {
    if (!td_load_relaxed(&segment->run.is_huge))
        return true;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    bool may =
        segment->whole_since != look_count && td_segment_used_bytes(segment) <= TD_HUGE_USED_MAX_PAGES * TD_PAGE_BYTES;
    segment->whole_since = may ? 0 : look_count;
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return may;
}

// Pages of it have gone.
static void split(struct td_segment *segment) {
    if (!td_load_relaxed(&segment->run.is_huge))
        return;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    bool was_huge = td_hugepage_split_locked(segment);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    if (was_huge)
        td_hugepage_decline(segment);
}

size_t td_backend_purge_pages(uintptr_t address, size_t bytes) {
    struct td_segment *segment = td_page_heap_segment_of(address);
    td_hugepage_enter();
    bool is_done = may_split(segment) && td_os_purge((void *)address, bytes) == 0;
    if (is_done)
        split(segment);
    td_hugepage_leave();
    if (!is_done)
        return 0;
    td_add_relaxed(&purged_bytes, bytes);
    return bytes;
}

// A window ends: finds what stayed free all the time, at the ticks and at the peak between them.
static void begin_window_locked(uint64_t now_ms, size_t purgeable) {
    size_t needed_at_peak = td_backend_used_peak_bytes - td_backend_used_bytes;
    surplus = td_min(window_least, purgeable > needed_at_peak ? purgeable - needed_at_peak : 0);
    // Giving gigabytes back takes as long as thousands of allocations: not all within one of them.
    uint64_t ticks = td_load_relaxed(&decay_ms) / (8 * TD_TICK_MS);
    surplus_step = surplus / (ticks != 0 ? ticks : 1) + 1;
    window_start_ms = now_ms;
    window_least = purgeable;
    td_backend_used_peak_bytes = td_backend_used_bytes;
    look_count++;
}

// What is to go back at this tick.
static size_t take_step_locked(uint64_t now_ms) {
    size_t purgeable = td_purge_purgeable_bytes();
    window_least = td_min(window_least, purgeable);
    surplus = td_min(surplus, purgeable);
    // Another thread that read the clock later may have been here before.
    uint64_t elapsed_ms = now_ms > window_start_ms ? now_ms - window_start_ms : 0;
    if (elapsed_ms >= td_load_relaxed(&decay_ms))
        begin_window_locked(now_ms, purgeable);
    size_t step = td_min(surplus, surplus_step);
    surplus -= step;
    return step;
}

void td_backend_maintain(uint64_t now_ms) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    size_t step = take_step_locked(now_ms);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    td_early_segments_maintain();
    uint64_t decay = td_load_relaxed(&decay_ms);
    if (now_ms >= decay)
        purge_tails(now_ms - decay, SIZE_MAX, TAILS_PER_TICK);
    if (step == 0)
        return;
    // Segments of runs go whole.
    size_t done = purge_free(step, false);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    surplus -= td_min(surplus, done > step ? done - step : 0);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}
