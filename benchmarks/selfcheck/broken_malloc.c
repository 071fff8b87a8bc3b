// A wrong allocator to preload: now and then it hands out the same object twice, or with BROKEN_MALLOC=overlap in the
// environment one that begins within another. Every workload must notice.
//
// Nothing is ever freed, and what C++ asks for is always right, as a workload's own tables are of that: so what is
// wrong shows in the workload's checks and never as a crash. The first allocations of each thread are left alone: they
// belong to the program's start.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { healthy_at_start = 300, wrong_one_in = 97 };

// Where an object begins that lies within another: at a multiple of 16, and at one of 64 where only a word of each line
// may be looked at.
enum { least_offset = 16, line = 64, large = 128 };

static __thread unsigned long calls;
static __thread char *previous;
static __thread size_t previous_size;
static __thread char *within;  // the last one that lies within another, and its size
static __thread size_t within_size;

static bool is_to_overlap(void) {
    const char *words = getenv("BROKEN_MALLOC");
    return words != NULL && strcmp(words, "overlap") == 0;
}

// The C library's realloc, which is its malloc too.
static void *real_realloc(void *object, size_t size) {
    static void *(*found)(void *, size_t);
    void *(*function)(void *, size_t) = __atomic_load_n(&found, __ATOMIC_RELAXED);
    if (function == NULL) {  // any thread may find it, all the same
        function = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
        __atomic_store_n(&found, function, __ATOMIC_RELAXED);
    }
    return function(object, size);
}

void *malloc(size_t size) {
    calls++;
    size_t offset = !is_to_overlap() ? 0 : previous_size > large ? line : least_offset;
    if (calls > healthy_at_start && calls % wrong_one_in == 0 && size <= previous_size && offset < previous_size) {
        within = previous + offset;
        within_size = size;
        return within;
    }
    previous = real_realloc(NULL, size + line);
    previous_size = size;
    return previous;
}

void *realloc(void *object, size_t size) {
    if (object == NULL || object != within)
        return real_realloc(object, size);
    void *moved = real_realloc(NULL, size);  // the C library has no such object
    return moved != NULL ? memcpy(moved, object, within_size < size ? within_size : size) : NULL;
}

void free(void *object) {
    (void)object;
}

// The name is C++'s for this function.
void *operator_new(size_t size) __asm__("_Znwm");

void *operator_new(size_t size) {
    return real_realloc(NULL, size);
}
