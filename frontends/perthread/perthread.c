// The per-thread front end: each thread has a slab of its own, found through a thread-local pointer, and changes it
// with plain stores. A thread gets its slab when it first allocates or frees, and a thread that exits gives it back,
// empty, for others to use.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "base/fatal.h"
#include "base/lock.h"
#include "frontends/frontend.h"
#include "frontends/perthread/fast_path.h"
#include "frontends/slab.h"
#include "middle/middle.h"

// Where threads without a slab point: every bin is empty and full. Never written.
static struct td_slab no_slab;

__thread struct td_slab *td_thread_slab = &no_slab;
static __thread bool is_exiting;  // owner only; its slab is given back, it gets no other

static struct td_lock maintenance_lock;
static struct td_lock registry_lock;
static struct td_slab *used_slabs;   // guarded by registry_lock
static struct td_slab *spare_slabs;  // guarded by registry_lock; linked by `next`
static size_t used_count;            // atomic, written under registry_lock; length of `used_slabs`
static size_t claimed_bytes;         // atomic, any thread; the sum of the budgets of `used_slabs`
static uint64_t retired_refills;     // guarded by registry_lock; of slabs that were given back
static uint64_t retired_flushes;     // guarded by registry_lock
static bool is_initialised;          // atomic, written under registry_lock
static bool is_checked;              // atomic, any thread
static pthread_key_t exit_key;       // immutable after init
static size_t total_budget_bytes;    // immutable after init; of all threads together
static size_t few_threads;           // immutable after init

static void registry_acquire(void) {
    td_lock_acquire(&registry_lock, TD_RANK_REGISTRY);
}

static void registry_release(void) {
    td_lock_release(&registry_lock, TD_RANK_REGISTRY);
}

static void link_slab(struct td_slab *slab) {
    slab->prev = NULL;
    slab->next = used_slabs;
    if (used_slabs != NULL)
        used_slabs->prev = slab;
    used_slabs = slab;
    td_store_relaxed(&used_count, used_count + 1);
}

// Doubles the budget of a slab that uses half of it, or whose bin of the class could not have its first slots: as long
// as all threads together claim no more than there is, or this one no more than its share of that.
static void claim_budget(struct td_slab *slab, size_t class_index) {
    size_t budget = slab->budget_bytes;
    bool is_used = (size_t)td_load_relaxed(&slab->capacity_bytes) >= budget / 2;
    if ((!is_used && td_slab_first_bytes(class_index) <= budget) || budget >= TD_SLAB_BUDGET_BYTES)
        return;
    size_t threads = td_load_relaxed(&used_count);
    // With some more threads than a few the share falls fast, but not at once.
    bool is_within_share = budget * threads * threads <= TD_SLAB_BUDGET_BYTES * few_threads * few_threads ||
                           2 * budget * threads <= total_budget_bytes;
    // Most claims that fail do so here, without a store that all threads would wait for.
    if (!is_within_share && td_load_relaxed(&claimed_bytes) + budget > total_budget_bytes)
        return;
    if (td_add_relaxed(&claimed_bytes, budget) + budget <= total_budget_bytes || is_within_share)
        slab->budget_bytes = 2 * budget;
    else
        td_add_relaxed(&claimed_bytes, -budget);
}

// The budget of a slab whose thread begins.
static void claim_first_budget(struct td_slab *slab) {
    size_t share = total_budget_bytes / td_load_relaxed(&used_count);
    slab->budget_bytes = share > TD_SLAB_BUDGET_FIRST_BYTES ? TD_SLAB_BUDGET_FIRST_BYTES
                         : share < TD_SLAB_BUDGET_MIN_BYTES ? TD_SLAB_BUDGET_MIN_BYTES
                                                            : share;
    td_add_relaxed(&claimed_bytes, slab->budget_bytes);
}

// Moves an empty slab to the spare ones.
static void retire_slab(struct td_slab *slab) {
    td_add_relaxed(&claimed_bytes, -slab->budget_bytes);
    registry_acquire();
    if (slab->prev != NULL)
        slab->prev->next = slab->next;
    else
        used_slabs = slab->next;
    if (slab->next != NULL)
        slab->next->prev = slab->prev;
    td_store_relaxed(&used_count, used_count - 1);
    retired_refills += slab->refills;
    retired_flushes += slab->flushes;
    slab->refills = 0;
    slab->flushes = 0;
    slab->next = spare_slabs;
    spare_slabs = slab;
    registry_release();
}

static void thread_exits(void *slab_of_thread) {
    struct td_slab *slab = slab_of_thread;
    is_exiting = true;
    td_thread_slab = &no_slab;
    td_slab_reset(slab);
    retire_slab(slab);
}

// How many CPUs the process may run on now.
static size_t count_cpus(void) {
    cpu_set_t cpus[TD_MAX_CPUS / CPU_SETSIZE];
    return sched_getaffinity(0, sizeof cpus, cpus) == 0 ? (size_t)CPU_COUNT_S(sizeof cpus, cpus) : 1;
}

static void initialise_once(void) {
    if (td_likely(td_load_acquire(&is_initialised)))
        return;
    registry_acquire();
    if (!is_initialised) {
        td_size_class_init();
        pthread_key_create(&exit_key, thread_exits);
        size_t cpus = count_cpus();
        total_budget_bytes = cpus * TD_THREADS_BUDGET_BYTES;
        few_threads = cpus * TD_FEW_THREADS;
        // Pairs with the acquire above.
        td_store_release(&is_initialised, true);
    }
    registry_release();
}

