// The per-thread front end: each thread has a slab of its own, found through a thread-local pointer, and changes it
// with plain stores. A thread that exits leaves it, with its objects, for the next one.
//
// While threads are few, or there are slabs that others have left, each gets its slab when it first allocates or frees.
// Beyond, a slab has to be worth its first refills: a thread uses a stash and the locked slabs until it has made some
// calls; one that is exiting, the locked slabs alone.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>

#include "base/fatal.h"
#include "base/lock.h"
#include "frontends/frontend.h"
#include "frontends/locked_slab.h"
#include "frontends/perthread/budget.h"
#include "frontends/perthread/fast_path.h"
#include "frontends/perthread/registry.h"
#include "frontends/perthread/stash.h"
#include "frontends/slab.h"
#include "middle/middle.h"

// Where threads without a slab point: every bin is empty and full. Never written.
static struct td_slab no_slab;

__thread struct td_slab *td_thread_slab = &no_slab;
static __thread bool has_called;             // owner only; it has allocated, or freed more than TD_FIRST_FREES
static __thread unsigned locked_frees;       // owner only; what it has freed with locked slabs, before it had a stash
static __thread unsigned slabless_ns;        // owner only; what its calls have cost more than with a slab, about
static __thread bool is_exiting;             // owner only; it gets no slab any more: it could not give that back
static __thread struct td_stash *own_stash;  // owner only; of a thread that has no slab; NULL if it has none

static struct td_lock maintenance_lock;
static struct td_lock init_lock;
static bool is_initialised;     // atomic, written under init_lock
static bool is_checked;         // atomic, any thread
static pthread_key_t exit_key;  // immutable after init

// How many nanoseconds more a call takes than with a slab of the thread's own.
enum { STASH_COSTS_NS = 10, LOCKED_SLAB_COSTS_NS = 30 };

// The stash of a young thread: one whose calls have not cost yet what a slab is worth. NULL if it has none, or is
// older.
static struct td_stash *young_stash(void) {
    return slabless_ns < TD_SLAB_WORTH_NS ? own_stash : NULL;
}

static bool is_for_stashes(size_t class_index) {
    return class_index <= td_class_of_medium(TD_STASH_OBJECT_BYTES);
}

static void flush_stash(void) {
    struct td_stash *stash = own_stash;
    own_stash = NULL;
    if (stash != NULL)
        td_stash_leave(stash);
}

// Its objects go where others without a slab find them: as batches of one the middle end would only pass them around.
static void give_up_stash(void) {
    struct td_slab *locked = own_stash != NULL ? td_locked_slab_of_cpu() : NULL;
    for (int half = 0; half < 2 && locked != NULL; half++) {
        struct td_object objects[TD_STASH_HALF];
        td_locked_slab_free_all(locked, objects, td_stash_make_room(own_stash, objects));
    }
    flush_stash();
}

static void thread_exits(void *unused) {
    (void)unused;
    struct td_slab *slab = td_thread_slab;
    td_thread_slab = &no_slab;
    is_exiting = true;
    give_up_stash();
    if (slab != &no_slab)
        td_registry_leave(slab);
    td_budget_remove_thread();
}

// How many CPUs the process may run on now.
static size_t count_cpus(void) {
    cpu_set_t cpus[TD_MAX_CPUS / CPU_SETSIZE];
    return sched_getaffinity(0, sizeof cpus, cpus) == 0 ? (size_t)CPU_COUNT_S(sizeof cpus, cpus) : 1;
}

static void initialise_once(void) {
    if (td_likely(td_load_acquire(&is_initialised)))
        return;
    td_lock_acquire(&init_lock, TD_RANK_REGISTRY);
    if (!is_initialised) {
        td_size_class_init();
        if (pthread_key_create(&exit_key, thread_exits) != 0)
            exit_key = PTHREAD_KEYS_MAX;  // no thread can set it
        size_t cpus = count_cpus();
        td_budget_init(cpus);
        td_registry_init(cpus);
        // Pairs with the acquire above.
        td_store_release(&is_initialised, true);
    }
    td_lock_release(&init_lock, TD_RANK_REGISTRY);
}

// Gives the thread a slab of its own. NULL if there is no memory for it, or it is young and others are many.
static struct td_slab *attach_own(bool is_young) {
    struct td_slab *slab = td_registry_take(is_young);
    if (slab == NULL)
        return NULL;
    if (slab->budget_bytes == 0)
        td_budget_begin(slab);
    td_thread_slab = slab;
    give_up_stash();
    return slab;
}

