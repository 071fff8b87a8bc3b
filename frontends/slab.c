// The policy: when bins grow, what they fetch, what leaves them, when they are idle.
#include "frontends/slab.h"

#include <errno.h>
#include <string.h>

#include "base/batch.h"
#include "base/minmax.h"
#include "frontends/bin.h"
#include "middle/middle.h"

// The first word behind the bins and the figures.
#define FIRST_SLOT ((sizeof(struct td_slab) + sizeof(void *) - 1) / sizeof(void *))

// A bin that wants to grow beyond the budget takes capacity from another, which a CLOCK hand finds, as it finds pages
// to evict: it passes the bins in turn, and takes from the first whose slow paths were not walked since it passed last.
// So many bins it looks at, at most.
#define VICTIM_TRIES 8

// Slow paths from one such look to the next, at least. If the hand came around sooner, bins in use would seem to be
// without, and be robbed in turns.
#define SLOW_PATHS_PER_LOOK 8

struct td_slab *td_slab_new(size_t budget_bytes, size_t place) {
    char *memory = td_middle_alloc_metadata(place + TD_SLAB_BYTES, TD_SMALLEST_PAGE_BYTES);
    if (memory == NULL)
        return NULL;
    struct td_slab *slab = (struct td_slab *)(memory + place);
    slab->words_used = FIRST_SLOT;
    slab->budget_bytes = budget_bytes;
    return slab;
}

struct td_slab *td_slab_maker_take(struct td_slab_maker *maker, size_t place) {
    td_lock_acquire(&maker->lock, TD_RANK_REGISTRY);
    struct td_slab *slab = maker->spares;
    if (slab != NULL)
        maker->spares = slab->next;
    td_lock_release(&maker->lock, TD_RANK_REGISTRY);
    return slab != NULL ? slab : td_slab_new(TD_SLAB_BUDGET_BYTES, place);
}

void td_slab_maker_leave(struct td_slab_maker *maker, struct td_slab *slab) {
    slab->next = maker->spares;
    maker->spares = slab;
}

// What is remembered of a bin's slow paths, in `history`.
enum {
    HISTORY_WAS_FULL = 1,    // it was full more recently than it was empty
    HISTORY_IS_USED = 2,     // a slow path was walked since the hand passed by
    HISTORY_IS_ONE_WAY = 4,  // when it was full last, nothing had been allocated since it was full before
};

static uint8_t history_of(const struct td_slab *slab, size_t class_index) {
    return td_load_relaxed(&slab->history[class_index]);
}

static void note_history(struct td_slab *slab, size_t class_index, int history) {
    td_store_relaxed(&slab->history[class_index], (uint8_t)history);
}

static bool is_used_by_now(struct td_slab *slab, size_t class_index) {
    int history = history_of(slab, class_index);
    note_history(slab, class_index, history & ~HISTORY_IS_USED);
    return (history & HISTORY_IS_USED) != 0;
}

// The next bin that has capacity to give and whose slow paths were not walked since the last time around; 0 if none of
// the next few is one.
static size_t find_victim(struct td_slab *slab, size_t for_class) {
    for (int i = 0; i < VICTIM_TRIES; i++) {
        uint32_t hand = td_load_relaxed(&slab->hand);
        size_t victim = hand < TD_CLASS_COUNT - 1 ? hand + 1 : 1;
        td_store_relaxed(&slab->hand, (uint32_t)victim);
        if (victim != for_class && td_bin_view(slab, victim).capacity >= 2 && !is_used_by_now(slab, victim))
            return victim;
    }
    return 0;
}

// Halves the capacity of a bin that does without, unless one was looked for just now.
static void steal_capacity(const struct td_slab_ops *ops, struct td_slab *slab, size_t for_class) {
    uint32_t now = (uint32_t)td_slab_slow_paths(slab);
    if (now - td_load_relaxed(&slab->asked_at) < SLOW_PATHS_PER_LOOK)
        return;
    td_store_relaxed(&slab->asked_at, now);
    size_t victim = find_victim(slab, for_class);
    if (victim == 0)
        return;
    struct td_bin_view view = td_bin_view(slab, victim);
    void *objects[TD_BATCH_MAX];
    size_t left = view.capacity / 2;
    while (view.alloc_count + view.free_count > left) {
        size_t excess = view.alloc_count + view.free_count - left;
        size_t count = td_bin_take(ops, slab, victim, objects, td_min(excess, TD_BATCH_MAX));
        td_bin_return(slab, victim, objects, count);
        if (count == 0)
            break;
        view = td_bin_view(slab, victim);
    }
    if (left < view.capacity)
        td_bin_set_capacity(ops, slab, victim, &view, left);
}

