// Memory for Tandem's own descriptors and tables. It is never given back, only recycled by whoever owns it.
#ifndef BACKEND_METADATA_H_
#define BACKEND_METADATA_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// `bytes` of zeroed memory at a multiple of `alignment` (a power of two up to the OS page), or NULL. Untouched by
// Tandem, so that what its owner does not use costs address space only. Takes the metadata lock.
void *td_metadata_alloc(size_t bytes, size_t alignment);

// Bytes mapped so far. Statistic.
size_t td_metadata_bytes(void);

void td_metadata_fork_prepare(void);
void td_metadata_fork_done(void);

#pragma GCC visibility pop

#endif  // BACKEND_METADATA_H_
