// A thread of the stress: makes, verifies, resizes, hands over and frees objects, while a timer of its own sends it
// signals whose handler does the same, and while it changes the CPUs that it may use.
#ifndef TESTS_VM_WORKER_H_
#define TESTS_VM_WORKER_H_

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "tests/vm/object.h"
#include "tests/vm/random.h"

enum { WORKER_OBJECTS = 256, HANDLER_OBJECTS = 8 };

// What happened to one worker. Atomic, owner writes: the worker, and its handler for the second half.
struct worker_counts {
    uint64_t operations;        // calls of the allocator
    uint64_t affinity_changes;  // of its own
    uint64_t flushes;
    uint64_t releases;
    uint64_t handler_operations;
    uint64_t signals;
    uint64_t signals_in_sequences;  // that interrupted a restartable sequence
    uint64_t signals_in_allocator;  // that interrupted another part of the allocator: the handler leaves it alone
};

struct worker {
    unsigned owner;              // its number, from 1 on; immutable while it runs, as are the next three
    bool is_dense;               // whether its round is the dense one
    uint64_t goal;               // operations to do
    uint64_t steps_per_signal;   // at least so many steps from one signal to the next
    pthread_t thread;            // main thread's
    pid_t tid;                   // atomic, owner writes; 0 before it runs and after
    const char *volatile *call;  // its `allocator_call`, valid while `tid` is not 0
    struct worker_counts counts;

    // Owner only.
    struct random random;
    uint64_t last_number;
    timer_t timer;
    volatile bool signal_is_due;  // cleared by the handler
    struct object objects[WORKER_OBJECTS];

    // Its signal handler's only.
    struct random handler_random;
    uint64_t handler_last_number;
    struct object handler_objects[HANDLER_OBJECTS];
} __attribute__((aligned(64)));

// Installs the signal handler. Before any worker starts.
void worker_init_process(void);

// Starts the worker's thread, whose objects and counts are all zeros, `is_dense` set. `worker_join` waits for its end.
void worker_start(struct worker *worker, unsigned owner, uint64_t goal, uint64_t steps_per_signal, uint64_t seed);
void worker_join(struct worker *worker);

bool worker_is_running(const struct worker *worker);

#endif  // TESTS_VM_WORKER_H_
