// The per-CPU front end: each CPU has a slab, and a thread changes the slab of the CPU that it runs on with restartable
// sequences. Its caches cost as much with 1,000 threads as with one for each CPU.
//
// The index of a slab is `mm_cid`, which the kernel keeps as low as the number of threads that run at once, or the
// CPU's number where the kernel has no mm_cid. Where there is no registered rseq area, the locked slabs are used.
#include "base/arch.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "frontends/frontend.h"
#include "frontends/locked_slab.h"
#include "frontends/percpu/area.h"
#include "frontends/percpu/direct.h"
#include "frontends/percpu/rseq.h"
#include "frontends/slab.h"
#include "middle/middle.h"

static struct td_lock maintenance_lock;
static struct td_slab_maker maker;
// What is published in `td_percpu.slabs`, except while it is being emptied. Written under the maker's lock, never
// cleared.
static struct td_slab *all_slabs[TD_MAX_CPUS];
static uint32_t slab_end;     // atomic, any thread; above all indexes in use
static uint64_t fence_count;  // statistic
static bool is_checked;       // atomic, any thread

static size_t rseq_pop_batch(struct td_slab *slab, size_t class_index, void **objects, size_t count) {
    (void)slab;
    return td_rseq_pop_batch(class_index, objects, count);
}

static size_t rseq_push_batch(struct td_slab *slab, size_t class_index, void *const *objects, size_t count) {
    (void)slab;
    return td_rseq_push_batch(class_index, objects, count);
}

static bool rseq_replace_bin(struct td_slab *slab, size_t class_index, struct td_slab_bin expected,
                             struct td_slab_bin desired) {
    return td_rseq_replace_bin(slab, class_index, expected, desired);
}

static const struct td_slab_ops rseq_ops = {rseq_pop_batch, rseq_push_batch, rseq_replace_bin};

// What a thread works with in a slow path; a NULL slab means past the caches.
struct attachment {
    const struct td_slab_ops *ops;
    struct td_slab *slab;
};

// Lets sequences find the slab, or none if it is NULL. Pairs with the load in `published_slab`, and with the sequences'
// dependent loads. The table comes last: a thread that finds a slab there, and empties it, knows that no other is still
// publishing.
static void publish_slab(uint32_t index, struct td_slab *slab) {
    td_direct_publish(index, slab);
    td_store_release(&td_percpu.slabs[index], slab != NULL ? slab : &td_no_slab);
}

// The slab that sequences find for the index, or NULL.
static struct td_slab *published_slab(uint32_t index) {
    struct td_slab *slab = td_load_acquire(&td_percpu.slabs[index]);
    return slab != &td_no_slab ? slab : NULL;
}

// Makes and publishes a slab for the index unless it has one. Returns the one that it has: NULL if that is being
// emptied, there is no memory, or objects bypass the caches by now.
static struct td_slab *install_slab(uint32_t index) {
    struct td_slab *slab = td_slab_maker_take(&maker, TD_CPU_SLAB_PLACE);
    if (slab == NULL)
        return NULL;
    td_lock_acquire(&maker.lock, TD_RANK_REGISTRY);
    if (all_slabs[index] == NULL && !td_load_relaxed(&is_checked)) {
        td_store_release(&all_slabs[index], slab);
        publish_slab(index, slab);
        if (index >= slab_end)
            td_store_release(&slab_end, index + 1);
    } else {
        td_slab_maker_leave(&maker, slab);
        slab = published_slab(index);
    }
    td_lock_release(&maker.lock, TD_RANK_REGISTRY);
    return slab;
}

static struct attachment attach_rseq(uint32_t index) {
    struct td_slab *slab = published_slab(index);
    if (td_likely(slab != NULL))
        return (struct attachment){&rseq_ops, slab};
    if (td_load_relaxed(&all_slabs[index]) != NULL)
        return (struct attachment){&rseq_ops, NULL};  // being emptied
    return (struct attachment){&rseq_ops, install_slab(index)};
}

static struct attachment attach_locked(void) {
    return (struct attachment){&td_locked_slab_ops, td_locked_slab_of_cpu()};
}

static struct attachment attach(void) {
    if (td_unlikely(!td_area_is_attached())) {
        td_size_class_init();
        td_area_attach();
    }
    if (td_unlikely(td_load_relaxed(&is_checked)))
        return (struct attachment){&td_locked_slab_ops, NULL};
    uint32_t index = td_area_index();
    return td_likely(index < TD_MAX_CPUS) ? attach_rseq(index) : attach_locked();
}

// An object from a bin that a sequence found empty, or from a locked slab.
static void *alloc_from(struct attachment with, size_t class_index) {
    if (with.slab == NULL)
        return td_slab_alloc_uncached(class_index, td_load_relaxed(&is_checked));
    if (with.ops == &td_locked_slab_ops)
        return td_locked_slab_alloc(with.slab, class_index);
    return td_slab_refill(with.ops, with.slab, class_index);
}

