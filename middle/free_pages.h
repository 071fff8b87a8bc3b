// Pages within a span that hold no object in use.
#ifndef MIDDLE_FREE_PAGES_H_
#define MIDDLE_FREE_PAGES_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

struct td_free_pages {
    uintptr_t start;  // the first one's address
    size_t bytes;     // whole OS pages
    size_t first;     // the index of the first object that lies in them, if only in part
    size_t objects;   // how many do, all of them free
};

// Finds the next such pages of a span of small objects, at or behind the address `from`. False if there are none. The
// caller holds the lock of the span's class.
bool td_free_pages_next(const struct td_span *span, uintptr_t from, struct td_free_pages *pages);

#pragma GCC visibility pop

#endif  // MIDDLE_FREE_PAGES_H_
