// The tails of large objects that are runs: what lies behind the object, in the last of its segments.
//
// A tail is dirty where the run served a longer object before, or the object has shrunk. Nobody else can use it, so it
// is given back to the operating system when the purge comes to it: those dirty tails that are long enough are in a
// list, the one that is dirty for longest first. Who frees or resizes the object soon enough pays for no system call.
#ifndef BACKEND_LARGE_TAIL_H_
#define BACKEND_LARGE_TAIL_H_

#include "backend/segment.h"

// Shorter tails stay: they are not worth a system call, or a hugepage that is split.
#define TD_TAIL_MIN_BYTES ((size_t)64 << 10)
#define TD_HUGE_TAIL_MIN_BYTES (TD_SEGMENT_BYTES / 4)

#pragma GCC visibility push(hidden)

// ---- the lock is held

// Puts the run into the list if its tail is dirty and long enough, as dirty since now; it must not be in it.
void td_large_tail_list(struct td_segment_run *run);
// Takes the run off the list, if it is in it, for who is to change the run or its object. False if its tail is on its
// way to the operating system: then neither may change, and a run that is not needed any more is set to state held; the
// purge puts it into the store.
bool td_large_tail_unlist(struct td_segment_run *run);

// Tails in the list.
size_t td_large_tail_count(void);

// ---- without the lock

// Gives the tail back that is dirty for longest, if it is since `until_ms` at least, and adds its bytes to `*purged`.
// What is refused, as locked memory is, counts as dirty since now. False if there is none.
bool td_large_tail_purge(uint64_t until_ms, size_t *purged);

#pragma GCC visibility pop

#endif  // BACKEND_LARGE_TAIL_H_
