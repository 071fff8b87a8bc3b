// How the stress says what it found: one line, at once, without allocating.
#ifndef TESTS_VM_VERDICT_H_
#define TESTS_VM_VERDICT_H_

// Prints one line, "stress: " and the text, with a single write(2).
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

// Prints "stress: FAILED: " and the text, and ends the process with status 1. Any thread, any signal handler.
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);

#endif  // TESTS_VM_VERDICT_H_
