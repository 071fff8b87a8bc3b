// operator new and delete, all forms of C++14 and C++17 ([new.delete]), and the size-returning forms of P0901.
//
// A program may replace some of them ([replacement.functions]), be Tandem preloaded or linked in: the others then do
// what the standard has them do by default, in terms of those.
//
// A C program with Tandem needs no C++ library: where there is none, nobody calls what is here. An operator new that
// finds no memory calls the new_handler until it helps, throws, or is not there; then std::bad_alloc is thrown, or NULL
// returned by the nothrow forms.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

extern "C" {
#include "allocator/allocate.h"
#include "allocator/cxx_library.h"
#include "allocator/malloc.h"
#include "allocator/operators.h"
}

// A program may have its own: linked in, a strong definition takes the place of a weak one. In a shared object they are
// strong, as valgrind's tools overlook weak ones; not inlined, as they may be another's all the same.
#if defined(TD_SHARED)
#define TD_REPLACEABLE __attribute__((noinline, visibility("default")))
#else
#define TD_REPLACEABLE __attribute__((weak, visibility("default")))
#endif
TD_REPLACEABLE void *operator new(size_t size);
TD_REPLACEABLE void operator delete(void *pointer) noexcept;
TD_REPLACEABLE void operator delete(void *pointer, size_t size) noexcept;

// What the compiler refers to for each `catch` below, weakly as allocator/cxx_library.c does.
__asm__(".weak __gxx_personality_v0\n\t.weak __cxa_begin_catch\n\t.weak __cxa_end_catch\n\t.weak _ZSt9terminatev");

namespace {

// The nothrow forms turn what the handler throws into NULL.
void *retry_nothrow(size_t size, size_t alignment) noexcept {
    if (!td_cxx_can_catch())
        return td_cxx_new_nothrow(size, alignment);
    try {
        while (td_cxx_call_new_handler())
            if (void *object = td_alloc_aligned(size, alignment, TD_RETURN_NULL))
                return object;
    } catch (...) {
    }
    return nullptr;
}

inline void *new_nothrow(size_t size) noexcept {
    void *object = td_alloc(size, TD_RETURN_NULL);
    return td_likely(object != nullptr) ? object : retry_nothrow(size, TD_MIN_OBJECT_BYTES);
}

inline void *new_aligned_nothrow(size_t size, std::align_val_t alignment) noexcept {
    void *object = td_alloc_aligned(size, static_cast<size_t>(alignment), TD_RETURN_NULL);
    return td_likely(object != nullptr) ? object : retry_nothrow(size, static_cast<size_t>(alignment));
}

// Whether none of the forms that others are derived from is the program's own. False before td_operators_begin, which
// constructors of shared libraries may precede: the others go by the names then, which is always right. Immutable
// after.
bool are_own;

// td_class_code_table, or zeros: then sized deletes leave the fast path, and need no look at the above in it. Immutable
// after td_operators_begin, zeros before.
uint8_t delete_codes[TD_TABLE_BYTES + 1] __asm__("td_delete_codes");

// What a nothrow form does by default ([new.delete.single]): `allocate` is the form that it is derived from.
template <typename allocation> void *or_null(allocation allocate) noexcept {
    try {
        return allocate();
    } catch (...) {
        return nullptr;
    }
}

// `delete_by_default` is the form that the sized one is derived from.
template <typename deletion>
TD_NOINLINE void delete_sized_slow(void *pointer, size_t size, deletion delete_by_default) noexcept {
    if (td_unlikely(!are_own)) {
        delete_by_default(pointer);
        return;
    }
    if (TD_DEBUG)
        td_check_size(pointer, size);
    td_free_sized_slow(pointer, size);
}

template <typename deletion>
inline TD_ALWAYS_INLINE void delete_sized(void *pointer, size_t size, deletion delete_by_default) noexcept {
    if (td_unlikely(!td_push_sized(pointer, size, delete_codes)))
        delete_sized_slow(pointer, size, delete_by_default);
}

// Whether the name leads to Tandem's own definition. (Compilers take two names for two places.)
template <typename form> bool leads_to(form *named, const char *own) {
    TD_OPAQUE(named);
    return reinterpret_cast<const char *>(named) == own;
}

}  // namespace

extern "C" void *td_new_aligned_failed(size_t size, size_t alignment) {
    while (td_cxx_call_new_handler())
        if (void *object = td_alloc_aligned(size, alignment, TD_RETURN_NULL))
            return object;
    td_cxx_throw_bad_alloc();
}

extern "C" void *td_new_failed(size_t size) {
    return td_new_aligned_failed(size, TD_MIN_OBJECT_BYTES);
}

// The forms that others are derived from go by their names, which the program may have taken over.

TD_DEFINE_NEW(operator new)

TD_REPLACEABLE void *operator new[](size_t size) {
    return operator new(size);
}

TD_REPLACEABLE void *operator new(size_t size, const std::nothrow_t &) noexcept {
    return td_likely(are_own) ? new_nothrow(size) : or_null([=] { return operator new(size); });
}

TD_REPLACEABLE void *operator new[](size_t size, const std::nothrow_t &) noexcept {
    return td_likely(are_own) ? new_nothrow(size) : or_null([=] { return operator new[](size); });
}

TD_REPLACEABLE void *operator new(size_t size, std::align_val_t alignment) {
    return td_alloc_aligned(size, static_cast<size_t>(alignment), TD_THROW);
}