// What a thread that had no slab works with; a NULL slab means past the caches.
struct attachment {
    const struct td_slab_ops *ops;
    struct td_slab *slab;
};

static struct attachment attach(bool frees) {
    initialise_once();
    if (td_load_relaxed(&is_checked))
        return (struct attachment){&td_slab_plain_ops, NULL};
    if (!has_called) {
        // A thread's first call may be a free after its keys' destructors have run: at the end of a detached thread
        // glibc unmaps stacks that it has cached, and frees the thread-local storage of the threads that had them.
        // `thread_exits` is not called any more then, and what the thread got would be lost.
        if (frees && locked_frees < TD_FIRST_FREES) {
            locked_frees++;
            return (struct attachment){&td_locked_slab_ops, td_locked_slab_of_cpu()};
        }
        has_called = true;
        td_budget_add_thread();
        // For `thread_exits` to be called. Without, a slab would be lost, so the thread has none from here on.
        int saved_errno = errno;
        if (pthread_setspecific(exit_key, &no_slab) != 0)
            thread_exits(NULL);
        errno = saved_errno;
        // It may have allocated, and so come here before.
        if (td_thread_slab != &no_slab)
            return (struct attachment){&td_slab_plain_ops, td_thread_slab};
    }
    bool is_young = slabless_ns < TD_SLAB_WORTH_NS;
    bool is_without = is_exiting || (is_young && td_registry_is_crowded());
    struct td_slab *slab = is_without ? NULL : attach_own(is_young);
    if (slab != NULL)
        return (struct attachment){&td_slab_plain_ops, slab};
    if (is_young)
        slabless_ns += LOCKED_SLAB_COSTS_NS;
    // Many a thread frees no more than what it was started with.
    if (frees && own_stash == NULL && !is_exiting && locked_frees++ >= TD_STASH_OBJECTS)
        own_stash = td_stash_take();
    return (struct attachment){&td_locked_slab_ops, td_locked_slab_of_cpu()};
}

// An object from a bin of the thread's own slab that is empty.
static void *alloc_from_own(struct td_slab *slab, size_t class_index) {
    td_budget_claim(slab, class_index);
    return td_slab_refill(&td_slab_plain_ops, slab, class_index);
}

static TD_NOINLINE void *alloc_without_slab(size_t class_index) {
    struct attachment with = attach(false);
    if (with.slab == NULL)
        return td_slab_alloc_uncached(class_index, td_load_relaxed(&is_checked));
    if (with.ops == &td_locked_slab_ops)
        return td_locked_slab_alloc(with.slab, class_index);
    // The slab that another thread has left may have objects of the class.
    void *object = td_slab_swap_and_pop(with.ops, with.slab, class_index);
    return object != NULL ? object : alloc_from_own(with.slab, class_index);
}

// All that `td_frontend_alloc_slow` does not do itself. Ends as `on_failure` says if there is no memory.
static TD_NOINLINE void *alloc_slowest(size_t size, size_t class_index, enum td_on_failure on_failure) {
    struct td_slab *slab = td_thread_slab;
    void *object = slab != &no_slab ? alloc_from_own(slab, class_index) : alloc_without_slab(class_index);
    if (td_unlikely(object == NULL))
        object = td_slab_alloc_drained(class_index);
    return td_likely(object != NULL) ? object : td_slab_alloc_failed(size, on_failure);
}

void *td_frontend_alloc_slow(size_t size, size_t class_index, enum td_on_failure on_failure) {
    // What most misses need is done here, in few instructions.
    struct td_slab *slab = td_thread_slab;
    if (slab == &no_slab) {
        struct td_stash *stash = young_stash();
        void *object = stash != NULL ? td_stash_pop(stash, class_index) : NULL;
        if (object == NULL)
            return alloc_slowest(size, class_index, on_failure);
        slabless_ns += STASH_COSTS_NS;
        return object;
    }
    struct td_slab_bin expected, desired;
    if (td_likely(td_slab_swapped_bin(slab, class_index, td_class_info[class_index].swap_min, &expected, &desired))) {
        td_slab_plain_ops.replace_bin(slab, class_index, expected, desired);
        void *object = td_slab_plain_pop(slab, td_class_code(class_index), true);
        if (td_unlikely(td_slab_count_swap(slab)))
            td_frontend_maintain();
        return object;
    }
    return alloc_slowest(size, class_index, on_failure);
}

