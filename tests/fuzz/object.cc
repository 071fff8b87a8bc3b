#include "tests/fuzz/object.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include <malloc.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/variant/variant.h"

struct __sized_ptr_t {
    void *p;
    size_t n;
};

// What glibc 2.36 has not.
extern "C" {
void cfree(void *object) __attribute__((weak));
void free_sized(void *object, size_t size) __attribute__((weak));
void free_aligned_sized(void *object, size_t alignment, size_t size) __attribute__((weak));
__sized_ptr_t __size_returning_new(size_t size) __attribute__((weak));
}

namespace fuzz {

namespace {

std::align_val_t to_align_val(size_t alignment) {
    return static_cast<std::align_val_t>(alignment);
}

void *posix_memalign_or_null(size_t size, size_t alignment) {
    void *pointer = nullptr;
    return posix_memalign(&pointer, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) == 0 ? pointer
                                                                                                        : nullptr;
}

// Splits a size into two factors where it has small ones.
void *calloc_in_two_factors(size_t size, size_t) {
    size_t factor = size % 8 == 0 ? 8 : size % 3 == 0 ? 3 : 1;
    return calloc(size / factor, factor);
}

// Those that only Tandem has stand at the end.
const way_to_allocate allocations[] = {
    {"malloc", family::c, false, false, [](size_t size, size_t) { return malloc(size); }},
    {"malloc again", family::c, false, false, [](size_t size, size_t) { return malloc(size); }},
    {"malloc once more", family::c, false, false, [](size_t size, size_t) { return malloc(size); }},
    {"calloc", family::c, false, true, [](size_t size, size_t) { return calloc(1, size); }},
    {"calloc in two factors", family::c, false, true, calloc_in_two_factors},
    {"realloc of NULL", family::c, false, false, [](size_t size, size_t) { return realloc(nullptr, size); }},
    {"reallocarray of NULL", family::c, false, false,
     [](size_t size, size_t) { return reallocarray(nullptr, size, 1); }},
    {"memalign", family::c_aligned, true, false,
     [](size_t size, size_t alignment) { return memalign(alignment, size); }},
    {"aligned_alloc", family::c_aligned, true, false,
     [](size_t size, size_t alignment) { return aligned_alloc(alignment, size); }},
    {"posix_memalign", family::c_aligned, true, false, posix_memalign_or_null},
    {"valloc", family::c_pages, false, false, [](size_t size, size_t) { return valloc(size); }},
    {"pvalloc", family::c_pages, false, false, [](size_t size, size_t) { return pvalloc(size); }},
    {"new", family::single_new, false, false, [](size_t size, size_t) { return operator new(size); }},
    {"new nothrow", family::single_new, false, false,
     [](size_t size, size_t) { return operator new(size, std::nothrow); }},
    {"new[]", family::array_new, false, false, [](size_t size, size_t) { return operator new[](size); }},
    {"new[] nothrow", family::array_new, false, false,
     [](size_t size, size_t) { return operator new[](size, std::nothrow); }},
    {"new aligned", family::aligned_new, true, false,
     [](size_t size, size_t alignment) { return operator new(size, to_align_val(alignment)); }},
    {"new aligned nothrow", family::aligned_new, true, false,
     [](size_t size, size_t alignment) { return operator new(size, to_align_val(alignment), std::nothrow); }},
    {"new[] aligned", family::aligned_array_new, true, false,
     [](size_t size, size_t alignment) { return operator new[](size, to_align_val(alignment)); }},
    {"tandem_alloc_at_least", family::c, false, false,
     [](size_t size, size_t) { return tandem_alloc_at_least(size).pointer; }},
    {"__size_returning_new", family::single_new, false, false,
     [](size_t size, size_t) { return __size_returning_new(size).p; }},
};
constexpr size_t allocation_count = sizeof allocations / sizeof allocations[0];
constexpr size_t allocations_of_tandem_only = 2;

const way_to_free frees_c[] = {
    {"free", family::c, [](const object &object) { free(object.pointer); }},
    {"free again", family::c, [](const object &object) { free(object.pointer); }},
    {"realloc to zero", family::c, [](const object &object) { opaque(realloc(object.pointer, opaque<size_t>(0))); }},
    {"cfree", family::c, [](const object &object) { cfree(object.pointer); }},
    {"free_sized", family::c, [](const object &object) { free_sized(object.pointer, object.size); }},
};
constexpr size_t frees_c_of_tandem_only = 2;

const way_to_free frees_c_aligned[] = {
    {"free", family::c_aligned, [](const object &object) { free(object.pointer); }},
    {"free_aligned_sized", family::c_aligned,
     [](const object &object) { free_aligned_sized(object.pointer, object.alignment, object.size); }},
};
constexpr size_t frees_c_aligned_of_tandem_only = 1;

// What valloc and pvalloc return has no size that a sized free could name.
const way_to_free frees_c_pages[] = {
    {"free", family::c_pages, [](const object &object) { free(object.pointer); }},
};

const way_to_free frees_single_new[] = {
    {"delete", family::single_new, [](const object &object) { operator delete(object.pointer); }},
    {"delete sized", family::single_new, [](const object &object) { operator delete(object.pointer, object.size); }},
    {"delete nothrow", family::single_new, [](const object &object) { operator delete(object.pointer, std::nothrow); }},
};

const way_to_free frees_array_new[] = {
    {"delete[]", family::array_new, [](const object &object) { operator delete[](object.pointer); }},
    {"delete[] sized", family::array_new, [](const object &object) { operator delete[](object.pointer, object.size); }},
    {"delete[] nothrow", family::array_new,
     [](const object &object) { operator delete[](object.pointer, std::nothrow); }},
};

const way_to_free frees_aligned_new[] = {
    {"delete aligned", family::aligned_new,
     [](const object &object) { operator delete(object.pointer, to_align_val(object.alignment)); }},
    {"delete sized aligned", family::aligned_new,
     [](const object &object) { operator delete(object.pointer, object.size, to_align_val(object.alignment)); }},
    {"delete aligned nothrow", family::aligned_new,
     [](const object &object) { operator delete(object.pointer, to_align_val(object.alignment), std::nothrow); }},
};

const way_to_free frees_aligned_array_new[] = {
    {"delete[] aligned", family::aligned_array_new,
     [](const object &object) { operator delete[](object.pointer, to_align_val(object.alignment)); }},
    {"delete[] sized aligned", family::aligned_array_new,
     [](const object &object) { operator delete[](object.pointer, object.size, to_align_val(object.alignment)); }},
};

template <size_t count> ways_to_free all_of(const way_to_free (&ways)[count], size_t of_tandem_only = 0) {
    return {ways, variant_is_tandem ? count : count - of_tandem_only};
}

// Objects up to this size are written and checked byte by byte.
constexpr size_t whole_bytes = 2048;
// The rest in words this far apart.
constexpr size_t stride_bytes = 1000;

uint64_t word_at(uint64_t seed, size_t offset) {
    uint64_t word = (seed + offset) * 0x9e3779b97f4a7c15u;
    return word ^ (word >> 31);
}

// Calls `visit(offset, word, length)` for everything that is written to an object, front to back.
template <typename function> bool visit_contents(const object &object, size_t count, function visit) {
    const size_t whole = count < whole_bytes ? count : whole_bytes;
    for (size_t offset = 0; offset < whole; offset += 8) {
        if (!visit(offset, word_at(object.seed, offset), whole - offset < 8 ? whole - offset : 8)) {
            return false;
        }
    }
    for (size_t offset = whole_bytes; offset + 8 <= count && offset + 8 < object.size; offset += stride_bytes) {
        if (!visit(offset, word_at(object.seed, offset), 8)) {
            return false;
        }
    }
    // The last byte of all, which is where neighbours tread on each other.
    const size_t last = object.size - 1;
    return count < object.size || object.size <= whole_bytes || visit(last, object.seed >> 7, 1);
}

}  // namespace

ways_to_allocate every_way_to_allocate() {
    return {allocations, variant_is_tandem ? allocation_count : allocation_count - allocations_of_tandem_only};
}

ways_to_free every_way_to_free(family family) {
    switch (family) {
    case family::c:
        return all_of(frees_c, frees_c_of_tandem_only);
    case family::c_aligned:
        return all_of(frees_c_aligned, frees_c_aligned_of_tandem_only);
    case family::c_pages:
        return all_of(frees_c_pages);
    case family::single_new:
        return all_of(frees_single_new);
    case family::array_new:
        return all_of(frees_array_new);
    case family::aligned_new:
        return all_of(frees_aligned_new);
    case family::aligned_array_new:
        return all_of(frees_aligned_array_new);
    }
    abort();
}

void fill(const object &object) {
    auto *bytes = static_cast<unsigned char *>(object.pointer);
    visit_contents(object, object.size, [bytes](size_t offset, uint64_t word, size_t length) {
        memcpy(bytes + offset, &word, length);
        return true;
    });
    opaque(object.pointer);
}

bool is_filled(const object &object, size_t count) {
    const auto *bytes = static_cast<const unsigned char *>(opaque(object.pointer));
    return visit_contents(object, count, [bytes](size_t offset, uint64_t word, size_t length) {
        return memcmp(bytes + offset, &word, length) == 0;
    });
}

const char *flaw_of_fresh(const object &object, bool must_be_zero) {
    if (!is_aligned(object.pointer, 16)) {
        return "is not aligned to 16 bytes";
    }
    if (object.alignment != 0 && !is_aligned(object.pointer, object.alignment)) {
        return "is not aligned as asked for";
    }
    if (object.usable < object.size) {
        return "has a usable size below its size";
    }
    if (object.usable > object.size + 16384 && object.usable > 4 * (object.size + object.alignment)) {
        return "has a usable size that is far too large";
    }
    if (must_be_zero && !is_zero(object.pointer, object.size)) {
        return "is not zero";
    }
    return nullptr;
}

}  // namespace fuzz
