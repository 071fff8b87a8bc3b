#include "frontends/locked_slab.h"

#include "base/cpu.h"
#include "base/fatal.h"

// With more CPUs than this, some share one.
#define LOCKED_SLABS 256

static struct td_slab_maker maker;
static struct td_slab *locked_slabs[LOCKED_SLABS];  // atomic, any thread; written under the maker's lock, never cleared

static void slab_acquire(struct td_slab *slab) {
    td_lock_acquire(&slab->lock, TD_RANK_SLAB);
}

static void slab_release(struct td_slab *slab) {
    td_lock_release(&slab->lock, TD_RANK_SLAB);
}

static size_t locked_pop_batch(struct td_slab *slab, size_t class_index, void **objects, size_t count) {
    slab_acquire(slab);
    count = td_slab_plain_ops.pop_batch(slab, class_index, objects, count);
    slab_release(slab);
    return count;
}

static size_t locked_push_batch(struct td_slab *slab, size_t class_index, void *const *objects, size_t count) {
    slab_acquire(slab);
    count = td_slab_plain_ops.push_batch(slab, class_index, objects, count);
    slab_release(slab);
    return count;
}

static bool locked_replace_bin(struct td_slab *slab, size_t class_index, struct td_slab_bin expected,
                               struct td_slab_bin desired) {
    slab_acquire(slab);
    bool is_replaced = td_slab_plain_ops.replace_bin(slab, class_index, expected, desired);
    slab_release(slab);
    return is_replaced;
}

const struct td_slab_ops td_locked_slab_ops = {locked_pop_batch, locked_push_batch, locked_replace_bin};

static bool is_forking;  // guarded by the maker's lock

// NULL as well for a thread that forks: it holds the locks of the slabs that there are, and could not have this one's.
static struct td_slab *install(size_t index) {
    struct td_slab *slab = td_slab_maker_take(&maker, TD_SLAB_PLACE);
    if (slab == NULL)
        return NULL;
    td_lock_acquire(&maker.lock, TD_RANK_REGISTRY);
    if (locked_slabs[index] == NULL && !is_forking)
        td_store_release(&locked_slabs[index], slab);  // pairs with the load in `td_locked_slab_of_cpu`
    else
        td_slab_maker_leave(&maker, slab);
    slab = locked_slabs[index];
    td_lock_release(&maker.lock, TD_RANK_REGISTRY);
    return slab;
}

struct td_slab *td_locked_slab_of_cpu(void) {
    size_t index = td_current_cpu() % LOCKED_SLABS;
    struct td_slab *slab = td_load_acquire(&locked_slabs[index]);
    return td_likely(slab != NULL) ? slab : install(index);
}

void *td_locked_slab_alloc(struct td_slab *slab, size_t class_index) {
    slab_acquire(slab);
    void *object = td_slab_plain_pop(slab, td_class_code(class_index), td_class_has_two_stacks(class_index));
    slab_release(slab);
    return td_likely(object != NULL) ? object : td_slab_refill(&td_locked_slab_ops, slab, class_index);
}

void td_locked_slab_free(struct td_slab *slab, size_t class_index, void *pointer) {
    slab_acquire(slab);
    bool is_pushed = td_slab_plain_push(slab, td_class_code(class_index), pointer);
    bool is_double = !is_pushed && td_slab_was_freed_last(slab, class_index, pointer);
    slab_release(slab);
    if (td_unlikely(is_double))
        td_fatal_double_free(pointer, td_class_bytes(class_index));
    if (td_unlikely(!is_pushed))
        td_slab_overflow(&td_locked_slab_ops, slab, class_index, pointer);
}

void td_locked_slab_free_all(struct td_slab *slab, struct td_object *objects, size_t count) {
    size_t refused = 0;
    slab_acquire(slab);
    for (size_t i = 0; i < count; i++)
        if (!td_slab_plain_push(slab, td_class_code(objects[i].class_index), objects[i].pointer))
            objects[refused++] = objects[i];
    slab_release(slab);
    for (size_t i = 0; i < refused; i++)
        td_locked_slab_free(slab, objects[i].class_index, objects[i].pointer);
}

void td_locked_slabs_drain(void) {
    for (size_t i = 0; i < LOCKED_SLABS; i++) {
        struct td_slab *slab = td_load_acquire(&locked_slabs[i]);
        if (slab != NULL)
            td_slab_flush(&td_locked_slab_ops, slab);
    }
}

void td_locked_slabs_drain_idle(void) {
    for (size_t i = 0; i < LOCKED_SLABS; i++) {
        struct td_slab *slab = td_load_acquire(&locked_slabs[i]);
        if (slab != NULL && td_slab_becomes_idle(slab))
            td_slab_flush(&td_locked_slab_ops, slab);
    }
}

void td_locked_slabs_add_stats(struct td_frontend_stats *stats) {
    for (size_t i = 0; i < LOCKED_SLABS; i++) {
        const struct td_slab *slab = td_load_acquire(&locked_slabs[i]);
        if (slab != NULL)
            td_slab_add_stats(slab, stats);
    }
}

void td_locked_slabs_fork_prepare(void) {
    td_lock_acquire(&maker.lock, TD_RANK_REGISTRY);
    for (size_t i = 0; i < LOCKED_SLABS; i++)
        if (locked_slabs[i] != NULL)
            slab_acquire(locked_slabs[i]);
    is_forking = true;
}

void td_locked_slabs_fork_done(void) {
    is_forking = false;
    for (size_t i = 0; i < LOCKED_SLABS; i++)
        if (locked_slabs[i] != NULL)
            slab_release(locked_slabs[i]);
    td_lock_release(&maker.lock, TD_RANK_REGISTRY);
}