// Raises the bin's capacity to `wanted` if the class and the slab's budget allow, of which a bin of more than
// TD_BIN_MAX objects leaves the others half. `view` as in `td_bin_set_capacity`.
static bool grow_bin(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, struct td_bin_view *view,
                     size_t wanted) {
    const struct td_class_info *info = &td_class_info[class_index];
    wanted = td_min(wanted, info->bin_max);
    if (wanted <= view->capacity)
        return false;
    size_t wanted_bytes = wanted * info->object_bytes;
    int64_t room = (int64_t)slab->budget_bytes - (int64_t)(wanted_bytes - view->capacity * info->object_bytes);
    if (room < 0 || (wanted > TD_BIN_MAX && wanted_bytes > slab->budget_bytes / 2))
        return false;
    if (td_load_relaxed(&slab->capacity_bytes) > room) {
        steal_capacity(ops, slab, class_index);
        if (td_load_relaxed(&slab->capacity_bytes) > room)
            return false;
    }
    if (wanted <= td_slab_region_slots(class_index, view->bin.region))
        return td_bin_set_capacity(ops, slab, class_index, view, wanted);
    bool is_moved = td_bin_move(ops, slab, class_index, wanted);
    *view = td_bin_view(slab, class_index);
    return is_moved;
}

// Keeps objects in a bin; the middle end takes those that do not fit.
static void keep_objects(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void **objects,
                         size_t count) {
    size_t pushed = ops->push_batch(slab, class_index, objects, count);
    if (pushed < count)
        td_bin_return(slab, class_index, objects, count - pushed);
}

// How many objects to fetch for a bin without allocations to hand out.
static size_t refill_count(const struct td_bin_view *view, size_t class_index) {
    const struct td_class_info *info = &td_class_info[class_index];
    // A bin with one stack keeps room for frees.
    if (!td_class_has_two_stacks(class_index))
        return td_max(1, td_min(view->capacity / 2, info->batch));
    if (view->free_count == 0)
        return view->capacity >= info->batch ? info->batch : td_max(1, view->capacity * 3 / 4);
    // Its objects come back: more than fit into the stack of frees would be in the way, and more than its stacks
    // need to swap would only pass through the processor's cache.
    return td_max(1, td_min(view->capacity - view->free_count, info->swap_min));
}

// Asks for the periodic work at each 16th slow path: a look at the clock costs too much for every one.
static void tick(const struct td_slab *slab) {
    if (td_slab_slow_paths(slab) % 16 == 0)
        td_frontend_maintain();
}

// A slow path for want of capacity: the bin that could not grow is empty and full in turns.
static void note_cramped(struct td_slab *slab, size_t class_index, const struct td_bin_view *view) {
    if (view->capacity < td_class_info[class_index].bin_max)
        td_store_relaxed(&slab->cramped, td_load_relaxed(&slab->cramped) + 1);
}

static void *refill(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    td_store_relaxed(&slab->refills, td_load_relaxed(&slab->refills) + 1);
    struct td_bin_view view = td_bin_view(slab, class_index);
    // A bin that is empty and full in turns holds too little; one that is only ever empty needs no more than its batch,
    // and one that has some frees is not empty.
    int was_full = history_of(slab, class_index) & HISTORY_WAS_FULL;
    bool is_empty = view.free_count == 0;
    note_history(slab, class_index, HISTORY_IS_USED | (is_empty ? 0 : was_full));
    bool is_grown = ((was_full && is_empty) || view.capacity < TD_BIN_MAX) &&
                    grow_bin(ops, slab, class_index, &view, td_max(2 * view.capacity, TD_BIN_MIN));
    bool has_many_frees = view.free_count > view.capacity / 2;
    if (!is_grown && ((was_full && is_empty) || has_many_frees))
        note_cramped(slab, class_index, &view);
    // The stacks of a bin that has what it may hold swap with less: more would be turned away again.
    if (!is_grown && has_many_frees) {
        void *object = td_slab_swap_and_pop(ops, slab, class_index);
        if (object != NULL)
            return object;
    }

    void *objects[TD_BATCH_MAX + TD_BATCH_SLACK];
    size_t count = td_bin_fetch(slab, class_index, objects, refill_count(&view, class_index));
    if (count == 0)
        return td_slab_swap_and_pop(ops, slab, class_index);
    keep_objects(ops, slab, class_index, objects, count - 1);
    td_bin_swap_stacks(ops, slab, class_index, 1);
    return objects[count - 1];
}

