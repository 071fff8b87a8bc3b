#include "middle/transfer_cache.h"

#include <string.h>

#include "base/atomic.h"
#include "base/cpu.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "middle/batch_stack.h"

// The two stacks lie in one line: most calls change both. All batches of a class but a few have as many objects as one
// may have.
struct lane {
    td_batch_stack full;   // batches with objects; the topmost is the one used last
    td_batch_stack spare;  // batches without
    uint32_t limit;        // atomic, any thread; what `full` may hold, in batches; 0 until it was raised
    uint32_t low_water;    // a hint; the fewest batches in `full` since the period began
    uint32_t turned_away;  // a hint; whether a batch found the lane full since a fetch last found nothing
    uint64_t hits;         // statistic
    uint64_t misses;       // statistic
} TD_ALIGNED(TD_CACHE_LINE);

static struct lane lanes[TD_LANES][TD_CLASS_COUNT];
static uint32_t used_lanes;  // atomic, any thread; a bit for each lane that something was put into

// The number of the lane of the CPU that the caller happens to run on.
static size_t lane_here(void) {
    return td_current_cpu() / TD_CPUS_PER_LANE % TD_LANES;
}

// Whether there is a further lane, from `*number` on and around to it; calls that begin with all of them in `*left` see
// each used one once.
static bool next_lane(uint32_t *left, size_t *number) {
    if (*left == 0)
        return false;
    uint32_t behind = *left >> *number << *number;
    *number = (size_t)__builtin_ctz(behind != 0 ? behind : *left);
    *left &= ~((uint32_t)1 << *number);
    return true;
}

static void note_used(size_t number) {
    uint32_t bit = (uint32_t)1 << number;
    if (td_unlikely((td_load_relaxed(&used_lanes) & bit) == 0))
        td_or_relaxed(&used_lanes, bit);
}

static void note_low_water(struct lane *lane) {
    uint32_t height = (uint32_t)td_batch_stack_height(&lane->full);
    if (height < td_load_relaxed(&lane->low_water))
        td_store_relaxed(&lane->low_water, height);
}

// Takes the last `count` objects of a batch that the caller has popped.
static size_t take_from_batch(struct td_batch *batch, void **objects, size_t count) {
    size_t left = td_load_relaxed(&batch->count);
    count = td_min(count, left);
    left -= count;
    memcpy(objects, batch->objects + left, count * sizeof *objects);
    td_store_relaxed(&batch->count, (uint32_t)left);
    return count;
}

// Half of what is wanted is enough: to get the rest a further batch would be broken, and so would each one after it.
static size_t fetch_from(struct lane *lane, void **objects, size_t count) {
    size_t taken = 0;
    struct td_batch *batch;
    while (2 * taken < count && (batch = td_batch_stack_pop(&lane->full)) != NULL) {
        taken += take_from_batch(batch, objects + taken, count - taken);
        if (td_load_relaxed(&batch->count) != 0) {
            td_batch_stack_push(&lane->full, batch);
        } else {
            td_batch_stack_push(&lane->spare, batch);
            note_low_water(lane);
        }
    }
    return taken;
}

static void grow_on_demand(size_t class_index) {
    uint32_t left = td_load_relaxed(&used_lanes);
    for (size_t number = 0; next_lane(&left, &number);) {
        struct lane *lane = &lanes[number][class_index];
        uint32_t limit = td_load_relaxed(&lane->limit);
        uint32_t most = td_class_info[class_index].transfer_max;
        if (td_load_relaxed(&lane->turned_away) == 0)
            continue;
        td_store_relaxed(&lane->turned_away, 0);
        if (limit < most)
            td_store_relaxed(&lane->limit, (uint32_t)td_min(2 * limit, most));
    }
}

size_t td_transfer_fetch(size_t class_index, void **objects, size_t count) {
    uint32_t left = td_load_relaxed(&used_lanes);
    size_t number = lane_here(), taken = 0;
    struct lane *here = &lanes[number][class_index];
    while (2 * taken < count && next_lane(&left, &number))
        taken += fetch_from(&lanes[number][class_index], objects + taken, count - taken);
    if (td_likely(taken != 0)) {
        td_add_relaxed(&here->hits, 1);
    } else {
        td_add_relaxed(&here->misses, 1);
        grow_on_demand(class_index);
    }
    return taken;
}

