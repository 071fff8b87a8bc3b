// Objects above `TD_MAX_SMALL_BYTES`: spans up to half a segment, runs of segments above. Sizes are in bytes.
#ifndef BACKEND_LARGE_H_
#define BACKEND_LARGE_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// An object of at least `size` (up to PTRDIFF_MAX) at a multiple of `alignment` (a power of two); NULL with errno
// ENOMEM if there is no memory. `*is_zero` tells whether it reads as zeros. Takes the backend's lock.
void *td_large_alloc(size_t size, size_t alignment, bool *is_zero);

// Aborts with the proper message if `pointer` is not the start of a large object in use; so do all below.
// `call` is what the program called, for the message.
void td_large_free(void *pointer, const char *call);

// What the object can hold.
size_t td_large_usable_bytes(const void *pointer, const char *call);

// Makes the object hold `size` without copying: in place, or by moving its pages. Returns where it is now; NULL, and
// nothing has changed, if that is not possible (it may be possible with a copy).
void *td_large_resize(void *pointer, size_t size);

// Ends the process with the message that fits a pointer that is not the start of an object in use: double free,
// interior, or foreign.
_Noreturn void td_large_report(const void *pointer, const char *call);

#pragma GCC visibility pop

#endif  // BACKEND_LARGE_H_