void *td_slab_refill(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    void *object;
    if (td_bin_swap_stacks(ops, slab, class_index, td_class_info[class_index].swap_min) &&
        ops->pop_batch(slab, class_index, &object, 1) != 0)
        return object;
    object = refill(ops, slab, class_index);
    tick(slab);
    return object;
}

void *td_slab_swap_and_pop(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    void *object;
    return td_bin_take(ops, slab, class_index, &object, 1) != 0 ? object : NULL;
}

// Returns the half of the only stack that was not used for longest.
static void return_lower_half(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    void *objects[TD_BIN_MAX];
    size_t count = ops->pop_batch(slab, class_index, objects, TD_BIN_MAX);
    size_t kept = count / 2;
    td_batch_reverse(objects, kept);
    // First, so that a signal handler that interrupts the middle end finds some.
    keep_objects(ops, slab, class_index, objects, kept);
    td_bin_return(slab, class_index, objects + kept, count - kept);
}

static void flush_bin(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    void *objects[TD_BATCH_MAX];
    size_t count;
    while ((count = td_bin_take(ops, slab, class_index, objects, TD_BATCH_MAX)) != 0)
        td_bin_return(slab, class_index, objects, count);
}

// Returns whole batches of allocations, until one or less is left.
static void return_batches(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    void *objects[TD_BATCH_MAX];
    size_t count = TD_BATCH_MAX;
    while (count == TD_BATCH_MAX && td_bin_view(slab, class_index).alloc_count > TD_BATCH_MAX) {
        count = ops->pop_batch(slab, class_index, objects, TD_BATCH_MAX);
        td_bin_return(slab, class_index, objects, count);
    }
}

// Takes up to `most` allocations, but leaves `kept`. Returns how many.
static size_t take_allocations(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void **objects,
                               size_t most, size_t kept) {
    size_t count = td_bin_view(slab, class_index).alloc_count;
    return count > kept ? ops->pop_batch(slab, class_index, objects, td_min(count - kept, most)) : 0;
}

// Makes room in a bin with two stacks: what was not used for longest leaves. Returns whether nothing was allocated
// since the bin was full before: then the other objects are of no use where there are only frees, and all but a few
// leave as well. Whenever the middle end is called there are objects for a signal handler that interrupts it: the
// stacks have swapped before it gets the last ones.
static bool make_room(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index,
                      const struct td_bin_view *view, bool was_one_way) {
    bool is_one_way = view->alloc_count >= (was_one_way ? TD_BIN_MIN : view->capacity);
    return_batches(ops, slab, class_index);
    void *objects[2 * TD_BATCH_MAX];
    size_t count = take_allocations(ops, slab, class_index, objects, TD_BATCH_MAX, 0);
    td_bin_swap_stacks(ops, slab, class_index, 1);
    size_t kept = is_one_way ? TD_BIN_MIN : SIZE_MAX;
    while ((count += take_allocations(ops, slab, class_index, objects + count, 2 * TD_BATCH_MAX - count, kept)) != 0) {
        td_bin_return(slab, class_index, objects, count);
        count = 0;
    }
    return is_one_way;
}

// Whether the stacks could swap, that of frees having `least` objects, and there was room for one more then.
static bool swap_and_push(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t least,
                          void *pointer) {
    return td_bin_swap_stacks(ops, slab, class_index, least) && ops->push_batch(slab, class_index, &pointer, 1) != 0;
}

