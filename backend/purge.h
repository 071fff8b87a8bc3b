// Giving memory back to the operating system.
#ifndef BACKEND_PURGE_H_
#define BACKEND_PURGE_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// Bytes given back since the start. Statistic.
size_t td_purge_total_bytes(void);

// Bytes that are free, may be resident, and go back if nothing is refused. The lock is held.
size_t td_purge_purgeable_bytes(void);

#pragma GCC visibility pop

#endif  // BACKEND_PURGE_H_
