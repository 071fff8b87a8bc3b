#include "base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arch.h"
#include "base/atomic.h"
#include "base/fatal.h"

enum { LOCK_FREE = 0, LOCK_HELD = 1, LOCK_WAITED_FOR = 2 };

// A holder keeps a lock for a few hundred nanoseconds unless it was preempted or maps memory; then spinning cannot
// help.
#define SPIN_LIMIT 60
// With far more threads than CPUs, sleeping at once left CPUs idle; yielding much longer slowed producers and consumers
// down: see docs/trials.md.
#define YIELD_LIMIT 3

static uint64_t contended_count;  // statistic

static __thread unsigned bypass_depth;  // owner only; not 0: locks are nothing to this thread
static __thread unsigned held_ranks;    // owner only; a bit per rank, in debug builds

static void note_acquired(enum td_lock_rank rank) {
    if (TD_DEBUG) {
        if ((held_ranks >> rank) > 1)
            td_fatal("lock order violated");
        held_ranks |= 1u << rank;
    }
}

static void note_released(enum td_lock_rank rank) {
    if (TD_DEBUG)
        held_ranks &= ~(1u << rank);
}

void td_lock_check_none_held(const char *what) {
    const unsigned across_calls = 1u << TD_RANK_MAINTENANCE | 1u << TD_RANK_TRANSFER | 1u << TD_RANK_HUGEPAGE |
                                  1u << TD_RANK_GROWTH | 1u << TD_RANK_METADATA;
    if (TD_DEBUG && bypass_depth == 0 && (held_ranks & ~across_calls) != 0)
        td_fatal(what);
}

// Pairs with the release in `td_lock_release`.
static bool try_state(struct td_lock *lock) {
    uint32_t expected = LOCK_FREE;
    return td_compare_exchange_acquire(&lock->state, &expected, LOCK_HELD);
}

static bool spin(struct td_lock *lock) {
    for (int wait = 0; wait < SPIN_LIMIT + YIELD_LIMIT; wait++) {
        if (td_load_relaxed(&lock->state) == LOCK_FREE && try_state(lock))
            return true;
        if (wait < SPIN_LIMIT)
            td_cpu_relax();
        else
            sched_yield();
    }
    return false;
}

static TD_NOINLINE void acquire_slow(struct td_lock *lock) {
    td_add_relaxed(&contended_count, 1);
    int saved_errno = errno;  // a filter may make any system call fail
    // Pairs with the release in `td_lock_release`. A thread that slept cannot know whether others still do: stay at 2.
    if (!spin(lock))
        while (td_exchange_acquire(&lock->state, LOCK_WAITED_FOR) != LOCK_FREE)
            syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, LOCK_WAITED_FOR, NULL, NULL, 0);
    errno = saved_errno;
}

void td_lock_begin_bypass(void) {
    bypass_depth++;
}

void td_lock_end_bypass(void) {
    bypass_depth--;
}

void td_lock_acquire(struct td_lock *lock, enum td_lock_rank rank) {
    if (td_unlikely(bypass_depth != 0))
        return;
    if (td_unlikely(!try_state(lock)))
        acquire_slow(lock);
    note_acquired(rank);
}

bool td_lock_try_acquire(struct td_lock *lock, enum td_lock_rank rank) {
    if (td_unlikely(bypass_depth != 0))
        return true;
    if (!try_state(lock))
        return false;
    note_acquired(rank);
    return true;
}

void td_lock_release(struct td_lock *lock, enum td_lock_rank rank) {
    if (td_unlikely(bypass_depth != 0))
        return;
    note_released(rank);
    // Pairs with the acquires in `try_state` and `acquire_slow`.
    if (td_unlikely(td_exchange_release(&lock->state, LOCK_FREE) == LOCK_WAITED_FOR)) {
        int saved_errno = errno;
        syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        errno = saved_errno;
    }
}

uint64_t td_lock_contended_count(void) {
    return td_load_relaxed(&contended_count);
}