TD_REPLACEABLE void *operator new[](size_t size, std::align_val_t alignment) {
    return operator new(size, alignment);
}

TD_REPLACEABLE void *operator new(size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    return td_likely(are_own) ? new_aligned_nothrow(size, alignment)
                              : or_null([=] { return operator new(size, alignment); });
}

TD_REPLACEABLE void *operator new[](size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    return td_likely(are_own) ? new_aligned_nothrow(size, alignment)
                              : or_null([=] { return operator new[](size, alignment); });
}

TD_DEFINE_DELETE(operator delete)

TD_REPLACEABLE void operator delete[](void *pointer) noexcept {
    operator delete(pointer);
}

TD_REPLACEABLE void operator delete(void *pointer, const std::nothrow_t &) noexcept {
    operator delete(pointer);
}

TD_REPLACEABLE void operator delete[](void *pointer, const std::nothrow_t &) noexcept {
    operator delete[](pointer);
}

#if defined(TD_DEFINE_DELETE_SIZED)
// What the direct way does not do.
extern "C" __attribute__((visibility("hidden"))) void td_delete_sized_any(void *pointer, size_t size) noexcept {
    delete_sized(pointer, size, [](void *object) { operator delete(object); });
}

TD_DEFINE_DELETE_SIZED(operator delete, td_delete_codes, td_delete_sized_any)
#else
TD_REPLACEABLE void operator delete(void *pointer, size_t size) noexcept {
    delete_sized(pointer, size, [](void *object) { operator delete(object); });
}
#endif

TD_REPLACEABLE void operator delete[](void *pointer, size_t size) noexcept {
    delete_sized(pointer, size, [](void *object) { operator delete[](object); });
}

TD_REPLACEABLE void operator delete(void *pointer, std::align_val_t) noexcept {
    td_free(pointer);
}

TD_REPLACEABLE void operator delete[](void *pointer, std::align_val_t alignment) noexcept {
    operator delete(pointer, alignment);
}

TD_REPLACEABLE void operator delete(void *pointer, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    operator delete(pointer, alignment);
}

TD_REPLACEABLE void operator delete[](void *pointer, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    operator delete[](pointer, alignment);
}

TD_REPLACEABLE void operator delete(void *pointer, size_t size, std::align_val_t alignment) noexcept {
    delete_sized(pointer, size, [=](void *object) { operator delete(object, alignment); });
}

TD_REPLACEABLE void operator delete[](void *pointer, size_t size, std::align_val_t alignment) noexcept {
    delete_sized(pointer, size, [=](void *object) { operator delete[](object, alignment); });
}

// Tandem's own definitions, whatever the names above lead to.
#define TD_OWN(symbol)                                                                                                 \
    extern "C" const char td_own##symbol[] __attribute__((visibility("hidden")));                                      \
    __asm__(".set td_own" #symbol ", " #symbol);
TD_OWN(_Znwm)
TD_OWN(_Znam)
TD_OWN(_ZnwmSt11align_val_t)
TD_OWN(_ZnamSt11align_val_t)
TD_OWN(_ZdlPv)
TD_OWN(_ZdaPv)
TD_OWN(_ZdlPvSt11align_val_t)
TD_OWN(_ZdaPvSt11align_val_t)

extern "C" void td_operators_begin() {
    using align = std::align_val_t;
    are_own = leads_to<void *(size_t)>(operator new, td_own_Znwm) &&
              leads_to<void *(size_t)>(operator new[], td_own_Znam) &&
              leads_to<void *(size_t, align)>(operator new, td_own_ZnwmSt11align_val_t) &&
              leads_to<void *(size_t, align)>(operator new[], td_own_ZnamSt11align_val_t) &&
              leads_to<void(void *) noexcept>(operator delete, td_own_ZdlPv) &&
              leads_to<void(void *) noexcept>(operator delete[], td_own_ZdaPv) &&
              leads_to<void(void *, align) noexcept>(operator delete, td_own_ZdlPvSt11align_val_t) &&
              leads_to<void(void *, align) noexcept>(operator delete[], td_own_ZdaPvSt11align_val_t);
    // Debug builds look at each size.
    if (are_own && !TD_DEBUG)
        memcpy(delete_codes, td_class_code_table, sizeof delete_codes);
}

static constexpr std::nothrow_t nothrow{};  // std's is the C++ library's

// What an object of a form that takes `size` can hold; of the program's own forms nothing more is known.
static size_t usable_bytes(const void *object, size_t size) {
    if (object == nullptr)
        return 0;
    return td_likely(are_own) ? td_usable_bytes(object, "malloc_usable_size") : size;
}

extern "C" {

struct __sized_ptr_t {
    void *p;
    size_t n;
};

TD_EXPORT __sized_ptr_t __size_returning_new(size_t size) {
    void *object = operator new(size);
    return {object, usable_bytes(object, size)};
}

TD_EXPORT __sized_ptr_t __size_returning_new_nothrow(size_t size) noexcept {
    void *object = operator new(size, nothrow);
    return {object, usable_bytes(object, size)};
}

TD_EXPORT __sized_ptr_t __size_returning_new_aligned(size_t size, std::align_val_t alignment) {
    void *object = operator new(size, alignment);
    return {object, usable_bytes(object, size)};
}

TD_EXPORT __sized_ptr_t __size_returning_new_aligned_nothrow(size_t size, std::align_val_t alignment) noexcept {
    void *object = operator new(size, alignment, nothrow);
    return {object, usable_bytes(object, size)};
}

}  // extern "C"
