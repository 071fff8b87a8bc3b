// A wrong allocator to preload: now and then it hands out the same object twice. Every workload must notice.
//
// Nothing is ever freed, so that what is wrong shows in the workload's own checks and never as a crash in here. The
// first allocations of each thread are left alone: they belong to the program's start.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

void *malloc(size_t size);
void free(void *object);

enum { healthy_at_start = 300, wrong_one_in = 97 };

static __thread unsigned long calls;
static __thread void *previous;
static __thread size_t previous_size;

void *malloc(size_t size) {
    static void *(*real_malloc)(size_t);
    void *(*real)(size_t) = __atomic_load_n(&real_malloc, __ATOMIC_RELAXED);  // any thread may find it, all the same
    if (real == NULL) {
        real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
        __atomic_store_n(&real_malloc, real, __ATOMIC_RELAXED);
    }
    calls++;
    if (calls > healthy_at_start && calls % wrong_one_in == 0 && size <= previous_size) {
        return previous;
    }
    previous = real(size);
    previous_size = size;
    return previous;
}

void free(void *object) {
    (void)object;
}
