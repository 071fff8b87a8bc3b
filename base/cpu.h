// The CPU that the caller runs on, as a hint.
#ifndef BASE_CPU_H_
#define BASE_CPU_H_

#include <stddef.h>

#pragma GCC visibility push(hidden)

// What sched_getcpu(3) says, or 0 where that fails. Keeps errno. The thread may be elsewhere by the time this returns.
size_t td_current_cpu(void);

#pragma GCC visibility pop

#endif  // BASE_CPU_H_
