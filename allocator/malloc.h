// The names that Tandem takes over from the C library, where its headers do not declare them all.
#ifndef ALLOCATOR_MALLOC_H_
#define ALLOCATOR_MALLOC_H_

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>

// A function that programs call.
#define TD_EXPORT __attribute__((visibility("default")))

void cfree(void *pointer);
void free_sized(void *pointer, size_t size);
void free_aligned_sized(void *pointer, size_t alignment, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *__libc_malloc(size_t size);
void __libc_free(void *pointer);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);

#endif  // ALLOCATOR_MALLOC_H_
