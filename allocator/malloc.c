// malloc, free and their kin. The call tree, from here down to mmap:
//
//   malloc(size)
//     per-CPU on x86-64: the fast path in assembly       frontends/percpu/direct_x86_64.h
//     td_alloc_any, for what that does not do; everywhere else the same is malloc itself
//     size up to 64 KiB: td_class_code_table, or
//       td_class_of_medium                               base/size_class.h
//       td_frontend_pop                                  the fast path, no lock and no atomic instruction:
//                                                        frontends/percpu/fast_path.h or
//                                                        frontends/perthread/fast_path.h
//       td_frontend_alloc_slow                           frontends/percpu/percpu.c or frontends/perthread/perthread.c
//         td_slab_refill                                 frontends/slab.c
//           td_middle_fetch                              middle/middle.c
//             td_transfer_fetch                          middle/transfer_cache.c: a batch that another slab returned
//             td_central_fetch                           middle/central_list.c: objects of the fullest span
//               td_backend_alloc_span                    backend/backend.c
//                 td_page_heap_alloc                     backend/page_heap.c: pages of the segment that fits best
//                   td_run_take                          backend/free_runs.c: a free segment
//                   td_run_store_provide                 backend/run_store.c: or a new one, from mmap
//     larger: td_large_alloc                             backend/large.c: a span or a run of segments of its own
//
//   free(pointer), per-CPU on x86-64: in assembly, then td_free_any
//     td_page_map_entry                                  backend/page_map.h: the size class, in two loads
//       td_frontend_push                                 the fast path, as above
//       td_frontend_free_slow                            the front end
//         td_slab_overflow                               frontends/slab.c
//           td_middle_return                             to the transfer cache, or to the spans
//     no class: td_large_free                            backend/large.c, which also finds what was never allocated
//
// Semantics: ISO C (C17 7.22.3, C23 7.24.3), POSIX, and where they are silent glibc's manual.
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "allocator/allocate.h"
#include "allocator/malloc.h"
#include "allocator/statistics.h"
#include "backend/backend.h"
#include "backend/large.h"
#include "backend/page_map.h"
#include "base/arch.h"
#include "base/fatal.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "frontends/frontend.h"
#include "middle/middle.h"

// Apart from what small sizes need, which then saves no registers.
static TD_NOINLINE void *alloc_above_small(size_t size, enum td_on_failure on_failure) {
    bool is_zero;
    void *object = td_alloc_large(size, TD_MIN_OBJECT_BYTES, &is_zero);
    return td_likely(object != NULL) || on_failure == TD_RETURN_NULL ? object : td_new_failed(size);
}

static inline TD_ALWAYS_INLINE void *alloc_above_table(size_t size, enum td_on_failure on_failure) {
    if (td_likely(size <= TD_MAX_SMALL_BYTES))
        return td_alloc_class(td_class_code(td_class_of_medium(size)), false, size, on_failure);
    return alloc_above_small(size, on_failure);
}

TD_NOINLINE void *td_alloc_above_table(size_t size, enum td_on_failure on_failure) {
    return alloc_above_table(size, on_failure);
}

// Whether there could be an object of `size` if all that is not in use were given back. Else the caches stay as they
// are: a program may try hopeless sizes and alignments often, and needs them.
static TD_NOINLINE bool could_make_room(size_t size, size_t alignment) {
    size_t bytes;
    if (__builtin_add_overflow(size, alignment > TD_SEGMENT_BYTES ? alignment : 0, &bytes))
        return false;
    size_t mapped = td_backend_mapped_bytes();
    if (bytes > mapped && !td_backend_could_map(bytes - mapped))
        return false;
    struct tandem_stats stats;
    td_statistics_get(&stats);
    size_t not_in_use = stats.cached_bytes + stats.free_bytes + stats.fresh_bytes + stats.waste_bytes;
    return bytes <= not_in_use || td_backend_could_map(bytes - not_in_use);
}

// What the caches hold may make a whole run, and so may clean and dirty neighbours.
static void give_all_back(void) {
    td_frontend_drain();
    td_frontend_purge(SIZE_MAX);
}

void *td_alloc_large(size_t size, size_t alignment, bool *is_zero) {
    td_frontend_maintain();
    void *object = td_large_alloc(size, alignment, is_zero);
    if (td_likely(object != NULL) || !could_make_room(size, alignment))
        return object;
    give_all_back();
    return td_large_alloc(size, alignment, is_zero);
}

