// operator new and delete, all forms of C++14 and C++17 ([new.delete]), and the size-returning forms of P0901.
//
// Everything of the C++ library is referenced weakly, so that a C program with Tandem needs no C++ library: where there
// is none, nobody calls what is here. An operator new that finds no memory calls the new_handler until it helps,
// throws, or is not there; then std::bad_alloc is thrown, or NULL returned by the nothrow forms.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <new>

extern "C" {
#include "allocator/allocate.h"
#include "allocator/malloc.h"
}

namespace std {
void __throw_bad_alloc() __attribute__((weak));
new_handler get_new_handler() noexcept __attribute__((weak));
}  // namespace std

// What the compiler refers to for the one `catch` below.
__asm__(".weak __gxx_personality_v0\n\t.weak __cxa_begin_catch\n\t.weak __cxa_end_catch\n\t.weak _ZSt9terminatev");

namespace {

// A function of a C++ library that was not there when weak references were resolved: it came by dlopen, for all or for
// one library alone.
void *find_late(const char *name) {
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    void *function = dlsym(RTLD_DEFAULT, name);
    // Not by its name, which linkers of static programs warn of.
    auto open = reinterpret_cast<decltype(&dlopen)>(dlsym(RTLD_DEFAULT, "dlopen"));
    for (const char *library : libraries) {
        void *handle = function == nullptr && open != nullptr ? open(library, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
        if (handle != nullptr)
            function = dlsym(handle, name);
    }
    return function;
}

[[noreturn]] void throw_bad_alloc() {
    auto thrower = std::__throw_bad_alloc;
    if (thrower == nullptr)
        thrower = reinterpret_cast<void (*)()>(find_late("_ZSt17__throw_bad_allocv"));
    if (thrower != nullptr)
        thrower();
    td_fatal("out of memory in operator new, and no C++ library to throw std::bad_alloc");
}

// Calls the new_handler. False if there is none.
bool call_new_handler() {
    auto getter = std::get_new_handler;
    if (getter == nullptr)
        getter = reinterpret_cast<std::new_handler (*)() noexcept>(find_late("_ZSt15get_new_handlerv"));
    std::new_handler handler = getter != nullptr ? getter() : nullptr;
    if (handler == nullptr)
        return false;
    handler();
    return true;
}

// The nothrow forms turn what the handler throws into NULL.
void *retry_nothrow(size_t size, size_t alignment) noexcept {
    try {
        while (call_new_handler())
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

}  // namespace

extern "C" void *td_new_aligned_failed(size_t size, size_t alignment) {
    while (call_new_handler())
        if (void *object = td_alloc_aligned(size, alignment, TD_RETURN_NULL))
            return object;
    throw_bad_alloc();
}

extern "C" void *td_new_failed(size_t size) {
    return td_new_aligned_failed(size, TD_MIN_OBJECT_BYTES);
}

TD_DEFINE_NEW(operator new)

// operator new[](size_t) is the same function. (Not by the attribute: to compilers what is assembly does not throw,
// and this does.)
__asm__(".globl _Znam\n\t.type _Znam, %function\n\t.set _Znam, _Znwm");

TD_EXPORT void *operator new(size_t size, const std::nothrow_t &) noexcept {
    return new_nothrow(size);
}

TD_EXPORT void *operator new[](size_t size, const std::nothrow_t &) noexcept {
    return new_nothrow(size);
}

TD_EXPORT void *operator new(size_t size, std::align_val_t alignment) {
    return td_alloc_aligned(size, static_cast<size_t>(alignment), TD_THROW);
}

TD_EXPORT void *operator new[](size_t size, std::align_val_t alignment) {
    return td_alloc_aligned(size, static_cast<size_t>(alignment), TD_THROW);
}

TD_EXPORT void *operator new(size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    return new_aligned_nothrow(size, alignment);
}

TD_EXPORT void *operator new[](size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    return new_aligned_nothrow(size, alignment);
}

TD_EXPORT void operator delete(void *pointer) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete[](void *pointer) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete(void *pointer, const std::nothrow_t &) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete[](void *pointer, const std::nothrow_t &) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete(void *pointer, size_t size) noexcept {
    td_free_sized(pointer, size);
}

TD_EXPORT void operator delete[](void *pointer, size_t size) noexcept {
    td_free_sized(pointer, size);
}

TD_EXPORT void operator delete(void *pointer, std::align_val_t) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete[](void *pointer, std::align_val_t) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete(void *pointer, std::align_val_t, const std::nothrow_t &) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete[](void *pointer, std::align_val_t, const std::nothrow_t &) noexcept {
    td_free(pointer);
}

TD_EXPORT void operator delete(void *pointer, size_t size, std::align_val_t) noexcept {
    td_free_sized(pointer, size);
}

TD_EXPORT void operator delete[](void *pointer, size_t size, std::align_val_t) noexcept {
    td_free_sized(pointer, size);
}

extern "C" {

struct __sized_ptr_t {
    void *p;
    size_t n;
};

TD_EXPORT __sized_ptr_t __size_returning_new(size_t size) {
    void *object = operator new(size);
    return {object, td_usable_bytes(object, "malloc_usable_size")};
}

TD_EXPORT __sized_ptr_t __size_returning_new_nothrow(size_t size) noexcept {
    void *object = new_nothrow(size);
    return {object, object != nullptr ? td_usable_bytes(object, "malloc_usable_size") : 0};
}

TD_EXPORT __sized_ptr_t __size_returning_new_aligned(size_t size, std::align_val_t alignment) {
    void *object = operator new(size, alignment);
    return {object, td_usable_bytes(object, "malloc_usable_size")};
}

TD_EXPORT __sized_ptr_t __size_returning_new_aligned_nothrow(size_t size, std::align_val_t alignment) noexcept {
    void *object = new_aligned_nothrow(size, alignment);
    return {object, object != nullptr ? td_usable_bytes(object, "malloc_usable_size") : 0};
}

}  // extern "C"
