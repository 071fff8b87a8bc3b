// The transfer caches: for each class, batches on their way from one slab to another.
//
// A producer on one CPU and a consumer on another meet here, and not in the spans. How many batches a lane may hold
// follows the demand: it grows when a batch is missing that was turned away before, and what lies unused from one
// maintenance to the next leaves.
//
// A class has a lane for every TD_CPUS_PER_LANE CPUs: a stack of batches with objects and one of empty batches. A
// thread that has objects leaves them in the lane of the CPU that it runs on, and one that needs some looks there first
// and then into the other lanes. No lock is needed: a batch is taken off its stack before anything in it is read or
// written, and its objects are copied while it belongs to one thread alone. (To make a batch takes TD_RANK_TRANSFER's.)
#ifndef MIDDLE_TRANSFER_CACHE_H_
#define MIDDLE_TRANSFER_CACHE_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// Takes up to `count` objects. Returns how many, 0 if nothing was found.
size_t td_transfer_fetch(size_t class_index, void **objects, size_t count);

// Keeps the objects, one batch at most. False, and nothing has changed, if the lane is full.
bool td_transfer_insert(size_t class_index, void *const *objects, size_t count);

// Takes one batch (at most `TD_BATCH_MAX` objects) that was not needed since the last `td_transfer_begin_period`, or,
// with `all`, any. Returns its length, 0 if there is none.
size_t td_transfer_take_idle(size_t class_index, void **objects, bool all);
void td_transfer_begin_period(size_t class_index);

struct td_transfer_stats {
    size_t objects;   // exact while no thread changes the caches
    uint64_t hits;    // fetches that found something
    uint64_t misses;  // fetches that did not
};
void td_transfer_get_stats(size_t class_index, struct td_transfer_stats *stats);

#pragma GCC visibility pop

#endif  // MIDDLE_TRANSFER_CACHE_H_
