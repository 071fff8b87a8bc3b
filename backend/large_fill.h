// Whether programs fill the large objects that they allocate: an object that is not filled is no place for hugepages.
//
// Nobody can tell when an object is new. But of the last ones the page in the middle is there or not, and a program
// that reserves much and uses little does so again.
#ifndef BACKEND_LARGE_FILL_H_
#define BACKEND_LARGE_FILL_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// Remembers the run's object, the last one until the next is noted. Needs td_backend_lock.
void td_large_fill_note_locked(const struct td_segment_run *run);

// Whether objects with half of the bytes of the last ones, or more, are filled; true if there are none. Without a lock,
// a system call for each of the few.
bool td_large_fill_is_likely(void);

#pragma GCC visibility pop

#endif  // BACKEND_LARGE_FILL_H_
