// The transfer caches: for each class, a stack of batches on their way from one slab to another.
//
// A producer on one CPU and a consumer on another meet here, and not in the spans. How many batches a class may keep
// follows the demand: it grows when a batch is missing that was turned away before, and what lies unused from one
// maintenance to the next leaves.
#ifndef MIDDLE_TRANSFER_CACHE_H_
#define MIDDLE_TRANSFER_CACHE_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// Takes up to `count` objects. Returns how many, 0 if the cache is empty. Takes the class's lock.
size_t td_transfer_fetch(size_t class_index, void **objects, size_t count);

// Keeps the objects. False, and nothing has changed, if the cache is full. Takes the class's lock.
bool td_transfer_insert(size_t class_index, void *const *objects, size_t count);

// Takes one batch (at most `TD_BATCH_MAX` objects) that was not needed since the last `td_transfer_begin_period`, or,
// with `all`, any. Returns its length, 0 if there is none.
size_t td_transfer_take_idle(size_t class_index, void **objects, bool all);
void td_transfer_begin_period(size_t class_index);

struct td_transfer_stats {
    size_t objects;
    uint64_t hits;    // fetches that found something
    uint64_t misses;  // fetches that did not
};
void td_transfer_get_stats(size_t class_index, struct td_transfer_stats *stats);

void td_transfer_fork_prepare(void);
void td_transfer_fork_done(void);

#pragma GCC visibility pop

#endif  // MIDDLE_TRANSFER_CACHE_H_
