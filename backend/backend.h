// What the middle end, and the parts of allocator/ that deal with large objects and statistics, may call.
#ifndef BACKEND_BACKEND_H_
#define BACKEND_BACKEND_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// A span of the class, no object of it in use; NULL with errno ENOMEM if there is no memory.
struct td_span *td_backend_alloc_span(size_t class_index);
void td_backend_free_span(struct td_span *span);

// The span that holds an object of a size class. Aborts if `pointer` does not lie in such a span.
struct td_span *td_backend_span_of(const void *pointer, const char *call);

// Gives memory back that the program is not likely to need soon (purge.c), and makes a hugepage of what it keeps
// (early_segments.h). To be called every `TD_TICK_MS` or so.
void td_backend_maintain(uint64_t now_ms);

// Gives `bytes` of free memory back, at once, or more, since whole segments are purged; then dirty tails of large
// objects. Returns how many. Takes the lock, many times. Of SIZE_MAX, free runs that touch are one afterwards.
size_t td_backend_purge(size_t bytes);

// Gives pages of a span back that is in use and of whose objects in them nobody uses, or takes, one meanwhile. Returns
// `bytes`; 0 if they stay, since they are locked or part of a hugepage of which much is in use.
size_t td_backend_purge_pages(uintptr_t address, size_t bytes);

// Notes that `bytes` of a span that were given back are used again; the caller has an object in it. Before they are
// touched, as that may save it page faults. The caller holds no lock.
void td_backend_note_reuse(struct td_span *span, size_t bytes);

// How often a hugepage was made of what the span lies in, modulo TD_REBUILDS. Whatever was given back before the last
// time is there again.
uint8_t td_backend_rebuilds(const struct td_span *span);

// How long memory stays with a process that has stopped using it, in ms.
void td_backend_set_decay_ms(uint64_t decay_ms);
uint64_t td_backend_decay_ms(void);

// When new memory is given to the kernel as a place for hugepages.
enum td_hugepages { TD_HUGEPAGES_AUTO, TD_HUGEPAGES_NEVER, TD_HUGEPAGES_ALWAYS };
void td_backend_set_hugepages(enum td_hugepages policy);

// Whether the system would map so much more just now. Takes the lock of growth.
bool td_backend_could_map(size_t bytes);

// Bytes in every state.
struct td_backend_stats {
    size_t small_span_bytes;
    size_t large_bytes;       // in large objects
    size_t large_tail_bytes;  // behind large objects, up to the end of their runs
    size_t dirty_bytes;       // free, perhaps resident
    size_t clean_bytes;       // free, not resident
    size_t mapped_bytes;      // the sum of the above
    size_t metadata_bytes;
    size_t segments;      // cut into spans
    size_t purged_bytes;  // since the start
    uint64_t hugepages_rebuilt;
    uint64_t system_calls;
};
void td_backend_get_stats(struct td_backend_stats *stats);
// `small_span_bytes` and `mapped_bytes` alone. Takes no lock.
size_t td_backend_small_bytes(void);
size_t td_backend_mapped_bytes(void);

// The former takes every lock of the backend, for fork(2), the latter releases them.
void td_backend_fork_prepare(void);
void td_backend_fork_done(void);
// In the place of both, without a lock, where only the thread that forks can have one.
void td_backend_note_fork(void);

// Walks everything and aborts where it does not add up. Debug builds only.
void td_backend_check(void);

#pragma GCC visibility pop

#endif  // BACKEND_BACKEND_H_
