// The lock of the free runs, and where their memory comes from and goes to. The runs themselves are in free_runs.h.
//
// One lock, `td_backend_lock`, guards them, the segments and the large runs.
#ifndef BACKEND_RUN_STORE_H_
#define BACKEND_RUN_STORE_H_

#include "backend/backend.h"
#include "base/lock.h"

#pragma GCC visibility push(hidden)

extern struct td_lock td_backend_lock;

// Takes the backend's lock with descriptors at hand for one operation of free_runs.h, `td_run_to_segment` excepted.
// False, without the lock, if there is no memory for them.
bool td_run_store_enter(void);
// Takes the lock in any case. Without descriptors `td_run_trim` may do nothing, and `td_run_take` must not be called.
void td_run_store_enter_anyway(void);
// Takes the lock in any case. True with descriptors at hand for `td_run_to_segment` and one more operation; false if
// there is no memory for them.
bool td_run_store_enter_anyway_for_segment(void);
void td_run_store_leave(void);

// ---- without the lock

// Gives the address space of a free segment back (of a whole run if there is no descriptor to cut it), for those who
// need some for other things. False if there is none, or the system does not take it.
bool td_run_store_unmap_one(void);

// Joins clean neighbours of different hugepage advice: it is declined for all of them, as whoever takes clean memory
// asks for hugepages anew. For requests that nothing else can serve, as it takes a system call for each run.
void td_run_store_join_clean(void);

// Maps at least `segments` more. False if the system refuses.
bool td_run_store_grow(size_t segments);
// The same unless there is a free run of that length by now: of many threads that lack one at the same time, one maps.
// What the system refuses it may give for the address space of shorter free runs; they stay if all of them would not
// do.
bool td_run_store_provide(size_t segments);

// Takes and releases the locks of growth and of the back end.
void td_run_store_fork_prepare(void);
void td_run_store_fork_done(void);

enum td_hugepages td_run_store_hugepages(void);

#pragma GCC visibility pop

#endif  // BACKEND_RUN_STORE_H_