static void free_large(void *pointer) {
    int saved_errno = errno;
    td_large_free(pointer, "free");
    td_frontend_maintain();
    errno = saved_errno;
}

TD_NOINLINE void td_free_slow(void *pointer) {
    size_t class_index = td_page_map_class(pointer);
    if (td_likely(class_index != 0))
        td_frontend_free_slow(pointer, class_index);
    else if (pointer != NULL)
        free_large(pointer);
}

TD_NOINLINE void td_free_sized_slow(void *pointer, size_t size) {
    if (td_is_checked)
        td_check_size(pointer, size);
    td_free(pointer);
}

size_t td_usable_bytes(const void *pointer, const char *call) {
    size_t class_index = td_page_map_class(pointer);
    if (class_index == 0)
        return td_large_usable_bytes(pointer, call);
    return td_class_bytes(class_index);
}

TD_NOINLINE void *td_alloc_any(size_t size, enum td_on_failure on_failure) {
    // Where malloc has a direct way, that is what comes here most.
    if (td_likely(size > TD_TABLE_BYTES))
        return alloc_above_table(size, on_failure);
    return td_alloc(size, on_failure);
}

TD_DEFINE_MALLOC(malloc)

TD_NOINLINE void td_free_any(void *pointer) {
    td_free(pointer);
}

TD_DEFINE_FREE(free)

TD_EXPORT void cfree(void *pointer) {
    td_free(pointer);
}

// C23 7.24.3.4 and 7.24.3.5: the sizes are those of the allocation. Debug builds, and the option `check`, compare them.
TD_EXPORT void free_sized(void *pointer, size_t size) {
    td_free_sized(pointer, size);
}

TD_EXPORT void free_aligned_sized(void *pointer, size_t alignment, size_t size) {
    (void)alignment;
    td_free_sized(pointer, size);
}

// For what the fast path did not do.
static TD_NOINLINE void *calloc_slow(size_t bytes) {
    bool is_zero = false;
    void *object = bytes > TD_MAX_SMALL_BYTES ? td_alloc_large(bytes, TD_MIN_OBJECT_BYTES, &is_zero)
                                              : td_alloc(bytes, TD_RETURN_NULL);
    return object != NULL && !is_zero ? memset(object, 0, bytes) : object;
}

// SIZE_MAX, which is too many as well, where the product is no size.
static inline size_t multiplied(size_t count, size_t size) {
    size_t bytes;
    return td_unlikely(__builtin_mul_overflow(count, size, &bytes)) ? SIZE_MAX : bytes;
}

TD_EXPORT void *calloc(size_t count, size_t size) {
    size_t bytes = multiplied(count, size);
    void *object = td_likely(bytes <= TD_TABLE_BYTES) ? td_frontend_pop(td_class_code_table[bytes], true) : NULL;
    // Tail calls, so that no register needs to be saved.
    return td_likely(object != NULL) ? memset(object, 0, bytes) : calloc_slow(bytes);
}

// Whether an object that shrinks may stay as it is: not where frees compare sizes, which would take it for another one.
static bool may_stay(size_t old_bytes, size_t size) {
    return size <= old_bytes && !TD_DEBUG && !td_is_checked;
}

// Without memory for a copy an object that shrinks stays: programs count on that.
static TD_NOINLINE void *reallocate_by_copy(void *old, size_t old_bytes, size_t size) {
    int saved_errno = errno;
    void *object = td_alloc(size, TD_RETURN_NULL);
    if (td_unlikely(object == NULL)) {
        bool stays = may_stay(old_bytes, size);
        errno = stays ? saved_errno : errno;
        return stays ? old : NULL;
    }
    memcpy(object, old, td_min(old_bytes, size));
    td_free(old);
    return object;
}

// A small object stays where it is while it fits and wastes less than half.
static inline TD_ALWAYS_INLINE void *reallocate_small(void *pointer, size_t class_index, size_t size) {
    size_t bytes = td_class_bytes(class_index);
    bool fits = size <= bytes && (size >= bytes / 2 || bytes == TD_MIN_OBJECT_BYTES);
    return fits ? pointer : reallocate_by_copy(pointer, bytes, size);
}

