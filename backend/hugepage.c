#include "backend/hugepage.h"

#include "backend/os.h"
#include "backend/run_store.h"
#include "base/atomic.h"
#include "base/lock.h"

static struct td_lock lock;
static uint64_t reuse_tick;     // guarded by td_backend_lock
static size_t reused_bytes;     // guarded by td_backend_lock; in that tick, since the kernel last refused
static uint64_t rebuilt_count;  // statistic

void td_hugepage_enter(void) {
    td_lock_acquire(&lock, TD_RANK_HUGEPAGE);
}

void td_hugepage_leave(void) {
    td_lock_release(&lock, TD_RANK_HUGEPAGE);
}

bool td_hugepage_split_locked(struct td_segment *segment) {
    bool was_huge = segment->run.is_huge;
    td_segment_set_huge(segment, false);
    segment->is_split = segment->is_split || was_huge;
    return was_huge;
}

void td_hugepage_decline(const struct td_segment *segment) {
    td_os_advise_hugepages((void *)segment->run.base, TD_SEGMENT_BYTES, false);
}

bool td_hugepage_note_reuse_locked(const struct td_segment *segment, size_t bytes) {
    if (!segment->is_split)
        return false;
    uint64_t tick = td_os_clock_ms() / TD_TICK_MS;
    reused_bytes = tick == reuse_tick ? reused_bytes + bytes : bytes;
    reuse_tick = tick;
    return reused_bytes >= TD_REUSED_BYTES_MIN;
}

// Whether the segment is split still. It counts as such no more: one that the kernel refuses is not tried again.
static bool take_split(struct td_segment *segment) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    bool was_split = segment->is_split;
    segment->is_split = false;
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return was_split;
}

static void note_outcome(struct td_segment *segment, bool is_whole) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    td_segment_set_huge(segment, is_whole);
    if (is_whole) {
        td_segment_set_dirty(segment);
        td_store_relaxed(&segment->rebuilds, (uint8_t)((segment->rebuilds + 1) % TD_REBUILDS));
    } else {
        reused_bytes = 0;
    }
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    td_add_relaxed(&rebuilt_count, is_whole);
}

void td_hugepage_make_whole(struct td_segment *segment) {
    // Not only tried: who went on would touch the pages, and of pages that were just touched the kernel makes none.
    td_hugepage_enter();
    if (take_split(segment))
        note_outcome(segment, td_os_collapse((void *)segment->run.base, TD_SEGMENT_BYTES) == 0);
    td_hugepage_leave();
}

uint64_t td_hugepage_rebuilt_count(void) {
    return td_load_relaxed(&rebuilt_count);
}
