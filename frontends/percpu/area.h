// The thread's rseq area: glibc's, or one of Tandem's own, or none.
#ifndef FRONTENDS_PERCPU_AREA_H_
#define FRONTENDS_PERCPU_AREA_H_

#include "frontends/percpu/fast_path.h"

#pragma GCC visibility push(hidden)

enum td_area_mode { TD_AREA_UNKNOWN, TD_AREA_GLIBC, TD_AREA_OWN, TD_AREA_NONE };

// Finds out how this process can have restartable sequences, and what names slabs. The first call decides.
enum td_area_mode td_area_init(void);

// Gives the calling thread its area, registered if the process's mode and the kernel allow.
void td_area_attach(void);

// Whether the calling thread went through `td_area_attach`.
bool td_area_is_attached(void);

// What names the caller's slab right now: less than TD_MAX_CPUS, or TD_NO_INDEX.
static inline uint32_t td_area_index(void) {
    intptr_t offset = td_load_relaxed(&td_percpu.index_offset);
    return offset != 0 ? td_load_relaxed((const uint32_t *)(td_thread_pointer() + offset)) : TD_NO_INDEX;
}

// Whether the index is mm_cid, and one line that says why the mode is what it is.
bool td_area_has_mm_cid(void);
const char *td_area_reason(void);

// Aborts or ends every restartable sequence of the process that is under way. False if the kernel refuses.
bool td_area_fence(void);

#pragma GCC visibility pop

#endif  // FRONTENDS_PERCPU_AREA_H_