static bool was_freed_last(const struct td_slab *slab, size_t class_index, const void *pointer) {
    if (td_likely(!td_slab_was_freed_last(slab, class_index, pointer)))
        return false;
    // The thread may have moved, and see another CPU's stores in any order; the fence settles it. Where there is none
    // it is noticed later.
    return TD_STORES_KEEP_ORDER || (td_area_fence() && td_slab_was_freed_last(slab, class_index, pointer));
}

// To a bin that a sequence found full, or to a locked slab.
static void free_to(struct attachment with, size_t class_index, void *pointer) {
    if (with.slab == NULL) {
        td_slab_free_uncached(class_index, pointer, td_load_relaxed(&is_checked));
        return;
    }
    if (with.ops == &td_locked_slab_ops) {
        td_locked_slab_free(with.slab, class_index, pointer);
        return;
    }
    if (td_unlikely(was_freed_last(with.slab, class_index, pointer)))
        td_fatal_double_free(pointer, td_class_bytes(class_index));
    if (with.ops->push_batch(with.slab, class_index, &pointer, 1) == 0)
        td_slab_overflow(with.ops, with.slab, class_index, pointer);
}

// Set while the thread may hold a lock because of small objects: a signal handler that interrupts it must not wait for
// one if it frees a small object, and should not if it allocates.
static __thread bool is_in_slow_path;  // owner, and handlers that interrupt it

// What such handlers have freed: the slow path does it for them when it ends.
struct left_object {
    struct left_object *next;
};
static __thread struct left_object *left_objects;  // as above

static void leave_object(void *pointer) {
    struct left_object *object = pointer;
    object->next = td_load_relaxed(&left_objects);
    while (!td_compare_exchange_relaxed(&left_objects, &object->next, object))
        ;
}

static TD_NOINLINE void free_left_objects(void) {
    struct left_object *object = td_exchange_acquire(&left_objects, NULL);
    while (object != NULL) {
        // First: the thread that free_to has given the one before to may have written to it since.
        size_t class_index = td_middle_class_of(object, "free");
        struct left_object *next = object->next;
        free_to(attach(), class_index, object);
        object = next;
    }
}

static void set_in_slow_path(bool is_in) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    td_store_relaxed(&is_in_slow_path, is_in);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

// Returns what the exit is to be told: whether the thread was in a slow path before.
static bool enter_slow_path(void) {
    bool was_in = is_in_slow_path;
    set_in_slow_path(true);
    return was_in;
}

static void exit_slow_path(bool was_in) {
    set_in_slow_path(was_in);
    while (td_unlikely(td_load_relaxed(&left_objects) != NULL) && !was_in) {
        set_in_slow_path(true);
        free_left_objects();
        set_in_slow_path(false);
    }
}

// All that `td_frontend_alloc_slow` does not do itself. Ends as `on_failure` says if there is no memory.
static TD_NOINLINE void *alloc_slowest(size_t size, size_t class_index, enum td_on_failure on_failure) {
    bool is_first = !td_area_is_attached();
    bool was_in = enter_slow_path();
    struct attachment with = attach();
    void *object = NULL;
    // To a thread that was not attached its CPU's slab may have looked empty.
    if (td_unlikely(is_first || was_in) && with.slab != NULL)
        object = td_slab_swap_and_pop(with.ops, with.slab, class_index);
    if (td_likely(object == NULL))
        object = alloc_from(with, class_index);
    if (td_unlikely(object == NULL))
        object = td_slab_alloc_drained(class_index);
    exit_slow_path(was_in);
    return td_likely(object != NULL) ? object : td_slab_alloc_failed(size, on_failure);
}

// The slab that a sequence would find now, or NULL.
static struct td_slab *current_slab(void) {
    uint32_t index = td_area_index();
    return index < TD_MAX_CPUS ? published_slab(index) : NULL;
}

void *td_frontend_alloc_slow(size_t size, size_t class_index, enum td_on_failure on_failure) {
    // What most misses need is done here, in few instructions.
    struct td_slab *slab = current_slab();
    struct td_slab_bin expected, desired;
    if (td_likely(slab != NULL &&
                  td_slab_swapped_bin(slab, class_index, td_class_info[class_index].swap_min, &expected, &desired) &&
                  td_rseq_replace_bin(slab, class_index, expected, desired))) {
        void *object = td_frontend_pop(td_class_code(class_index), true);
        // A handler must not: the code that it interrupted may hold the locks.
        if (td_unlikely(td_slab_count_swap(slab)) && !is_in_slow_path)
            td_frontend_maintain();
        if (td_likely(object != NULL))
            return object;
    }
    return alloc_slowest(size, class_index, on_failure);
}

