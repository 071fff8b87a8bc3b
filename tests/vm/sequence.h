// Whether a signal has interrupted a restartable sequence of this program.
#ifndef TESTS_VM_SEQUENCE_H_
#define TESTS_VM_SEQUENCE_H_

#include <stdbool.h>
#include <ucontext.h>

// Whether this program has descriptors of restartable sequences of its own (linked in, not in a shared library).
bool sequence_is_known(void);

// To be called in a signal handler with its third argument. When the kernel interrupts a sequence, it has the thread go
// on at the sequence's abort address; so that is where the context points.
bool sequence_was_interrupted(const ucontext_t *context);

#endif  // TESTS_VM_SEQUENCE_H_
