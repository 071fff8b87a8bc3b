// Spans: takes them from the segments and gives them back. New spans come from the segment whose longest free run fits
// best, so that segments fill up and others become free as a whole.
#ifndef BACKEND_PAGE_HEAP_H_
#define BACKEND_PAGE_HEAP_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// A span of `pages` (up to half a segment) at a multiple of `align_pages` (a power of two), its state small with a
// class and large without; NULL, with errno ENOMEM, if there is no memory. `*was_clean` tells whether it reads as
// zeros. Takes the backend's lock.
struct td_span *td_page_heap_alloc(size_t pages, size_t align_pages, size_t class_index, bool *was_clean);

// Requires that no object of the span is in use. Takes the backend's lock.
void td_page_heap_free(struct td_span *span);
// The same for a large span, with the lock held.
void td_page_heap_free_locked(struct td_span *span);

// Cuts or extends a large span in place; false, and nothing has changed, if that is not possible. Takes the lock.
bool td_page_heap_resize(struct td_span *span, size_t pages);

// The segment that holds a pointer to memory in use.
struct td_segment *td_page_heap_segment_of(uintptr_t address);

// Bytes in spans and large runs in use; `td_backend_used_peak_bytes` is its maximum since it was last reset.
// Guarded by td_backend_lock.
extern size_t td_backend_used_bytes;
extern size_t td_backend_used_peak_bytes;
// Bytes in spans of small objects. Atomic, written under td_backend_lock.
extern size_t td_backend_small_span_bytes;
void td_backend_note_used(size_t bytes);
void td_backend_note_unused(size_t bytes);

// Whether fresh memory is to be given to the kernel as a place for hugepages. The lock is held.
bool td_page_heap_wants_hugepages(void);

// ---- for the purge and the statistics; the lock is held

// Calls `visit` for every segment. The function may not take or return spans. Not for what is done again and again: a
// large heap has tens of thousands.
void td_page_heap_each(void (*visit)(struct td_segment *segment, void *argument), void *argument);

// Puts the segment where its counts, changed by the caller, say that it belongs.
void td_page_heap_relink(struct td_segment *segment);

#pragma GCC visibility pop

#endif  // BACKEND_PAGE_HEAP_H_
