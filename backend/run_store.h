// The free runs of segments, clean and dirty, and where new ones come from.
//
// Neighbours of one state and one hugepage advice are one run. A request takes the shortest run that fits, dirty before
// clean: memory that is resident already costs nothing, fresh memory costs a page fault for each OS page.
//
// One lock, `td_backend_lock`, guards this store, the segments and the large runs.
#ifndef BACKEND_RUN_STORE_H_
#define BACKEND_RUN_STORE_H_

#include "backend/segment.h"
#include "base/lock.h"

#pragma GCC visibility push(hidden)

extern struct td_lock td_backend_lock;

// When new memory is given to the kernel as a place for hugepages.
enum td_hugepages { TD_HUGEPAGES_AUTO, TD_HUGEPAGES_NEVER, TD_HUGEPAGES_ALWAYS };

// Takes the backend's lock with descriptors at hand for one operation below, `td_run_to_segment` excepted. False,
// without the lock, if there is no memory for them.
bool td_run_store_enter(void);
// The same for `td_run_to_segment` as well.
bool td_run_store_enter_for_segment(void);
// Takes the lock in any case. Without descriptors `td_run_trim` may do nothing, and `td_run_take` must not be called.
void td_run_store_enter_anyway(void);
void td_run_store_leave(void);

// ---- with the lock held

// A free run of `segments` whose base is a multiple of `align_segments` segments (a power of two), or NULL. It is held,
// in no list; `*is_clean` tells whether it reads as zeros.
struct td_segment_run *td_run_take(size_t segments, size_t align_segments, bool *is_clean);
// Puts a run into the store, as clean or dirty; merges it with its neighbours. The descriptor is the store's again.
void td_run_put(struct td_segment_run *run, enum td_run_state state, uint64_t now_ms);
// Cuts the tail behind `segments` off a run in use and puts it into the store. The tail stays if no descriptor is left.
void td_run_trim(struct td_segment_run *run, size_t segments, enum td_run_state state, uint64_t now_ms);
// Puts the segments of a run in use before and behind the one with index `lost` into the store, as dirty. That one is
// nobody's from now on.
void td_run_put_without(struct td_segment_run *run, size_t lost, uint64_t now_ms);
// Extends a run in use to `segments` with the free run behind it. False, and nothing has changed, if it is too short.
bool td_run_extend(struct td_segment_run *run, size_t segments);
// The same with the dirty run behind it, if there is one of the same hugepage advice.
void td_run_extend_over_dirty(struct td_segment_run *run);
// Takes the dirty run that was freed longest ago, as held, of those that no purge from number `purge` on failed with;
// NULL if there is none.
struct td_segment_run *td_run_take_oldest_dirty(uint64_t purge);

// Turns a held run of one segment into a segment without spans, or the other way round.
struct td_segment *td_run_to_segment(struct td_segment_run *run, bool is_clean);
struct td_segment_run *td_run_from_segment(struct td_segment *segment);

// Bytes in free runs of a state, and of all memory that was mapped.
size_t td_run_store_bytes(enum td_run_state state);
size_t td_run_store_mapped_bytes(void);

// ---- without the lock

// Gives the address space of a free segment back (of a whole run if there is no descriptor to cut it), for those who
// need some for other things. False if there is none, or the system does not take it.
bool td_run_store_unmap_one(void);

// Joins clean neighbours of different hugepage advice: it is declined for all of them, as whoever takes clean memory
// asks for hugepages anew. For requests that nothing else can serve, as it takes a system call for each run.
void td_run_store_join_clean(void);

// Maps at least `segments` more. False if the system refuses.
bool td_run_store_grow(size_t segments);
// The same unless there is a free run of that length by now: of many threads that lack one at the same time, one maps.
bool td_run_store_provide(size_t segments);

// Takes and releases the locks of growth and of the back end.
void td_run_store_fork_prepare(void);
void td_run_store_fork_done(void);

void td_run_store_set_hugepages(enum td_hugepages policy);
enum td_hugepages td_run_store_hugepages(void);

#pragma GCC visibility pop

#endif  // BACKEND_RUN_STORE_H_
