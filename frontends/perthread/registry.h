// The slabs of the per-thread front end: those that threads have; warm ones, which threads that exited have left with
// their objects for the next threads; and spare ones, which are empty.
#ifndef FRONTENDS_PERTHREAD_REGISTRY_H_
#define FRONTENDS_PERTHREAD_REGISTRY_H_

#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

// To be called once, before anything else here.
void td_registry_init(size_t cpus);

// A slab for the calling thread alone: a warm one if there is one, else one without objects and budget. NULL if there
// is no memory or, with `only_if_few`, if more than a few threads would have one then.
struct td_slab *td_registry_take(bool only_if_few);
// Takes a thread's slab back, empty.
void td_registry_retire(struct td_slab *slab);
// Takes the slab of a thread that exits back: with its objects unless there is enough that is warm.
void td_registry_leave(struct td_slab *slab);

// Whether `td_registry_take(true)` would find none, as far as can be seen without the lock. Takes no lock.
bool td_registry_is_crowded(void);

// Empties warm slabs: all of them, or those that lay so for TD_IDLE_TICKS. The latter is to be called once at each
// tick, by a caller that holds the maintenance lock.
void td_registry_drain(void);
void td_registry_drain_idle(void);

void td_registry_add_stats(struct td_frontend_stats *stats);

// Between the first call and one of the others the calling thread holds the registry's lock. In the child only the
// thread with `own` is left: all other threads' slabs are emptied, and what budgets count begins anew, with `threads`.
void td_registry_fork_prepare(void);
void td_registry_fork_parent(void);
void td_registry_fork_child(struct td_slab *own, size_t threads);

#pragma GCC visibility pop

#endif  // FRONTENDS_PERTHREAD_REGISTRY_H_