static struct td_slab *take_spare(void) {
    registry_acquire();
    struct td_slab *slab = spare_slabs;
    if (slab != NULL) {
        spare_slabs = slab->next;
        link_slab(slab);
    }
    registry_release();
    return slab;
}

// The thread's slab, made if it is the thread's first call. NULL if it is to have none.
static struct td_slab *attach(void) {
    if (td_likely(td_thread_slab != &no_slab))
        return td_thread_slab;
    initialise_once();
    if (is_exiting || td_load_relaxed(&is_checked))
        return NULL;
    struct td_slab *slab = take_spare();
    if (slab == NULL) {
        slab = td_slab_new(0, 0);
        if (slab == NULL)
            return NULL;
        registry_acquire();
        link_slab(slab);
        registry_release();
    }
    claim_first_budget(slab);
    td_thread_slab = slab;
    pthread_setspecific(exit_key, slab);  // may allocate, and finds the slab
    return slab;
}

static TD_NOINLINE void *alloc_from_middle(size_t size, size_t class_index, enum td_on_failure on_failure) {
    struct td_slab *slab = attach();
    void *object;
    if (slab != NULL) {
        claim_budget(slab, class_index);
        object = td_slab_refill(&td_slab_plain_ops, slab, class_index);
    } else {
        object = td_slab_alloc_uncached(class_index, td_load_relaxed(&is_checked));
    }
    return td_likely(object != NULL) ? object : td_slab_alloc_failed(class_index, size, on_failure);
}

void *td_frontend_alloc_slow(size_t size, size_t class_index, enum td_on_failure on_failure) {
    // What most misses need is done here, in few instructions.
    struct td_slab *slab = td_thread_slab;
    uint64_t expected, desired;
    if (td_likely(td_slab_swapped_bin(slab, class_index, td_class_info[class_index].rotation, &expected, &desired))) {
        void *object = td_slab_slots(slab)[(uint16_t)desired];
        td_store_relaxed(&slab->bins[class_index].word, desired - td_slab_pop_step(true));
        if (td_unlikely(td_slab_count_swap(slab)))
            td_frontend_maintain();
        return object;
    }
    return alloc_from_middle(size, class_index, on_failure);
}

void td_frontend_free_slow(void *pointer, size_t class_index) {
    struct td_slab *slab = attach();
    if (slab != NULL) {
        if (td_unlikely(td_slab_was_freed_last(slab, class_index, pointer)))
            td_fatal_double_free(pointer, td_class_bytes(class_index));
        claim_budget(slab, class_index);
        td_slab_overflow(&td_slab_plain_ops, slab, class_index, pointer);
    } else {
        td_slab_free_uncached(class_index, pointer, td_load_relaxed(&is_checked));
    }
}

void td_frontend_flush(void) {
    if (td_thread_slab != &no_slab)
        td_slab_flush(&td_slab_plain_ops, td_thread_slab);
}

void td_frontend_drain(void) {
    // Only its thread may change a slab.
    td_frontend_flush();
    td_middle_drain();
}

void td_frontend_maintain(void) {
    uint64_t now_ms;
    if (!td_middle_tick_is_due(&now_ms) || !td_lock_try_acquire(&maintenance_lock, TD_RANK_MAINTENANCE))
        return;
    td_middle_maintain(now_ms);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
}

void td_frontend_set_checked(bool is_on) {
    td_store_relaxed(&is_checked, is_on);
    if (is_on && td_thread_slab != &no_slab) {
        struct td_slab *slab = td_thread_slab;
        td_thread_slab = &no_slab;
        pthread_setspecific(exit_key, NULL);
        td_slab_reset(slab);
        retire_slab(slab);
    }
}

struct td_frontend_description td_frontend_describe(void) {
    return (struct td_frontend_description){"perthread", "thread-local", "thread",
                                            "each thread changes a slab of its own"};
}

void td_frontend_get_stats(struct td_frontend_stats *stats) {
    *stats = (struct td_frontend_stats){0};
    registry_acquire();
    stats->refills = retired_refills;
    stats->flushes = retired_flushes;
    for (const struct td_slab *slab = used_slabs; slab != NULL; slab = slab->next)
        td_slab_add_stats(slab, stats);
    registry_release();
}

void td_frontend_fork_prepare(void) {
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    registry_acquire();
    td_middle_fork_prepare();
    td_lock_begin_fork();
}

void td_frontend_fork_parent(void) {
    td_lock_end_fork();
    td_middle_fork_done();
    registry_release();
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
}

void td_frontend_fork_child(void) {
    td_frontend_fork_parent();
    // The other threads are gone; each of their slabs is as its last committed store left it.
    for (struct td_slab *slab = used_slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        if (slab != td_thread_slab) {
            td_slab_reset(slab);
            retire_slab(slab);
        }
    }

    // Where a thread was about to claim or to disclaim, only its budget tells how far it got.
    bool is_attached = td_thread_slab != &no_slab;
    td_store_relaxed(&claimed_bytes, is_attached ? td_thread_slab->budget_bytes : 0);
}
