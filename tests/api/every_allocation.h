// Every function that returns a fresh object of a size, by name, for what all of them must do alike.
#ifndef TESTS_API_EVERY_ALLOCATION_H_
#define TESTS_API_EVERY_ALLOCATION_H_

#include <cstddef>
#include <cstdlib>
#include <new>
#include <ostream>
#include <vector>

#include <malloc.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/variant/variant.h"

// Bytes of all objects, large ones included, by mallinfo2(3).
inline size_t bytes_in_use() {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

// Address space that malloc has, in use or not, by mallinfo2(3).
inline size_t bytes_from_system() {
    struct mallinfo2 info = mallinfo2();
    return info.arena + info.hblkhd;
}

// The C API: on failure NULL and errno.
struct c_allocation {
    const char *name;
    void *(*allocate)(size_t size);
};

inline std::ostream &operator<<(std::ostream &stream, const c_allocation &form) {
    return stream << form.name;
}

inline const std::vector<c_allocation> &every_c_allocation() {
    static const std::vector<c_allocation> list = {
        {"malloc", [](size_t size) { return opaque(malloc(size)); }},
        {"calloc_1_n", [](size_t size) { return opaque(calloc(1, size)); }},
        {"calloc_n_1", [](size_t size) { return opaque(calloc(size, 1)); }},
        {"realloc", [](size_t size) { return opaque(realloc(nullptr, size)); }},
        {"reallocarray_1_n", [](size_t size) { return opaque(reallocarray(nullptr, 1, size)); }},
        {"reallocarray_n_1", [](size_t size) { return opaque(reallocarray(nullptr, size, 1)); }},
        {"memalign_16", [](size_t size) { return opaque(memalign(16, size)); }},
        {"memalign_256", [](size_t size) { return opaque(memalign(256, size)); }},
        {"memalign_1M", [](size_t size) { return opaque(memalign(1 << 20, size)); }},
        {"aligned_alloc_64", [](size_t size) { return opaque(aligned_alloc(64, size)); }},
        {"aligned_alloc_8K", [](size_t size) { return opaque(aligned_alloc(8192, size)); }},
        {"valloc", [](size_t size) { return opaque(valloc(size)); }},
        {"pvalloc", [](size_t size) { return opaque(pvalloc(size)); }},
    };
    return list;
}

// operator new: on failure std::bad_alloc or, nothrow, NULL.
struct new_allocation {
    const char *name;
    void *(*allocate)(size_t size);
    void (*release)(void *object);
    bool throws;
    size_t alignment;
};

inline std::ostream &operator<<(std::ostream &stream, const new_allocation &form) {
    return stream << form.name;
}

inline const std::vector<new_allocation> &every_new_allocation() {
    constexpr auto nothrow = [](size_t size) { return opaque(operator new(size, std::nothrow)); };
    constexpr auto array_nothrow = [](size_t size) { return opaque(operator new[](size, std::nothrow)); };
    constexpr std::align_val_t wide{512};
    static const std::vector<new_allocation> list = {
        {"new", [](size_t size) { return opaque(operator new(size)); }, [](void *object) { operator delete(object); },
         true, 16},
        {"new_array", [](size_t size) { return opaque(operator new[](size)); },
         [](void *object) { operator delete[](object); }, true, 16},
        {"new_nothrow", nothrow, [](void *object) { operator delete(object, std::nothrow); }, false, 16},
        {"new_array_nothrow", array_nothrow, [](void *object) { operator delete[](object, std::nothrow); }, false, 16},
        {"new_aligned", [](size_t size) { return opaque(operator new(size, wide)); },
         [](void *object) { operator delete(object, wide); }, true, 512},
        {"new_array_aligned", [](size_t size) { return opaque(operator new[](size, wide)); },
         [](void *object) { operator delete[](object, wide); }, true, 512},
        {"new_aligned_nothrow", [](size_t size) { return opaque(operator new(size, wide, std::nothrow)); },
         [](void *object) { operator delete(object, wide, std::nothrow); }, false, 512},
        {"new_array_aligned_nothrow", [](size_t size) { return opaque(operator new[](size, wide, std::nothrow)); },
         [](void *object) { operator delete[](object, wide, std::nothrow); }, false, 512},
    };
    return list;
}

// Sizes around every kind of boundary that an allocator has, up to `limit`.
inline std::vector<size_t> boundary_sizes(size_t limit) {
    std::vector<size_t> sizes = {0};
    for (size_t power = 1; power <= limit; power *= 2) {
        for (size_t size : {power - 1, power, power + 1, power + power / 4, power + power / 2 + 1}) {
            if (size > sizes.back() && size <= limit) {
                sizes.push_back(size);
            }
        }
    }
    return sizes;
}

// Sizes that no machine has.
inline const std::vector<size_t> &impossible_sizes() {
    static const std::vector<size_t> list = {
        SIZE_MAX,
        SIZE_MAX - 1,
        SIZE_MAX - 15,
        SIZE_MAX - 16,
        SIZE_MAX - 4095,
        SIZE_MAX - 4096,
        SIZE_MAX - (size_t{2} << 20),
        SIZE_MAX / 2 + 2,
        SIZE_MAX / 2 + 1,  // PTRDIFF_MAX + 1
        SIZE_MAX / 2,      // PTRDIFF_MAX: an object may be that large, an address space not
        SIZE_MAX / 2 - 4096,
        size_t{1} << 62,
        size_t{1} << 56,
        size_t{1} << 52,
    };
    return list;
}

#endif  // TESTS_API_EVERY_ALLOCATION_H_
