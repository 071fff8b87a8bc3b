#ifndef TESTS_PROCESS_FORK_HANDLERS_H_
#define TESTS_PROCESS_FORK_HANDLERS_H_

// What a library does between these two, its fork handlers wait for.
void guarded_begin(void);
void guarded_end(void);

#endif  // TESTS_PROCESS_FORK_HANDLERS_H_
