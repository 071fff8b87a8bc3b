// The per-thread front end's fast path: see frontends/frontend.h.
#ifndef FRONTENDS_PERTHREAD_FAST_PATH_H_
#define FRONTENDS_PERTHREAD_FAST_PATH_H_

#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

// The thread's slab, or one that is always empty and full. Owner only.
extern __thread struct td_slab *td_thread_slab;

static inline TD_ALWAYS_INLINE void *td_frontend_pop(size_t class_code, bool has_two_stacks) {
    return td_slab_plain_pop(td_thread_slab, class_code, has_two_stacks);
}

static inline TD_ALWAYS_INLINE bool td_frontend_push(size_t class_code, void *object) {
    return td_slab_plain_push(td_thread_slab, class_code, object);
}

#pragma GCC visibility pop

#endif  // FRONTENDS_PERTHREAD_FAST_PATH_H_
