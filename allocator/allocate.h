// Allocation as malloc, operator new and the rest of allocator/ share it. Sizes and alignments are in bytes.
#ifndef ALLOCATOR_ALLOCATE_H_
#define ALLOCATOR_ALLOCATE_H_

#include "backend/page_map.h"
#include "base/fatal.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "fast_path.h"  // of the front end that this is compiled for
#include "frontends/frontend.h"

#if defined(__cplusplus)
extern "C" {
#endif

#pragma GCC visibility push(hidden)

// For sizes above TD_TABLE_BYTES.
void *td_alloc_above_table(size_t size, enum td_on_failure on_failure);

// For sizes above TD_MAX_SMALL_BYTES, or alignments that no class has. Does what is due now and then.
void *td_alloc_large(size_t size, size_t alignment, bool *is_zero);

// As td_alloc_aligned, whatever `size` and `alignment` are.
void *td_alloc_aligned_slow(size_t size, size_t alignment, enum td_on_failure on_failure);

// As td_new_failed, for operator new with an alignment.
void *td_new_aligned_failed(size_t size, size_t alignment);

// Free what the fast path did not take: NULL and large objects, too. They abort if it is no object. With the option
// `check` the size is compared.
//
// They throw nothing, and operator delete is to know it: it ends in calling them then, and saves nothing before.
void td_free_slow(void *pointer) __attribute__((nothrow));
void td_free_sized_slow(void *pointer, size_t size) __attribute__((nothrow));

// What the object can hold. Aborts, naming `call`, if `pointer` lies in no object.
size_t td_usable_bytes(const void *pointer, const char *call);

// Whether the option `check` is on: every object that is freed or grown is looked at. Immutable after td_options_apply.
extern bool td_is_checked;

// Aborts unless an object of `size` bytes, at some alignment, may be what lies at `pointer`.
void td_check_size(const void *pointer, size_t size);

// An object of a class, as td_frontend_alloc_slow has it.
static inline TD_ALWAYS_INLINE void *td_alloc_class(size_t class_code, bool has_two_stacks, size_t size,
                                                    enum td_on_failure on_failure) {
    void *object = td_frontend_pop(class_code, has_two_stacks);
    if (td_likely(object != NULL))
        return object;
    return td_frontend_alloc_slow(size, td_class_of_code(class_code), on_failure);
}

static inline TD_ALWAYS_INLINE void *td_alloc(size_t size, enum td_on_failure on_failure) {
    if (td_likely(size <= TD_TABLE_BYTES))
        return td_alloc_class(td_class_code_table[size], true, size, on_failure);
    return td_alloc_above_table(size, on_failure);
}

// The same as a function, for whoever may take a call more.
void *td_alloc_any(size_t size, enum td_on_failure on_failure);

// How malloc and operator new are defined, if the front end has no shorter way.
#if !defined(TD_DEFINE_MALLOC)
#define TD_DEFINE_MALLOC(name) TD_DEFINE_ALLOC(name, TD_RETURN_NULL)
#define TD_DEFINE_NEW(name) TD_DEFINE_ALLOC(name, TD_THROW)
#define TD_DEFINE_ALLOC(name, on_failure)                                                                              \
    TD_EXPORT void *name(size_t size) {                                                                                \
        return td_alloc(size, on_failure);                                                                             \
    }
#endif

// The class that has room for a small multiple of the alignment, a power of two, consists of multiples. 0, or more than
// TD_TABLE_BYTES: no bytes, or too many.
static inline size_t td_aligned_bytes(size_t size, size_t alignment) {
    return td_round_up(size, alignment);
}

// An object of at least `size` at a multiple of `alignment`, a power of two.
static inline TD_ALWAYS_INLINE void *td_alloc_aligned(size_t size, size_t alignment, enum td_on_failure on_failure) {
    size_t bytes = td_aligned_bytes(size, alignment);
    if (td_likely(bytes - 1 < TD_TABLE_BYTES))
        return td_alloc_class(td_class_code_table[bytes], true, bytes, on_failure);
    return td_alloc_aligned_slow(size, alignment, on_failure);
}

// The same if the caches have one at hand, or NULL.
static inline TD_ALWAYS_INLINE void *td_pop_aligned(size_t size, size_t alignment) {
    size_t bytes = td_aligned_bytes(size, alignment);
    return td_likely(bytes - 1 < TD_TABLE_BYTES) ? td_frontend_pop(td_class_code_table[bytes], true) : NULL;
}

static inline TD_ALWAYS_INLINE void td_free(void *pointer) {
    const uint8_t *entry = td_page_map_entry(pointer);
    // Bins of class 0 have no room.
    if (td_unlikely(entry == NULL || !td_frontend_push(td_load_relaxed(entry), pointer)))
        td_free_slow(pointer);
}

// The same as a function.
void td_free_any(void *pointer) __attribute__((nothrow));

// How free and operator delete are defined, if the front end has no shorter way.
#if defined(TD_DEFINE_FREE)
#include "backend/page_map_x86_64.h"
#else
#define TD_DEFINE_FREE(name) TD_DEFINE_FREE_AS(name, )
#define TD_DEFINE_DELETE(name) TD_DEFINE_FREE_AS(name, noexcept)
#define TD_DEFINE_FREE_AS(name, specifier)                                                                             \
    TD_EXPORT void name(void *pointer) specifier {                                                                     \
        td_free(pointer);                                                                                              \
    }
#endif

// Frees an object whose size the caller knows; false if that is left to a slow path. `codes` is td_class_code_table, or
// zeros, with which nothing is freed here.
static inline TD_ALWAYS_INLINE bool td_push_sized(void *pointer, size_t size, const uint8_t *codes) {
    const uint8_t *entry = td_page_map_entry(pointer);
    if (td_unlikely(entry == NULL))
        return false;
    // By the size the processor knows where the stores will go before it has followed the pointer; loads behind them
    // need not wait. The page map only confirms it, in a byte. (The compiler, which knows both to be equal then, must
    // not choose.)
    uint8_t class_code = td_load_relaxed(entry);
    if (td_unlikely(size > TD_TABLE_BYTES))
        return codes[0] != 0 && td_frontend_push(class_code, pointer);
    size_t expected = codes[size];
    bool is_expected = class_code == (uint8_t)expected;
    TD_OPAQUE(expected);
    return td_likely(is_expected) && td_frontend_push(expected, pointer);
}

static inline TD_ALWAYS_INLINE void td_free_sized(void *pointer, size_t size) {
    if (TD_DEBUG)
        td_check_size(pointer, size);
    if (td_unlikely(!td_push_sized(pointer, size, td_class_code_table)))
        td_free_sized_slow(pointer, size);
}

#pragma GCC visibility pop

#if defined(__cplusplus)
}  // extern "C"
#endif

#endif  // ALLOCATOR_ALLOCATE_H_
