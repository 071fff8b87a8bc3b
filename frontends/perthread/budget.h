// What the threads' caches may hold: each slab has a budget. The sum of all budgets is bounded, by
// TD_THREAD_BUDGETS_PER_CPU_BYTES; but each thread may have its share of that, and no less than
// TD_SLAB_BUDGET_MIN_BYTES, and few threads may have as much as CPUs have.
//
// A budget of more than TD_SLAB_BUDGET_SMALL_BYTES needs a reason. Either much is in use: the program's spans of small
// objects take TD_MUCH_IN_USE_TIMES what all slabs would have then, those included that exited threads have left, or
// the slab's balance is TD_MUCH_IN_USE_TIMES the new budget away from 0. Or the budget is too small for a bin's first
// slots, as where a thread allocates and frees one large object after the other: one of TD_UNSERVED_SHARE slow paths or
// more, swaps included, was for want of them. Or bins are empty and full in turns, as where a thread keeps little, but
// of many sizes: such slow paths each justify TD_CRAMPED_EARNS_BYTES, if there are TD_CRAMPED_PER_MS or more.
#ifndef FRONTENDS_PERTHREAD_BUDGET_H_
#define FRONTENDS_PERTHREAD_BUDGET_H_

#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

// To be called once, before anything else here.
void td_budget_init(size_t cpus);

// Threads that have called and are not exiting.
void td_budget_add_thread(void);
void td_budget_remove_thread(void);

// Whether so many threads are few.
bool td_budget_are_few(size_t threads);

// Gives a slab that has no budget the one that a thread begins with.
void td_budget_begin(struct td_slab *slab);
// Doubles the budget of a slab that uses half of it, or whose bin of the class could not have its first slots, as far
// as the slab has earned it by slow paths, and all that there is, or this slab's share of it, or that threads are few,
// allows. Beyond a small one by the rule above.
void td_budget_claim(struct td_slab *slab, size_t class_index);
// Takes the slab's budget away.
void td_budget_end(struct td_slab *slab);

// In the child of a fork: one thread, which has called or not, and slabs with `claimed_bytes` of budgets are left.
void td_budget_fork_child(size_t threads, size_t claimed_bytes);

#pragma GCC visibility pop

#endif  // FRONTENDS_PERTHREAD_BUDGET_H_