void td_slab_overflow(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void *pointer) {
    int history = history_of(slab, class_index);
    bool was_one_way = (history & HISTORY_IS_ONE_WAY) != 0;
    if (swap_and_push(ops, slab, class_index, td_class_info[class_index].swap_min, pointer))
        return;
    td_store_relaxed(&slab->flushes, td_load_relaxed(&slab->flushes) + 1);
    struct td_bin_view view = td_bin_view(slab, class_index);
    bool was_full = (history & HISTORY_WAS_FULL) != 0;
    bool is_grown = (!was_full || view.capacity < TD_BIN_MAX) &&
                    grow_bin(ops, slab, class_index, &view, td_max(2 * view.capacity, TD_BIN_MIN));
    // Nothing is in the way of a bin without allocations, that has what it may hold: it swaps with less.
    if (!is_grown && swap_and_push(ops, slab, class_index, 1, pointer))
        return;
    if (!is_grown && !was_full)
        note_cramped(slab, class_index, &view);
    bool is_one_way = false;
    if (!is_grown && td_class_has_two_stacks(class_index))
        is_one_way = make_room(ops, slab, class_index, &view, was_one_way);
    else if (!is_grown)
        return_lower_half(ops, slab, class_index);
    note_history(slab, class_index, HISTORY_IS_USED | HISTORY_WAS_FULL | (is_one_way ? HISTORY_IS_ONE_WAY : 0));
    keep_objects(ops, slab, class_index, &pointer, 1);
    tick(slab);
}

void td_slab_flush(const struct td_slab_ops *ops, struct td_slab *slab) {
    // Most bins of most threads were never used.
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        if (td_load_relaxed(&slab->bins[i].shape) != 0)
            flush_bin(ops, slab, i);
}

void td_slab_reset(struct td_slab *slab) {
    td_slab_flush(&td_slab_plain_ops, slab);
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        slab->bins[i].free_room = 0;
    memset(slab->history, 0, sizeof slab->history);
    slab->hand = 0;
    slab->capacity_bytes = 0;
    slab->balance_bytes = 0;
}

bool td_slab_was_freed_last(const struct td_slab *slab, size_t class_index, const void *pointer) {
    size_t top = (uint16_t)td_load_acquire(&slab->bins[class_index].free_half);
    return td_link_object(((const td_link *)&slab->bins[class_index])[top]) == pointer;
}

size_t td_slab_cached_bytes(const struct td_slab *slab) {
    size_t bytes = 0;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        struct td_bin_view view = td_bin_view(slab, i);
        bytes += (view.alloc_count + view.free_count) * td_class_info[i].object_bytes;
    }
    return bytes;
}

// A number that changes, almost certainly, when the slab is used: but for a push and a pop of one object.
static uint64_t activity(const struct td_slab *slab) {
    uint64_t mix = td_slab_slow_paths(slab);
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        struct td_slab_bin bin = td_slab_load_bin(slab, i);
        mix = (mix ^ bin.alloc ^ (uint64_t)bin.free_half << 32) * 0x9e3779b97f4a7c15u;
    }
    return mix;
}

bool td_slab_becomes_idle(struct td_slab *slab) {
    uint64_t now = activity(slab);
    slab->idle_ticks = now == slab->activity_seen ? slab->idle_ticks + 1 : 0;
    slab->activity_seen = now;
    if (slab->idle_ticks < TD_IDLE_TICKS)
        return false;
    slab->idle_ticks = 0;
    return true;
}

void *td_slab_alloc_uncached(size_t class_index, bool is_checked) {
    void *objects[1 + TD_BATCH_SLACK];
    size_t count =
        is_checked ? td_middle_fetch_checked(class_index, objects, 1) : td_middle_fetch(class_index, objects, 1);
    if (count == 0)
        return NULL;
    if (count > 1)
        td_middle_return_checked(class_index, objects, count - 1);
    return objects[count - 1];
}

void td_slab_free_uncached(size_t class_index, void *pointer, bool is_checked) {
    if (is_checked)
        td_middle_return_checked(class_index, &pointer, 1);
    else
        td_middle_return(class_index, &pointer, 1);
}

void td_slab_add_stats(const struct td_slab *slab, struct td_frontend_stats *stats) {
    stats->slabs++;
    stats->cached_bytes += td_slab_cached_bytes(slab);
    stats->refills += td_load_relaxed(&slab->refills);
    stats->flushes += td_load_relaxed(&slab->flushes);
}

void *td_slab_alloc_drained(size_t class_index) {
    td_frontend_drain();
    return td_slab_alloc_uncached(class_index, false);
}

void *td_slab_alloc_failed(size_t size, enum td_on_failure on_failure) {
    if (on_failure == TD_THROW)
        return td_new_failed(size);
    errno = ENOMEM;
    return NULL;
}
