// The free runs of segments, clean and dirty, and the descriptors of runs.
//
// Neighbours of one state and one hugepage advice are one run. A request takes the shortest run that fits, dirty before
// clean: memory that is resident already costs nothing, fresh memory costs a page fault for each OS page.
//
// The page map names the run of each segment. Where free runs are cut or joined, the longer part keeps its descriptor,
// so that the map changes for the shorter one only: there may be 10,000 segments in a run.
//
// Functions here take no lock and make no system call; they are called with the backend's lock held.
#ifndef BACKEND_FREE_RUNS_H_
#define BACKEND_FREE_RUNS_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

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
// Takes the dirty run that was freed longest ago, or nearly, as held, of those that no purge from number `purge` on
// failed with; NULL if there is none. No more than `segments` of it, unless there is no descriptor for the rest.
struct td_segment_run *td_run_take_oldest_dirty(uint64_t purge, size_t segments);

// Turns a held run of one segment into a segment without spans, or the other way round.
struct td_segment *td_run_to_segment(struct td_segment_run *run, bool is_clean);
struct td_segment_run *td_run_from_segment(struct td_segment *segment);

// Bytes in free runs of a state, and of all memory that was mapped; the latter also without the lock.
size_t td_free_runs_bytes(enum td_run_state state);
size_t td_free_runs_mapped_bytes(void);

// ---- for run_store.c: descriptors

// Whether there are descriptors for one operation above, and one for `td_run_to_segment`.
bool td_run_has_spares(void);
bool td_run_has_spare_segment(void);
// Gives a descriptor to the store, or takes one that `td_run_has_spares` told of.
void td_run_put_spare(struct td_segment_run *run);
void td_run_put_spare_segment(struct td_segment *segment);
struct td_segment_run *td_run_take_spare(void);

// ---- for run_store.c: memory that comes, goes, or changes its advice

// Whether there is a free run of `segments`.
bool td_run_has_fit(size_t segments);
// `td_run_put` of memory that is not, or no longer, counted as mapped.
void td_run_add(struct td_segment_run *run, enum td_run_state state, uint64_t now_ms);
// Takes a free segment (a whole run if there is no descriptor to cut it) out of the books, as held; `*state` is what it
// was in. NULL if there is none.
struct td_segment_run *td_run_take_to_unmap(enum td_run_state *state);
// Takes a clean place for hugepages that has a clean neighbour which is none, as held; NULL if there is none.
struct td_segment_run *td_run_take_huge_beside_other(void);

#pragma GCC visibility pop

#endif  // BACKEND_FREE_RUNS_H_