static void free_to_own(struct td_slab *slab, size_t class_index, void *pointer) {
    if (td_unlikely(td_slab_was_freed_last(slab, class_index, pointer)))
        td_fatal_double_free(pointer, td_class_bytes(class_index));
    td_budget_claim(slab, class_index);
    td_slab_overflow(&td_slab_plain_ops, slab, class_index, pointer);
}

// Keeps the object in the thread's stash, and half of what is there, as it had no room, in the locked slab.
static void free_to_stash(struct td_slab *locked, size_t class_index, void *pointer) {
    struct td_object objects[TD_STASH_HALF];
    size_t count = td_stash_make_room(own_stash, objects);
    td_stash_push(own_stash, class_index, pointer);
    td_locked_slab_free_all(locked, objects, count);
}

static TD_NOINLINE void free_without_slab(size_t class_index, void *pointer) {
    bool goes_to_stash = own_stash != NULL && is_for_stashes(class_index);
    struct attachment with = attach(true);
    if (with.slab == NULL)
        td_slab_free_uncached(class_index, pointer, td_load_relaxed(&is_checked));
    else if (with.ops == &td_locked_slab_ops && goes_to_stash)
        free_to_stash(with.slab, class_index, pointer);
    else if (with.ops == &td_locked_slab_ops)
        td_locked_slab_free(with.slab, class_index, pointer);
    // The slab that another thread has left may have room.
    else if (with.ops->push_batch(with.slab, class_index, &pointer, 1) == 0)
        free_to_own(with.slab, class_index, pointer);
}

void td_frontend_free_slow(void *pointer, size_t class_index) {
    struct td_slab *slab = td_thread_slab;
    if (slab != &no_slab) {
        free_to_own(slab, class_index, pointer);
        return;
    }
    struct td_stash *stash = is_for_stashes(class_index) ? young_stash() : NULL;
    if (stash != NULL && td_unlikely(td_stash_holds(stash, pointer)))
        td_fatal_double_free(pointer, td_class_bytes(class_index));
    if (stash != NULL && td_stash_push(stash, class_index, pointer))
        slabless_ns += STASH_COSTS_NS;
    else
        free_without_slab(class_index, pointer);
}

void td_frontend_flush(void) {
    if (td_thread_slab != &no_slab)
        td_slab_flush(&td_slab_plain_ops, td_thread_slab);
    flush_stash();
}

void td_frontend_drain(void) {
    // Only its thread may change a slab of its own.
    td_frontend_flush();
    td_registry_drain();
    td_locked_slabs_drain();
    td_middle_drain();
}

size_t td_frontend_purge(size_t bytes) {
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    size_t purged = td_middle_purge(bytes);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
    return purged;
}

void td_frontend_maintain(void) {
    uint64_t now_ms;
    if (!td_middle_tick_is_due(&now_ms) || !td_lock_try_acquire(&maintenance_lock, TD_RANK_MAINTENANCE))
        return;
    td_registry_drain_idle();
    td_locked_slabs_drain_idle();
    td_middle_maintain(now_ms);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
}

void td_frontend_set_checked(void) {
    td_store_relaxed(&is_checked, true);
    struct td_slab *slab = td_thread_slab;
    if (slab != &no_slab) {
        td_thread_slab = &no_slab;
        td_registry_retire(slab);
    }
    flush_stash();
}

struct td_frontend_description td_frontend_describe(void) {
    return (struct td_frontend_description){"perthread", "thread-local", "thread",
                                            "each thread changes a slab of its own"};
}

void td_frontend_get_stats(struct td_frontend_stats *stats) {
    *stats = (struct td_frontend_stats){0};
    td_registry_add_stats(stats);
    td_stash_add_stats(stats);
    td_locked_slabs_add_stats(stats);
}

void td_frontend_fork_prepare(void) {
    initialise_once();  // so that no thread needs init_lock any more
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    td_registry_fork_prepare();
    td_stash_fork_prepare();
    td_locked_slabs_fork_prepare();
    td_middle_fork_prepare();
    td_lock_begin_bypass();
}

static void release_after_fork(void) {
    td_lock_end_bypass();
    td_middle_fork_done();
    td_locked_slabs_fork_done();
}

void td_frontend_fork_parent(void) {
    release_after_fork();
    td_stash_fork_parent();
    td_registry_fork_parent();
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
}

void td_frontend_fork_child(void) {
    release_after_fork();
    td_stash_fork_child(own_stash);
    td_registry_fork_child(td_thread_slab, has_called && !is_exiting ? 1 : 0);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
}