static void *reallocate_large(void *pointer, size_t size) {
    int saved_errno = errno;
    size_t bytes = td_large_usable_bytes(pointer, "realloc");
    td_frontend_maintain();
    void *object = td_large_resize(pointer, size);
    if (td_unlikely(object == NULL))
        object = reallocate_by_copy(pointer, bytes, size);
    // What lies behind the object may be on its way to the system, or be more than one run.
    if (td_unlikely(object == NULL) && size > bytes && could_make_room(size - bytes, TD_MIN_OBJECT_BYTES)) {
        give_all_back();
        object = td_large_resize(pointer, size);
    }
    errno = object != NULL ? saved_errno : ENOMEM;
    return object;
}

// realloc(pointer, 0) frees, as glibc's does, and returns NULL.
static TD_NOINLINE void *reallocate_slow(void *pointer, size_t size) {
    if (pointer == NULL)
        return td_alloc(size, TD_RETURN_NULL);
    if (size == 0) {
        td_free(pointer);
        return NULL;
    }
    size_t class_index = td_page_map_class(pointer);
    if (class_index == 0)
        return reallocate_large(pointer, size);
    td_middle_check_object(class_index, pointer, "realloc");
    return reallocate_small(pointer, class_index, size);
}

static inline TD_ALWAYS_INLINE void *reallocate(void *pointer, size_t size) {
    size_t class_index = td_page_map_class(pointer);
    // Without the check what is no object is noticed as it is after a free: when it leaves the cache.
    if (td_unlikely(class_index == 0 || size == 0 || TD_DEBUG || td_is_checked))
        return reallocate_slow(pointer, size);
    return reallocate_small(pointer, class_index, size);
}

TD_EXPORT void *realloc(void *pointer, size_t size) {
    return reallocate(pointer, size);
}

TD_EXPORT void *reallocarray(void *pointer, size_t count, size_t size) {
    return realloc(pointer, multiplied(count, size));
}

// The bytes to ask for so that the class has them at multiples of `alignment`, a power of two; more than
// TD_MAX_SMALL_BYTES if none does. Up to a page that is the next multiple: the class that has room for it consists of
// multiples too. Beyond, only the powers of two are placed at multiples of themselves.
static inline size_t aligned_bytes(size_t size, size_t alignment) {
    if (td_unlikely(size > TD_MAX_SMALL_BYTES || alignment > TD_MAX_SMALL_BYTES))
        return SIZE_MAX;
    if (td_likely(alignment <= TD_PAGE_BYTES))
        return td_aligned_bytes(size + (size == 0), alignment);
    return (size_t)2 << td_highest_bit(td_max(size, alignment) - 1);
}

// For what no bin has.
static TD_NOINLINE void *alloc_aligned_slowest(size_t size, size_t alignment, enum td_on_failure on_failure) {
    size_t bytes = aligned_bytes(size, alignment);
    bool is_zero;
    void *object = td_likely(bytes <= TD_MAX_SMALL_BYTES) ? td_alloc(bytes, TD_RETURN_NULL)
                                                          : td_alloc_large(size, alignment, &is_zero);
    return td_likely(object != NULL) || on_failure == TD_RETURN_NULL ? object : td_new_aligned_failed(size, alignment);
}

TD_NOINLINE void *td_alloc_aligned_slow(size_t size, size_t alignment, enum td_on_failure on_failure) {
    if (alignment <= TD_MIN_OBJECT_BYTES)
        return td_alloc(size, on_failure);
    size_t bytes = aligned_bytes(size, alignment);
    if (td_likely(bytes > TD_TABLE_BYTES && bytes <= TD_MAX_SMALL_BYTES)) {
        void *object = td_frontend_pop(td_class_code(td_class_of_medium(bytes)), false);
        if (td_likely(object != NULL))
            return object;
    }
    return alloc_aligned_slowest(size, alignment, on_failure);
}

