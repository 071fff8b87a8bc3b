#include "frontends/perthread/registry.h"

#include "base/lock.h"
#include "frontends/perthread/budget.h"

static struct td_lock registry_lock;
static struct td_slab *used_slabs;   // guarded by registry_lock; linked both ways
static struct td_slab *warm_slabs;   // guarded by registry_lock; linked by `next`, the last one left first
static struct td_slab *spare_slabs;  // guarded by registry_lock; linked by `next`
static size_t used_count;            // atomic, written under registry_lock; `used_slabs`, and those being made
static size_t warm_count;            // atomic, written under registry_lock; length of `warm_slabs`
static size_t warm_bytes;            // guarded by registry_lock; the sum of the budgets of `warm_slabs`
static size_t warm_max;              // immutable after init
static size_t warm_max_bytes;        // immutable after init
static uint64_t retired_refills;     // guarded by registry_lock; of slabs that were retired
static uint64_t retired_flushes;     // guarded by registry_lock

static void registry_acquire(void) {
    td_lock_acquire(&registry_lock, TD_RANK_REGISTRY);
}

static void registry_release(void) {
    td_lock_release(&registry_lock, TD_RANK_REGISTRY);
}

void td_registry_init(size_t cpus) {
    warm_max = cpus * TD_WARM_SLABS;
    warm_max_bytes = cpus * TD_SLAB_BUDGET_BYTES;
}

static void link_used(struct td_slab *slab) {
    slab->prev = NULL;
    slab->next = used_slabs;
    if (used_slabs != NULL)
        used_slabs->prev = slab;
    used_slabs = slab;
}

static void count_used(size_t count) {
    td_store_relaxed(&used_count, count);
}

static void unlink_used(struct td_slab *slab) {
    if (slab->prev != NULL)
        slab->prev->next = slab->next;
    else
        used_slabs = slab->next;
    if (slab->next != NULL)
        slab->next->prev = slab->prev;
    count_used(used_count - 1);
}

// The warm slab that `link`, the list's head or some slab's, leads to.
static struct td_slab *pop_warm(struct td_slab **link) {
    struct td_slab *slab = *link;
    if (slab != NULL) {
        *link = slab->next;
        warm_bytes -= slab->budget_bytes;
        td_store_relaxed(&warm_count, warm_count - 1);
    }
    return slab;
}

static struct td_slab *pop_spare(void) {
    struct td_slab *slab = spare_slabs;
    if (slab != NULL)
        spare_slabs = slab->next;
    return slab;
}

// Puts a slab without objects, which is in no list, to the spare ones.
static void push_spare(struct td_slab *slab) {
    retired_refills += slab->refills;
    retired_flushes += slab->flushes;
    slab->refills = 0;
    slab->flushes = 0;
    slab->unserved = 0;
    slab->cramped = 0;
    slab->cramped_seen = 0;
    slab->cramped_ms = 0;
    slab->swaps = 0;
    slab->asked_at = 0;
    slab->next = spare_slabs;
    spare_slabs = slab;
}

// A new slab for a thread that is counted as having one already: of many threads that begin at the same time only a few
// are to make one.
static struct td_slab *make_used(void) {
    struct td_slab *slab = td_slab_new(0, TD_SLAB_PLACE);
    registry_acquire();
    if (slab != NULL)
        link_used(slab);
    else
        count_used(used_count - 1);
    registry_release();
    return slab;
}

struct td_slab *td_registry_take(bool only_if_few) {
    registry_acquire();
    struct td_slab *slab = pop_warm(&warm_slabs);
    bool may_have_one = slab != NULL || !only_if_few || td_budget_are_few(used_count + 1);
    if (slab == NULL && may_have_one)
        slab = pop_spare();
    if (slab != NULL)
        link_used(slab);
    if (may_have_one)
        count_used(used_count + 1);
    registry_release();
    return slab == NULL && may_have_one ? make_used() : slab;
}

