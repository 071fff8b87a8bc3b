// The central free lists: for each class, the spans that have free objects, and a bitmap for each of them.
#ifndef MIDDLE_CENTRAL_LIST_H_
#define MIDDLE_CENTRAL_LIST_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// Takes up to `count` free objects, in address order from the fullest spans; for objects shorter than a cache line up
// to `TD_BATCH_SLACK` more, so that no line is shared with the next caller. Returns how many, 0 with errno ENOMEM.
// Takes the class's lock, and the back end's if a span is missing.
size_t td_central_fetch(size_t class_index, void **objects, size_t count);

// Puts objects back into their spans, and gives spans without objects in use to the back end. Aborts on an object
// that is free there already, or that is none.
void td_central_return(size_t class_index, void *const *objects, size_t count);

// Gives pages back to the operating system that hold no object in use, of spans that do: the next few spans' pages, if
// nothing was taken from a span or returned to it for half of `decay_ms` at least. To be called at most every
// `TD_TICK_MS`, this and the next one by one thread at a time. Takes the spans, and those whose pages the back end
// refuses, off `*spans_left`, and tries no more when that is 0.
void td_central_purge_idle(size_t class_index, uint64_t decay_ms, size_t *spans_left);

// The same for all spans of the class, at once. Returns the bytes.
size_t td_central_purge(size_t class_index);

// Aborts, naming `call`, unless `pointer` is an object of the class, and not a free one. Takes no lock.
void td_central_check_object(size_t class_index, const void *pointer, const char *call);

struct td_central_stats {
    size_t spans;
    size_t free_objects;  // in the spans
    uint64_t locks;       // taken since the start
};
void td_central_get_stats(size_t class_index, struct td_central_stats *stats);

void td_central_fork_prepare(void);
void td_central_fork_done(void);
void td_central_check(size_t class_index);

#pragma GCC visibility pop

#endif  // MIDDLE_CENTRAL_LIST_H_
