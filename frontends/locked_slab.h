// Locked slabs: one for each CPU, changed behind a lock, for threads that have no other: no registered rseq area with
// the per-CPU front end, too few calls so far with the per-thread one.
#ifndef FRONTENDS_LOCKED_SLAB_H_
#define FRONTENDS_LOCKED_SLAB_H_

#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

extern const struct td_slab_ops td_locked_slab_ops;

// The slab of the CPU that the caller runs on, or ran on a moment ago; made if it is not there. NULL if there is no
// memory for it, or the caller is between the calls for fork below.
struct td_slab *td_locked_slab_of_cpu(void);

struct td_object {
    size_t class_index;
    void *pointer;
};

// An object of the class, or NULL if there is no memory.
void *td_locked_slab_alloc(struct td_slab *slab, size_t class_index);
// Takes back an object of the class.
void td_locked_slab_free(struct td_slab *slab, size_t class_index, void *pointer);

// Takes back several objects, of any classes. Changes the array.
void td_locked_slab_free_all(struct td_slab *slab, struct td_object *objects, size_t count);

// Return the objects of all locked slabs to the middle end, or those of slabs that lay unused. The latter is to be
// called once at each tick, by a caller that holds the maintenance lock.
void td_locked_slabs_drain(void);
void td_locked_slabs_drain_idle(void);

void td_locked_slabs_add_stats(struct td_frontend_stats *stats);

// Between these calls the calling thread holds the locks of all of them.
void td_locked_slabs_fork_prepare(void);
void td_locked_slabs_fork_done(void);

#pragma GCC visibility pop

#endif  // FRONTENDS_LOCKED_SLAB_H_