void td_registry_retire(struct td_slab *slab) {
    td_slab_reset(slab);
    td_budget_end(slab);
    registry_acquire();
    unlink_used(slab);
    push_spare(slab);
    registry_release();
}

static bool try_leave_warm(struct td_slab *slab) {
    registry_acquire();
    bool has_room = warm_count < warm_max && warm_bytes + slab->budget_bytes <= warm_max_bytes;
    if (has_room) {
        unlink_used(slab);
        slab->idle_ticks = 0;
        slab->next = warm_slabs;
        warm_slabs = slab;
        warm_bytes += slab->budget_bytes;
        td_store_relaxed(&warm_count, warm_count + 1);
    }
    registry_release();
    return has_room;
}

void td_registry_leave(struct td_slab *slab) {
    if (!try_leave_warm(slab))
        td_registry_retire(slab);
}

bool td_registry_is_crowded(void) {
    return td_load_relaxed(&warm_count) == 0 && !td_budget_are_few(td_load_relaxed(&used_count) + 1);
}

// Makes a warm slab that is `ticks` old a used one, for it to be emptied: fork handlers are to find it. NULL if there
// is none.
static struct td_slab *take_warm(uint32_t ticks) {
    registry_acquire();
    struct td_slab **link = &warm_slabs;
    while (*link != NULL && (*link)->idle_ticks < ticks)
        link = &(*link)->next;
    struct td_slab *slab = pop_warm(link);
    if (slab != NULL) {
        link_used(slab);
        count_used(used_count + 1);
    }
    registry_release();
    return slab;
}

static void drain_warm(uint32_t ticks) {
    struct td_slab *slab;
    while ((slab = take_warm(ticks)) != NULL)
        td_registry_retire(slab);
}

void td_registry_drain(void) {
    drain_warm(0);
}

void td_registry_drain_idle(void) {
    registry_acquire();
    for (struct td_slab *slab = warm_slabs; slab != NULL; slab = slab->next)
        slab->idle_ticks++;
    registry_release();
    drain_warm(TD_IDLE_TICKS);
}

void td_registry_add_stats(struct td_frontend_stats *stats) {
    registry_acquire();
    stats->refills += retired_refills;
    stats->flushes += retired_flushes;
    for (const struct td_slab *slab = used_slabs; slab != NULL; slab = slab->next)
        td_slab_add_stats(slab, stats);
    for (const struct td_slab *slab = warm_slabs; slab != NULL; slab = slab->next)
        td_slab_add_stats(slab, stats);
    registry_release();
}

void td_registry_fork_prepare(void) {
    registry_acquire();
}

void td_registry_fork_parent(void) {
    registry_release();
}

// Takes all used slabs but `own` out of the list; `own` may not be in it.
static struct td_slab *unlink_others(struct td_slab *own) {
    struct td_slab *slab = used_slabs;
    while (slab != NULL && slab != own)
        slab = slab->next;
    if (slab != NULL)
        unlink_used(slab);
    struct td_slab *others = used_slabs;
    used_slabs = NULL;
    if (slab != NULL)
        link_used(slab);
    count_used(slab != NULL ? 1 : 0);  // none are being made
    return others;
}

void td_registry_fork_child(struct td_slab *own, size_t threads) {
    struct td_slab *others = unlink_others(own);
    // Where a thread was about to claim or to disclaim, only its budget tells how far it got.
    td_budget_fork_child(threads, own->budget_bytes + warm_bytes);
    // From here on there may be other threads: one that another library's handler has started waits for the lock.
    registry_release();
    // Each slab is as its thread's last committed store left it.
    for (struct td_slab *slab = others, *next; slab != NULL; slab = next) {
        next = slab->next;
        td_slab_reset(slab);
        slab->budget_bytes = 0;
        registry_acquire();
        push_spare(slab);
        registry_release();
    }
}
