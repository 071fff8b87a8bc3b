// What the first process of a machine has to do that has no other program.
#ifndef TESTS_VM_INIT_H_
#define TESTS_VM_INIT_H_

// If the caller is process 1: mounts /proc and /sys, runs what follows in a child, reports how that ended and switches
// the machine off. Returns in the child, and at once in a process that is not the first.
void init_run_in_child(void);

#endif  // TESTS_VM_INIT_H_
