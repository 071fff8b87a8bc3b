#include "backend/large_tail.h"

#include "backend/free_runs.h"
#include "backend/os.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
#include "base/fatal.h"
#include "base/minmax.h"

static struct td_segment_run *oldest;  // guarded by td_backend_lock; linked by `next`
static struct td_segment_run *newest;  // guarded by td_backend_lock
static size_t count;                   // guarded by td_backend_lock

// Whether the kernel may have a hugepage where the object ends.
static bool ends_in_place(const struct td_segment_run *run) {
    return run->is_huge && td_page_map_is_place(td_run_end(run) - TD_SEGMENT_BYTES);
}

// Where the tail's whole OS pages begin.
static uintptr_t start_of(const struct td_segment_run *run) {
    return td_round_up(run->base + run->bytes, td_os_page_bytes());
}

void td_large_tail_list(struct td_segment_run *run) {
    td_assert(run->state == TD_RUN_LARGE && run->tail != TD_TAIL_LISTED);
    size_t min_bytes = ends_in_place(run) ? TD_HUGE_TAIL_MIN_BYTES : TD_TAIL_MIN_BYTES;
    size_t bytes = run->segments * TD_SEGMENT_BYTES - run->bytes;
    if (run->tail != TD_TAIL_DIRTY || bytes < min_bytes)
        return;
    run->tail = TD_TAIL_LISTED;
    run->freed_ms = td_os_clock_ms();
    run->next = NULL;
    run->prev = newest;
    if (newest != NULL)
        newest->next = run;
    else
        oldest = run;
    newest = run;
    count++;
}

bool td_large_tail_unlist(struct td_segment_run *run) {
    if (run->tail != TD_TAIL_LISTED)
        return run->tail != TD_TAIL_HELD;
    run->tail = TD_TAIL_DIRTY;
    if (run->prev != NULL)
        run->prev->next = run->next;
    else
        oldest = run->next;
    if (run->next != NULL)
        run->next->prev = run->prev;
    else
        newest = run->prev;
    count--;
    return true;
}

size_t td_large_tail_count(void) {
    return count;
}

// As held, so that the object does not grow into it.
static struct td_segment_run *hold_oldest_locked(uint64_t until_ms) {
    struct td_segment_run *run = oldest;
    if (run == NULL || run->freed_ms > until_ms)
        return NULL;
    td_large_tail_unlist(run);
    run->tail = TD_TAIL_HELD;
    return run;
}

// The segments around the end of the object, and behind it where there was no descriptor to cut them off.
static uintptr_t last_segments_of(const struct td_segment_run *run) {
    return start_of(run) & -TD_SEGMENT_BYTES;
}

// They are no place for hugepages any more, else the kernel would fill them again. New objects do not ask for them
// there either.
static void set_no_place_locked(struct td_segment_run *run) {
    uintptr_t start = last_segments_of(run);
    td_page_map_set_place(start, (td_run_end(run) - start) >> TD_SEGMENT_SHIFT, false);
    run->is_huge = start != run->base;
}

static void decline_hugepages(const struct td_segment_run *run) {
    uintptr_t start = last_segments_of(run);
    td_os_advise_hugepages((void *)start, td_run_end(run) - start, false);
}

static void release(struct td_segment_run *run, bool is_clean, bool was_place) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    if (is_clean && was_place)
        set_no_place_locked(run);
    run->tail = is_clean ? TD_TAIL_CLEAN : TD_TAIL_DIRTY;
    if (run->state == TD_RUN_LARGE)
        td_large_tail_list(run);
    else
        td_run_put(run, TD_RUN_DIRTY, td_os_clock_ms());  // the object was freed meanwhile
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}

bool td_large_tail_purge(uint64_t until_ms, size_t *purged) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    struct td_segment_run *run = hold_oldest_locked(until_ms);
    bool was_place = run != NULL && ends_in_place(run);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    if (run == NULL)
        return false;
    uintptr_t start = start_of(run);
    size_t bytes = td_run_end(run) - start;
    bool is_clean = td_os_purge((void *)start, bytes) == 0;
    if (is_clean && was_place)
        decline_hugepages(run);
    *purged += is_clean ? bytes : 0;
    release(run, is_clean, was_place);
    return true;
}