// Whether an object of `size` bytes, at some alignment, can have come from the class and lie where it does.
static bool may_have_size(const void *pointer, size_t class_index, size_t size) {
    size_t bytes = td_class_bytes(class_index);
    // realloc leaves an object where it is down to half of its class.
    if (size <= bytes && size >= bytes / 2)
        return true;
    if (size <= TD_MAX_SMALL_BYTES && td_class_of(size) == class_index)
        return true;
    for (size_t alignment = 2 * TD_MIN_OBJECT_BYTES; (uintptr_t)pointer % alignment == 0; alignment *= 2) {
        size_t aligned = aligned_bytes(size, alignment);
        if (aligned > TD_MAX_SMALL_BYTES)
            return false;
        if (td_class_of(aligned) == class_index)
            return true;
    }
    return false;
}

void td_check_size(const void *pointer, size_t size) {
    if (pointer == NULL)
        return;
    size_t usable = td_usable_bytes(pointer, "free");
    size_t class_index = td_page_map_class(pointer);
    size_t page_rounded = td_round_up(size, TD_PAGE_BYTES);
    bool is_right = class_index != 0 ? may_have_size(pointer, class_index, size)
                                     : page_rounded == usable || (size == 0 && usable == TD_PAGE_BYTES);
    if (!is_right)
        td_fatal_wrong_size(pointer, size, usable);
}

static bool is_power_of_two(size_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

// errno may be set on the way, and posix_memalign does not.
static TD_NOINLINE int posix_memalign_slow(void **result, size_t alignment, size_t size) {
    int saved_errno = errno;
    void *object = td_alloc_aligned(size, alignment, TD_RETURN_NULL);
    errno = saved_errno;
    if (object == NULL)
        return ENOMEM;
    *result = object;
    return 0;
}

TD_EXPORT int posix_memalign(void **result, size_t alignment, size_t size) {
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    void *object = td_pop_aligned(size, alignment);
    if (td_unlikely(object == NULL))
        return posix_memalign_slow(result, alignment, size);
    *result = object;
    return 0;
}

TD_EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return td_alloc_aligned(size, alignment, TD_RETURN_NULL);
}

// memalign(3): an alignment that is no power of two is rounded up to one, as glibc does.
static void *allocate_aligned(size_t alignment, size_t size) {
    if (alignment > (size_t)PTRDIFF_MAX + 1) {
        errno = EINVAL;
        return NULL;
    }
    if (!is_power_of_two(alignment))
        alignment = alignment <= 1 ? 1 : (size_t)2 << td_highest_bit(alignment - 1);
    return td_alloc_aligned(size, alignment, TD_RETURN_NULL);
}

TD_EXPORT void *memalign(size_t alignment, size_t size) {
    return allocate_aligned(alignment, size);
}

static size_t os_page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

TD_EXPORT void *valloc(size_t size) {
    return td_alloc_aligned(size, os_page_bytes(), TD_RETURN_NULL);
}

static void *allocate_pages(size_t size) {
    size_t page = os_page_bytes();
    size_t rounded = td_round_up(size, page);
    if (rounded < size) {
        errno = ENOMEM;
        return NULL;
    }
    return td_alloc_aligned(rounded != 0 ? rounded : page, page, TD_RETURN_NULL);
}

TD_EXPORT void *pvalloc(size_t size) {
    return allocate_pages(size);
}

TD_EXPORT size_t malloc_usable_size(void *pointer) {
    if (pointer == NULL)
        return 0;
    size_t class_index = td_page_map_class(pointer);
    if (class_index != 0)
        td_middle_check_object(class_index, pointer, "malloc_usable_size");
    return td_usable_bytes(pointer, "malloc_usable_size");
}

// glibc's other names for its own, for who wraps malloc: what comes from one name may be freed by another. They must
// not go by the name of what a program may have wrapped.

TD_EXPORT void *__libc_malloc(size_t size) {
    return td_alloc(size, TD_RETURN_NULL);
}

TD_EXPORT void __libc_free(void *pointer) {
    td_free(pointer);
}

TD_EXPORT void *__libc_calloc(size_t count, size_t size) {
    return calloc_slow(multiplied(count, size));
}

TD_EXPORT void *__libc_realloc(void *pointer, size_t size) {
    return reallocate(pointer, size);
}

TD_EXPORT void *__libc_memalign(size_t alignment, size_t size) {
    return allocate_aligned(alignment, size);
}

TD_EXPORT void *__libc_valloc(size_t size) {
    return td_alloc_aligned(size, os_page_bytes(), TD_RETURN_NULL);
}

TD_EXPORT void *__libc_pvalloc(size_t size) {
    return allocate_pages(size);
}
