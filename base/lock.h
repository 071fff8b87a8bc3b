// A mutex of four bytes over futex(2), all zeros when free. Spins briefly, then sleeps.
//
// The order in which a thread may hold several is the order of `enum td_lock_rank`; debug builds abort on an inversion.
// Only the fork handlers hold several of one rank, which they all take in the same order.
#ifndef BASE_LOCK_H_
#define BASE_LOCK_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

enum td_lock_rank {
    TD_RANK_MAINTENANCE,  // one thread at a time drains and purges; may be held across system calls
    TD_RANK_REGISTRY,     // the list of slabs
    TD_RANK_SLAB,         // a locked slab
    TD_RANK_TRANSFER,     // the numbers of batches; held across system calls that map their memory
    TD_RANK_CENTRAL,      // a class's central free list
    TD_RANK_HUGEPAGE,     // one thread at a time splits hugepages or makes some; held across system calls
    TD_RANK_GROWTH,       // one thread at a time maps segments; held across system calls
    TD_RANK_BACKEND,      // segments, their pages, free runs of segments
    TD_RANK_METADATA,     // descriptors' memory; held across system calls that map it
};

struct td_lock {
    uint32_t state;  // atomic, any thread: 0 free, 1 held, 2 held and waited for
};

// May be called in any state of the process, signal handlers excepted: a handler that interrupts the holder deadlocks.
void td_lock_acquire(struct td_lock *lock, enum td_lock_rank rank);
bool td_lock_try_acquire(struct td_lock *lock, enum td_lock_rank rank);
void td_lock_release(struct td_lock *lock, enum td_lock_rank rank);

// Between these calls, which may be nested, the functions above do nothing for the calling thread. For one that holds
// every lock: so fork handlers that run while Tandem's locks are held may allocate. And, without an end, for one that
// aborts: the program's handler of SIGABRT may allocate or fork, whatever locks were held.
void td_lock_begin_bypass(void);
void td_lock_end_bypass(void);

// In debug builds, aborts if the caller holds a lock that is not to be held across a system call. `what` names the
// call.
void td_lock_check_none_held(const char *what);

// Acquisitions that did not succeed at the first try, since the start. Statistic.
uint64_t td_lock_contended_count(void);

#pragma GCC visibility pop

#endif  // BASE_LOCK_H_