void td_frontend_free_slow(void *pointer, size_t class_index) {
    if (td_unlikely(is_in_slow_path)) {
        leave_object(pointer);
        return;
    }
    bool was_in = enter_slow_path();
    free_to(attach(), class_index, pointer);
    exit_slow_path(was_in);
}

void td_frontend_flush(void) {
    bool was_in = enter_slow_path();
    struct attachment with = attach();
    if (with.slab != NULL)
        td_slab_flush(with.ops, with.slab);
    exit_slow_path(was_in);
}

// Empties the slab of a CPU from outside: takes it out of the table, waits until no sequence can be on it any more, and
// puts it back. Sequences that start meanwhile find none and go past the caches. The caller holds the maintenance lock.
static void drain_slab(uint32_t index) {
    struct td_slab *slab = published_slab(index);
    if (slab == NULL || td_slab_cached_bytes(slab) == 0)
        return;
    publish_slab(index, NULL);
    // The barrier that the fence is orders the store before it and the reads behind it on every CPU.
    if (td_area_fence()) {
        td_add_relaxed(&fence_count, 1);
        td_slab_flush(&td_slab_plain_ops, slab);
    }
    publish_slab(index, slab);
}

void td_frontend_drain(void) {
    bool was_in = enter_slow_path();
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    for (uint32_t i = 0; i < td_load_relaxed(&slab_end); i++)
        drain_slab(i);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
    td_locked_slabs_drain();
    td_middle_drain();
    exit_slow_path(was_in);
}

size_t td_frontend_purge(size_t bytes) {
    bool was_in = enter_slow_path();
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    size_t purged = td_middle_purge(bytes);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
    exit_slow_path(was_in);
    return purged;
}

static void drain_idle_slabs(void) {
    for (uint32_t i = 0; i < td_load_relaxed(&slab_end); i++) {
        struct td_slab *slab = published_slab(i);
        if (slab != NULL && td_slab_becomes_idle(slab))
            drain_slab(i);
    }
    td_locked_slabs_drain_idle();
}

void td_frontend_maintain(void) {
    // free asks `td_frontend_push` first, even for what was allocated without the front end.
    td_area_init();
    uint64_t now_ms;
    if (!td_middle_tick_is_due(&now_ms))
        return;
    bool was_in = enter_slow_path();
    if (td_lock_try_acquire(&maintenance_lock, TD_RANK_MAINTENANCE)) {
        drain_idle_slabs();
        td_middle_maintain(now_ms);
        td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
    }
    exit_slow_path(was_in);
}

void td_frontend_set_checked(void) {
    td_store_relaxed(&is_checked, true);
    bool was_in = enter_slow_path();
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    // A thread that installs a slab right now has published it then, or finds that it is not wanted.
    td_lock_acquire(&maker.lock, TD_RANK_REGISTRY);
    td_lock_release(&maker.lock, TD_RANK_REGISTRY);
    for (uint32_t i = 0; i < td_load_relaxed(&slab_end); i++) {
        drain_slab(i);
        publish_slab(i, NULL);
    }
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
    exit_slow_path(was_in);
}

struct td_frontend_description td_frontend_describe(void) {
    static const char *const modes[] = {"none", "rseq (glibc)", "rseq (own)", "locked"};
    enum td_area_mode mode = td_area_init();
    const char *index = mode == TD_AREA_NONE ? "cpu" : td_area_has_mm_cid() ? "mm_cid" : "cpu_id";
    return (struct td_frontend_description){"percpu", modes[mode], index, td_area_reason()};
}

void td_frontend_get_stats(struct td_frontend_stats *stats) {
    *stats = (struct td_frontend_stats){.remote_fences = td_load_relaxed(&fence_count)};
    for (uint32_t i = 0; i < td_load_relaxed(&slab_end); i++)
        if (td_load_acquire(&all_slabs[i]) != NULL)
            td_slab_add_stats(all_slabs[i], stats);
    td_locked_slabs_add_stats(stats);
}

void td_frontend_fork_prepare(void) {
    bool was_in = enter_slow_path();
    td_lock_acquire(&maintenance_lock, TD_RANK_MAINTENANCE);
    td_lock_acquire(&maker.lock, TD_RANK_REGISTRY);
    td_locked_slabs_fork_prepare();
    td_middle_fork_prepare();
    td_lock_begin_bypass();
    exit_slow_path(was_in);
}

void td_frontend_fork_parent(void) {
    bool was_in = enter_slow_path();
    td_lock_end_bypass();
    td_middle_fork_done();
    td_locked_slabs_fork_done();
    td_lock_release(&maker.lock, TD_RANK_REGISTRY);
    td_lock_release(&maintenance_lock, TD_RANK_MAINTENANCE);
    exit_slow_path(was_in);
}

void td_frontend_fork_child(void) {
    // A sequence of another thread happened whole or not at all: the copy holds each CPU's stores in their order.
    td_frontend_fork_parent();
}
