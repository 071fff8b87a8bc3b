// The middle end: batches of objects between the front ends' slabs, and the spans that they come from.
//
// Any thread may call all functions. The caller holds no lock, or only such that come before TD_RANK_TRANSFER in
// `enum td_lock_rank`. Arrays of objects are the caller's.
#ifndef MIDDLE_MIDDLE_H_
#define MIDDLE_MIDDLE_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// Fetches up to `count` objects of the class (at most `TD_BATCH_MAX`), and up to `TD_BATCH_SLACK` more so that the last
// cache line is whole; `objects` has room for all. Returns how many, 0 with errno ENOMEM if there is no memory.
size_t td_middle_fetch(size_t class_index, void **objects, size_t count);

// Takes back objects of the class, any number. Aborts on one that is free already or was never an object,
// where it notices: at once for those that reach the central free list.
void td_middle_return(size_t class_index, void *const *objects, size_t count);

// As above, past the transfer cache: what is wrong with an object is noticed at once.
size_t td_middle_fetch_checked(size_t class_index, void **objects, size_t count);
void td_middle_return_checked(size_t class_index, void *const *objects, size_t count);

// The class of an object, for a caller that does not know it. Aborts, naming `call`, if `pointer` lies in no span of a
// class.
size_t td_middle_class_of(const void *pointer, const char *call);

// Aborts, naming `call`, unless `pointer` is an object of the class that is in use (or cached).
void td_middle_check_object(size_t class_index, const void *pointer, const char *call);

// Zeroed memory for a front end's own tables, never given back; NULL if there is none.
void *td_middle_alloc_metadata(size_t bytes, size_t alignment);

// True at most once in `TD_TICK_MS`: then it is time for a maintenance, at the time `*now_ms`.
bool td_middle_tick_is_due(uint64_t *now_ms);
// The clock that tells: monotonic and coarse, in ms.
uint64_t td_middle_clock_ms(void);

// Moves to the spans what the transfer caches did not need since the last call, and has the back end purge. By one
// thread at a time, and not while another purges.
void td_middle_maintain(uint64_t now_ms);

// Gives `bytes` of memory that no object is in back to the operating system at once, or more, since whole segments and
// then whole classes are purged: first what is free as a whole, then pages of spans that are in use. Returns how many.
size_t td_middle_purge(size_t bytes);

// Moves everything to the spans, so that empty ones go to the back end.
void td_middle_drain(void);

// Per class and in all. Statistic; exact while no other thread allocates.
struct td_middle_stats {
    size_t transfer_bytes;  // in objects in the transfer caches
    size_t free_bytes;      // in free objects of spans
    size_t waste_bytes;     // in the tails of spans
    uint64_t transfer_hits;
    uint64_t transfer_misses;
    uint64_t central_locks;
};
void td_middle_get_stats(struct td_middle_stats *stats);

// Bytes in spans, whether their objects are in use or not. Statistic. Takes no lock.
size_t td_middle_span_bytes(void);

// Objects of the class that are in use or in a front end's slab.
size_t td_middle_objects_out(size_t class_index);

void td_middle_fork_prepare(void);
void td_middle_fork_done(void);

// Walks everything and aborts where it does not add up. Debug builds only.
void td_middle_check(void);

#pragma GCC visibility pop

#endif  // MIDDLE_MIDDLE_H_
