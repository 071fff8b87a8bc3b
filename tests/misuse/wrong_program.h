// Programs that misuse the heap, one wrong call each. `misuse_test.cc` runs every one of them as a process of its own.
//
//     WRONG_PROGRAM(double_free_at_once) {
//         void *object = misuse::allocate(48);
//         free(object);
//         misuse::expect("double free of %p (%zu-byte object)", object, size);   // printed, for the test to compare
//         free(object);                                                           // the wrong call
//     }
//
// A program that is still alive after that says so, and gives back whatever is cached, so that a wrong object leaves
// the front end's cache and must be found at last.
#ifndef TESTS_MISUSE_WRONG_PROGRAM_H_
#define TESTS_MISUSE_WRONG_PROGRAM_H_

#include <cstddef>
#include <cstdint>

namespace misuse {

// An object that is written to, and that the compiler knows nothing about.
void *allocate(size_t size);

// Says what the next call is expected to print: one line, without "tandem: ". Several lines are alternatives.
void expect(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Says that the wrong call returned.
void survived();

// Empties this thread's cache and all that can be emptied from outside.
void drain();

}  // namespace misuse

// Every program is a role of the test's own binary (tests/process/child.h).
#define WRONG_PROGRAM(name)                                                                                            \
    static void wrong_program_##name();                                                                                \
    CHILD_ROLE(name) {                                                                                                 \
        wrong_program_##name();                                                                                        \
        misuse::survived();                                                                                            \
        misuse::drain();                                                                                               \
        return 0;                                                                                                      \
    }                                                                                                                  \
    static void wrong_program_##name()

#endif  // TESTS_MISUSE_WRONG_PROGRAM_H_
