// Segments that a heap had before it was large: cut into pages of 4 KiB, and made hugepages once it is.
//
// They are where a program keeps what it uses from begin to end. One of them becomes a hugepage at each tick, if small
// objects fill it nearly, so that a heap that is large for a moment pays next to nothing.
#ifndef BACKEND_EARLY_SEGMENTS_H_
#define BACKEND_EARLY_SEGMENTS_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// A segment for spans, made while the heap was small; it stays if there is room. Needs td_backend_lock.
void td_early_segments_add_locked(struct td_segment *segment);
// It is to be a free run again. Needs td_backend_lock.
void td_early_segments_remove_locked(struct td_segment *segment);

// To be called at each tick. The caller holds no lock.
void td_early_segments_maintain(void);

// Leaves those that there are as they are: who makes a hugepage of memory that a child shares copies it. Any thread,
// with or without td_backend_lock, even in a handler that interrupted who holds it.
void td_early_segments_note_fork(void);

#pragma GCC visibility pop

#endif  // BACKEND_EARLY_SEGMENTS_H_