// The batch on top if it has room, popped; else NULL.
static struct td_batch *pop_with_room(struct lane *lane, size_t batch_objects) {
    const struct td_batch *top = td_batch_stack_top(&lane->full);
    if (top == NULL || td_load_relaxed(&top->count) >= batch_objects)
        return NULL;
    return td_batch_stack_pop(&lane->full);
}

// A batch for objects, if the limit allows one more.
static struct td_batch *take_spare(struct lane *lane) {
    if (td_load_relaxed(&lane->limit) == 0)
        td_store_relaxed(&lane->limit, TD_TRANSFER_BATCHES_MIN);
    if (td_batch_stack_height(&lane->full) >= td_load_relaxed(&lane->limit)) {
        td_store_relaxed(&lane->turned_away, 1);
        return NULL;
    }
    struct td_batch *batch = td_batch_stack_pop(&lane->spare);
    return batch != NULL ? batch : td_batch_new();
}

static void append(struct td_batch *batch, void *const *objects, size_t count) {
    size_t old = td_load_relaxed(&batch->count);
    memcpy(batch->objects + old, objects, count * sizeof *objects);
    td_store_relaxed(&batch->count, (uint32_t)(old + count));
}

// Fills the topmost batch up, and puts the rest into one more.
bool td_transfer_insert(size_t class_index, void *const *objects, size_t count) {
    size_t number = lane_here(), batch_objects = td_class_info[class_index].batch;
    struct lane *lane = &lanes[number][class_index];
    note_used(number);
    struct td_batch *top = count < batch_objects ? pop_with_room(lane, batch_objects) : NULL;
    // One that others popped, filled and pushed before it was popped here has no room.
    size_t fill = top != NULL ? td_min(count, batch_objects - td_load_relaxed(&top->count)) : 0;
    struct td_batch *more = fill < count ? take_spare(lane) : NULL;
    bool is_kept = fill == count || more != NULL;
    if (top != NULL) {
        if (is_kept)
            append(top, objects, fill);
        td_batch_stack_push(&lane->full, top);
    }
    if (more != NULL) {
        append(more, objects + fill, count - fill);
        td_batch_stack_push(&lane->full, more);
    }
    return is_kept;
}

static size_t take_idle_from(struct lane *lane, void **objects, bool all) {
    uint32_t low_water = td_load_relaxed(&lane->low_water);
    if (!all && low_water == 0)
        return 0;
    struct td_batch *batch = td_batch_stack_pop(&lane->full);
    if (batch == NULL)
        return 0;
    size_t taken = take_from_batch(batch, objects, TD_BATCH_MAX);
    td_batch_stack_push(&lane->spare, batch);
    td_store_relaxed(&lane->low_water, low_water != 0 ? low_water - 1 : 0);
    return taken;
}

size_t td_transfer_take_idle(size_t class_index, void **objects, bool all) {
    uint32_t left = td_load_relaxed(&used_lanes);
    size_t taken = 0;
    for (size_t number = 0; taken == 0 && next_lane(&left, &number);)
        taken = take_idle_from(&lanes[number][class_index], objects, all);
    return taken;
}

void td_transfer_begin_period(size_t class_index) {
    uint32_t left = td_load_relaxed(&used_lanes);
    for (size_t number = 0; next_lane(&left, &number);) {
        struct lane *lane = &lanes[number][class_index];
        td_store_relaxed(&lane->low_water, (uint32_t)td_batch_stack_height(&lane->full));
    }
}

void td_transfer_get_stats(size_t class_index, struct td_transfer_stats *stats) {
    *stats = (struct td_transfer_stats){0};
    for (size_t number = 0; number < TD_LANES; number++) {
        const struct lane *lane = &lanes[number][class_index];
        stats->objects += td_batch_stack_objects(&lane->full);
        stats->hits += td_load_relaxed(&lane->hits);
        stats->misses += td_load_relaxed(&lane->misses);
    }
}
