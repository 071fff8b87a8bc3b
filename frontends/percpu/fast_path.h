// The per-CPU front end's fast path: see frontends/frontend.h.
#ifndef FRONTENDS_PERCPU_FAST_PATH_H_
#define FRONTENDS_PERCPU_FAST_PATH_H_

#include "frontends/percpu/rseq.h"
#if defined(__x86_64__)
#include "frontends/percpu/direct_x86_64.h"

#define TD_DEFINE_MALLOC(name) TD_DIRECT_ALLOC(name, 0)
#define TD_DEFINE_NEW(name) TD_DIRECT_ALLOC(name, 1)
#define TD_DEFINE_FREE(name) TD_DIRECT_FREE(name, 2, )
#define TD_DEFINE_DELETE(name) TD_DIRECT_FREE(name, 0, noexcept)
#define TD_DEFINE_DELETE_SIZED(name, codes, other) TD_DIRECT_FREE_SIZED(name, 1, codes, other)
#endif

#pragma GCC visibility push(hidden)

static inline TD_ALWAYS_INLINE void *td_frontend_pop(size_t class_code, bool has_two_stacks) {
    return td_rseq_pop(class_code, has_two_stacks);
}

static inline TD_ALWAYS_INLINE bool td_frontend_push(size_t class_code, void *object) {
    return td_rseq_push(class_code, object);
}

#pragma GCC visibility pop

#endif  // FRONTENDS_PERCPU_FAST_PATH_H_
