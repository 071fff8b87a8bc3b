// The per-CPU front end's fast path: see frontends/frontend.h.
#ifndef FRONTENDS_PERCPU_FAST_PATH_H_
#define FRONTENDS_PERCPU_FAST_PATH_H_

#include "frontends/percpu/rseq.h"

#pragma GCC visibility push(hidden)

// Where the caller's rseq area says which slab it may use. Until the thread is attached (area.h) it is an area that no
// CPU's slab can be found with.
extern __thread const uint32_t *td_index;

static inline TD_ALWAYS_INLINE void *td_frontend_pop(size_t class_index, bool has_two_stacks) {
    return td_rseq_pop(td_index, class_index, has_two_stacks);
}

static inline TD_ALWAYS_INLINE bool td_frontend_push(size_t class_index, void *object) {
    return td_rseq_push(td_index, class_index, object);
}

#pragma GCC visibility pop

#endif  // FRONTENDS_PERCPU_FAST_PATH_H_
