// Which CPUs threads may run on, changed at random.
#ifndef TESTS_VM_AFFINITY_H_
#define TESTS_VM_AFFINITY_H_

#include <sys/types.h>

#include "tests/vm/random.h"

// Finds out the CPUs that this process may use and returns their number. Before any other function of this header.
unsigned affinity_init(void);

// Confines thread `tid` (0: the caller) to a random choice of those CPUs: one, several or all. A thread that has just
// ended is no error.
void affinity_shuffle(pid_t tid, struct random *random);

#endif  // TESTS_VM_AFFINITY_H_
