// Whether the program fills the large objects that it allocates: one that it does not fill is no place for hugepages.
//
// Nobody can tell when an object is new. But of the last ones the page in the middle is there or not, and a program
// that reserves much and uses little does so again. What was not touched yet counts as not filled, so who allocates all
// that he needs before he fills any of it goes without.
#ifndef BACKEND_LARGE_FILL_H_
#define BACKEND_LARGE_FILL_H_

#include "backend/segment.h"

// Shorter objects do not count: the first touch of a hugepage makes it resident as a whole, so where an object has only
// one, nobody can tell afterwards.
#define TD_FILL_MIN_BYTES (2 * TD_SEGMENT_BYTES)

#pragma GCC visibility push(hidden)

// ---- the lock is held

// Counts the run's object, of fresh memory, as one of the last.
void td_large_fill_note_locked(const struct td_segment_run *run);
// The pages of the run's object are to be elsewhere.
void td_large_fill_forget_locked(const struct td_segment_run *run);

// ---- without the lock

// Whether a new object is likely to be filled: those with half of the last ones' bytes are, or more. False if there are
// none. Takes a few system calls.
bool td_large_fill_is_likely(void);

#pragma GCC visibility pop

#endif  // BACKEND_LARGE_FILL_H_
