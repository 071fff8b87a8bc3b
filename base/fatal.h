// The end of a process whose heap was misused: one line on stderr, then abort(3). Nothing here allocates or locks.
#ifndef BASE_FATAL_H_
#define BASE_FATAL_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// "tandem: MESSAGE"
_Noreturn void td_fatal(const char *message);

// "tandem: double free of 0x... (48-byte object)"
_Noreturn void td_fatal_double_free(const void *pointer, size_t object_bytes);

// What is free already: for malloc_usable_size "tandem: CALL of 0x..., which is free (48-byte object)", else a double
// free, since realloc frees as well.
_Noreturn void td_fatal_freed(const char *call, const void *pointer, size_t object_bytes);

// "tandem: CALL of 0x..., which was not allocated here"; `call` is "free", "realloc" or "malloc_usable_size".
_Noreturn void td_fatal_foreign(const char *call, const void *pointer);

// "tandem: CALL of 0x..., which points inside a 48-byte object"
_Noreturn void td_fatal_interior(const char *call, const void *pointer, size_t object_bytes);

// "tandem: sized free of 0x... with size 100, but the object has 48 bytes"
_Noreturn void td_fatal_wrong_size(const void *pointer, size_t size, size_t object_bytes);

// Warnings: the process goes on.
// "tandem: MESSAGE"
void td_warn(const char *message);
// "tandem: unknown option "NAME" in TANDEM_OPTIONS ignored"
void td_warn_unknown_option(const char *name);
// "tandem: bad value "VALUE" for option "NAME" in TANDEM_OPTIONS ignored"
void td_warn_bad_value(const char *value, const char *name);

// Writes to stderr, all of it if stderr takes it.
void td_write_stderr(const char *text, size_t length);

// An invariant of Tandem's own. Checked in debug builds only.
#define td_assert(condition)                                                                                           \
    do {                                                                                                               \
        if (TD_DEBUG && td_unlikely(!(condition)))                                                                     \
            td_fatal("assertion failed: " #condition);                                                                 \
    } while (0)

#pragma GCC visibility pop

#endif  // BASE_FATAL_H_
