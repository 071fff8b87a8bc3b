// What happens once in a process.
#ifndef ALLOCATOR_PROCESS_H_
#define ALLOCATOR_PROCESS_H_

#pragma GCC visibility push(hidden)

// Makes fork(2) leave the child a whole heap. The first call does it.
//
// Handlers run before fork in the reverse order of their registration, and these must run last: from then on every
// other thread that allocates waits, and whatever another library's handler waits for may be held by one.
void td_process_register_fork_handlers(void);

#pragma GCC visibility pop

#endif  // ALLOCATOR_PROCESS_H_
