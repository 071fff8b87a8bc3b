// Builds text in a buffer that the caller owns, without allocating: for messages and statistics.
#ifndef BASE_TEXT_H_
#define BASE_TEXT_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// `length` counts what was written even where it no longer fitted, as snprintf(3) does.
struct td_text {
    char *buffer;
    size_t capacity;  // bytes, the final NUL included
    size_t length;    // bytes, the final NUL excluded
};

void td_text_string(struct td_text *text, const char *string);
void td_text_decimal(struct td_text *text, uint64_t value);
void td_text_pointer(struct td_text *text, const void *pointer);
// Ends the buffer with NUL, within its capacity.
void td_text_end(struct td_text *text);

#pragma GCC visibility pop

#endif  // BASE_TEXT_H_
