#include "middle/transfer_cache.h"

#include <string.h>

#include "backend/metadata.h"
#include "base/lock.h"
#include "base/minmax.h"
#include "base/size_class.h"

// Room for one batch of the class. All batches but the topmost are full.
struct batch {
    struct batch *next;
    size_t count;
    void *objects[];
};

struct transfer_cache {
    struct td_lock lock;
    uint32_t batches;      // guarded by lock; length of `full`
    uint32_t batch_limit;  // guarded by lock; 0 until the first insertion
    uint32_t low_water;    // guarded by lock; the fewest `batches` since the period began
    uint32_t turned_away;  // guarded by lock; batches that found the cache full since it last was found empty
    struct batch *full;    // guarded by lock; the topmost is the one used last
    struct batch *spare;   // guarded by lock; batches without objects
    size_t objects;        // guarded by lock
    uint64_t hits;         // guarded by lock
    uint64_t misses;       // guarded by lock
} TD_ALIGNED(TD_CACHE_LINE);

static struct transfer_cache caches[TD_CLASS_COUNT];

static void cache_lock(struct transfer_cache *cache) {
    td_lock_acquire(&cache->lock, TD_RANK_TRANSFER);
}

static void cache_unlock(struct transfer_cache *cache) {
    td_lock_release(&cache->lock, TD_RANK_TRANSFER);
}

// Takes the last `count` objects of the topmost batch.
static size_t take_from_top(struct transfer_cache *cache, void **objects, size_t count) {
    struct batch *top = cache->full;
    count = td_min(count, top->count);
    top->count -= count;
    cache->objects -= count;
    memcpy(objects, top->objects + top->count, count * sizeof *objects);
    if (top->count == 0) {
        cache->full = top->next;
        cache->batches--;
        top->next = cache->spare;
        cache->spare = top;
        if (cache->batches < cache->low_water)
            cache->low_water = cache->batches;
    }
    return count;
}

static void grow_on_demand(struct transfer_cache *cache, const struct td_class_info *info) {
    if (cache->turned_away != 0 && cache->batch_limit < info->transfer_max) {
        cache->batch_limit *= 2;
        if (cache->batch_limit > info->transfer_max)
            cache->batch_limit = info->transfer_max;
    }
    cache->turned_away = 0;
}

size_t td_transfer_fetch(size_t class_index, void **objects, size_t count) {
    struct transfer_cache *cache = &caches[class_index];
    size_t taken = 0;
    cache_lock(cache);
    while (taken < count && cache->full != NULL)
        taken += take_from_top(cache, objects + taken, count - taken);
    if (taken != 0) {
        cache->hits++;
    } else {
        cache->misses++;
        grow_on_demand(cache, &td_class_info[class_index]);
    }
    cache_unlock(cache);
    return taken;
}

enum insert_result { INSERT_KEPT, INSERT_FULL, INSERT_NEEDS_BATCH };

// Puts a spare batch on top of the stack if the limit allows.
static enum insert_result push_batch(struct transfer_cache *cache) {
    if (cache->batch_limit == 0)
        cache->batch_limit = TD_TRANSFER_BATCHES_MIN;
    if (cache->batches >= cache->batch_limit) {
        cache->turned_away++;
        return INSERT_FULL;
    }
    struct batch *batch = cache->spare;
    if (batch == NULL)
        return INSERT_NEEDS_BATCH;
    cache->spare = batch->next;
    batch->count = 0;
    batch->next = cache->full;
    cache->full = batch;
    cache->batches++;
    return INSERT_KEPT;
}

static void append(struct transfer_cache *cache, struct batch *batch, void *const *objects, size_t count) {
    memcpy(batch->objects + batch->count, objects, count * sizeof *objects);
    batch->count += count;
    cache->objects += count;
}

// Fills the topmost batch up, and puts the rest into one more.
static enum insert_result insert_locked(struct transfer_cache *cache, size_t batch_objects, void *const *objects,
                                        size_t count) {
    struct batch *top = cache->full;
    size_t room = top != NULL ? batch_objects - top->count : 0;
    size_t fill = td_min(count, room);
    if (fill < count) {
        enum insert_result result = push_batch(cache);
        if (result != INSERT_KEPT)
            return result;
        append(cache, cache->full, objects + fill, count - fill);
    }
    if (fill != 0)
        append(cache, top, objects, fill);
    return INSERT_KEPT;
}

static bool add_spare_batch(struct transfer_cache *cache, size_t batch_objects) {
    struct batch *batch = td_metadata_alloc(sizeof *batch + batch_objects * sizeof batch->objects[0], sizeof(void *));
    if (batch == NULL)
        return false;
    cache_lock(cache);
    batch->next = cache->spare;
    cache->spare = batch;
    cache_unlock(cache);
    return true;
}

bool td_transfer_insert(size_t class_index, void *const *objects, size_t count) {
    size_t batch_objects = td_class_info[class_index].batch;
    struct transfer_cache *cache = &caches[class_index];
    for (;;) {
        cache_lock(cache);
        enum insert_result result = insert_locked(cache, batch_objects, objects, count);
        cache_unlock(cache);
        if (result != INSERT_NEEDS_BATCH)
            return result == INSERT_KEPT;
        if (!add_spare_batch(cache, batch_objects))
            return false;
    }
}

size_t td_transfer_take_idle(size_t class_index, void **objects, bool all) {
    struct transfer_cache *cache = &caches[class_index];
    size_t taken = 0;
    cache_lock(cache);
    if (cache->full != NULL && (all || cache->low_water != 0)) {
        uint32_t left_idle = cache->low_water != 0 ? cache->low_water - 1 : 0;
        taken = take_from_top(cache, objects, TD_BATCH_MAX);
        cache->low_water = left_idle;
    }
    cache_unlock(cache);
    return taken;
}

void td_transfer_begin_period(size_t class_index) {
    struct transfer_cache *cache = &caches[class_index];
    cache_lock(cache);
    cache->low_water = cache->batches;
    cache_unlock(cache);
}

void td_transfer_get_stats(size_t class_index, struct td_transfer_stats *stats) {
    struct transfer_cache *cache = &caches[class_index];
    cache_lock(cache);
    *stats = (struct td_transfer_stats){cache->objects, cache->hits, cache->misses};
    cache_unlock(cache);
}

void td_transfer_fork_prepare(void) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        td_lock_acquire(&caches[i].lock, TD_RANK_TRANSFER);
}

void td_transfer_fork_done(void) {
    for (size_t i = TD_CLASS_COUNT - 1; i >= 1; i--)
        td_lock_release(&caches[i].lock, TD_RANK_TRANSFER);
}
