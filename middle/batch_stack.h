// Stacks of batches that any number of threads may push to and pop from without a lock.
//
// A batch is named by a number, and never freed. A stack is one word:
//
//        63                            32 31              20 19                          0
//       +--------------------------------+------------------+-----------------------------+
//       |  pops since the start, modulo  |      height      | number of the batch on top  |
//       +--------------------------------+------------------+-----------------------------+
//
// A pop reads which batch is below the one on top, and by the time that it replaces the word other threads may have
// popped that one and pushed it back onto another: the count of pops then differs. (It would have to come around in
// full meanwhile: four thousand million pops while one thread is at its few instructions.)
#ifndef MIDDLE_BATCH_STACK_H_
#define MIDDLE_BATCH_STACK_H_

#include "base/atomic.h"
#include "base/config.h"

#pragma GCC visibility push(hidden)

struct td_batch {
    uint32_t number;  // immutable; from 1 on
    uint32_t below;   // atomic, the pushing thread writes; the number of the batch below, 0 if there is none
    uint32_t count;   // atomic, the thread that has popped it writes
    void *objects[TD_BATCH_MAX];  // of the thread that has popped it
} TD_ALIGNED(TD_CACHE_LINE);

typedef uint64_t td_batch_stack;  // atomic, any thread; 0 if empty

// How many batches the stack has. It may be wrong, and stay so until the stack is empty, once it was above 4,095.
size_t td_batch_stack_height(const td_batch_stack *stack);

// The batch on top, NULL if there is none. It may be popped by others: see `struct td_batch`.
const struct td_batch *td_batch_stack_top(const td_batch_stack *stack);

struct td_batch *td_batch_stack_pop(td_batch_stack *stack);
void td_batch_stack_push(td_batch_stack *stack, struct td_batch *batch);

// Objects in all batches; exact while no thread changes the stack.
size_t td_batch_stack_objects(const td_batch_stack *stack);

// A batch that is in no stack, without objects. NULL if there is no memory. Takes TD_RANK_TRANSFER's lock.
struct td_batch *td_batch_new(void);

// What a forked child may miss is the batches that other threads had taken off their stacks.
void td_batch_fork_prepare(void);
void td_batch_fork_done(void);

#pragma GCC visibility pop

#endif  // MIDDLE_BATCH_STACK_H_
