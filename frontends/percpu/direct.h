// The direct way from malloc and operator new to an object, and back from free and operator delete: what td_rseq_pop
// does for a class with two stacks, and td_rseq_push, in code as short as it can be. On x86-64 alone; elsewhere the
// compiler's code is as good.
#ifndef FRONTENDS_PERCPU_DIRECT_H_
#define FRONTENDS_PERCPU_DIRECT_H_

#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

#if defined(__x86_64__)
// Lets frees go this way if `is_open`, and else none but that of NULL; to be called before anything is allocated. Each
// thread's area lies `area_offset` bytes from the thread pointer on, registered or not.
void td_direct_init_free(bool is_open, ptrdiff_t area_offset);

// Lets allocations go this way: glibc has registered each thread's area `area_offset` bytes from the thread pointer on,
// the areas have `mm_cid`, and the kernel may have `cpus` CPUs. No more than it can serve, or nothing is done.
void td_direct_open(ptrdiff_t area_offset, size_t cpus);

// From now on the way of threads that have `index` leads to `slab`, or nowhere if that is NULL.
void td_direct_publish(uint32_t index, const struct td_slab *slab);
#else
static inline void td_direct_init_free(bool is_open, ptrdiff_t area_offset) {
    (void)is_open, (void)area_offset;
}

static inline void td_direct_open(ptrdiff_t area_offset, size_t cpus) {
    (void)area_offset, (void)cpus;
}

static inline void td_direct_publish(uint32_t index, const struct td_slab *slab) {
    (void)index, (void)slab;
}
#endif

#pragma GCC visibility pop

#endif  // FRONTENDS_PERCPU_DIRECT_H_
