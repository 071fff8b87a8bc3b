// Segments that are one hugepage each: split where little of them is in use, and whole again when more is.
//
// A hugepage that was split comes back page by page, by up to 512 page faults, and the kernel is told to leave it so,
// for it would fill again what the purge has emptied. So where pages that were given back are used again, some MiB of
// them within a tick, the segments that they lie in are made whole, before the pages are touched. Less than that leaves
// a trough as it is; and no heap has more hugepages by that than it had before the purge.
#ifndef BACKEND_HUGEPAGE_H_
#define BACKEND_HUGEPAGE_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// Between these calls no other thread splits a hugepage, gives pages of a segment back or makes one whole. Takes a
// lock: called without td_backend_lock.
void td_hugepage_enter(void);
void td_hugepage_leave(void);

// Entered, with td_backend_lock: marks the segment as split. True if it was a hugepage: then it is to be declined.
bool td_hugepage_split_locked(struct td_segment *segment);
// Entered, without td_backend_lock: keeps the kernel from making one hugepage of it, while something in it is held.
void td_hugepage_decline(const struct td_segment *segment);

// Notes that `bytes` of it are used again, which were given back. True if it is to be made whole. Needs
// td_backend_lock.
bool td_hugepage_note_reuse_locked(const struct td_segment *segment, size_t bytes);
// Makes one hugepage of a segment that `is_split`, unless the kernel refuses. The caller holds no lock, but an object
// or a span in the segment, or has pinned it.
void td_hugepage_make_whole(struct td_segment *segment);

// Segments made whole since the start. Statistic.
uint64_t td_hugepage_rebuilt_count(void);

#pragma GCC visibility pop

#endif  // BACKEND_HUGEPAGE_H_
