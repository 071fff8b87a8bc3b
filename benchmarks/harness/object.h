// Objects that can tell whether they are still whole. Every write and every read goes through volatile, so that no
// compiler can remove the work.
//
//     0          8                                                    size
//     +----------+----------+----------+- - - -+----------+-----------+
//     | header   | seal + 1 | seal + 2 |       | seal + n | last byte |
//     +----------+----------+----------+- - - -+----------+-----------+
//     header: the seal's upper 40 bits, the size in the lower 24
//
// The seal depends on the address and the size, so an object that another overlaps in a word that is written does not
// pass. The header is zeroed before the object is freed, so an object that two owners hold does not pass a second time.
#ifndef BENCHMARKS_HARNESS_OBJECT_H_
#define BENCHMARKS_HARNESS_OBJECT_H_

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "benchmarks/harness/harness.h"

namespace bench {

constexpr size_t object_min_bytes = 8;
constexpr size_t object_max_bytes = (1u << 24) - 1;
constexpr uint64_t object_size_mask = (1u << 24) - 1;

inline uint64_t object_seal(const volatile void *object, uint64_t size) {
    const uint64_t mixed = (reinterpret_cast<uintptr_t>(object) ^ (size << 40)) * 0x9e3779b97f4a7c15u;
    return mixed ^ (mixed >> 29);
}

// How far the written words of an object lie apart: small objects are written in every word, large ones in every cache
// line, very large ones in every quarter of a page. The last word may be written in its last byte alone.
inline size_t object_stride(size_t size) {
    return size <= 128 ? 8 : size <= 4096 ? 64 : 1024;
}

// Writes an object of `size` bytes, between `object_min_bytes` and `object_max_bytes`.
inline void object_write(void *object, size_t size) {
    const uint64_t seal = object_seal(object, size);
    volatile unsigned char *bytes = static_cast<volatile unsigned char *>(object);
    const size_t stride = object_stride(size);
    bytes[size - 1] = static_cast<unsigned char>(seal);
    uint64_t index = 1;
    for (size_t offset = 8; offset + 8 < size; offset += stride) {
        *reinterpret_cast<volatile uint64_t *>(bytes + offset) = seal + index++;
    }
    *reinterpret_cast<volatile uint64_t *>(bytes) = (seal & ~object_size_mask) | size;
}

// The size of the object, having checked that it is whole; ends the program with a message if it is not.
inline size_t object_check(void *object) {
    volatile unsigned char *bytes = static_cast<volatile unsigned char *>(object);
    const uint64_t header = *reinterpret_cast<volatile uint64_t *>(bytes);
    const size_t size = header & object_size_mask;
    const uint64_t seal = object_seal(object, size);
    if (size < object_min_bytes || ((header ^ seal) & ~object_size_mask) != 0) {
        fail("object %p: its header reads %#llx: freed, given to two owners or overwritten", object,
             static_cast<unsigned long long>(header));
    }
    const size_t stride = object_stride(size);
    uint64_t wrong = size > 8 ? bytes[size - 1] ^ static_cast<unsigned char>(seal) : 0;
    uint64_t index = 1;
    for (size_t offset = 8; offset + 8 < size; offset += stride) {
        wrong |= *reinterpret_cast<volatile uint64_t *>(bytes + offset) ^ (seal + index++);
    }
    if (wrong != 0) {
        fail("object %p of %zu bytes: its contents are not what its owner wrote", object, size);
    }
    return size;
}

// malloc, never NULL, and written.
inline void *object_new(size_t size) {
    void *object = malloc(size);
    if (object == nullptr) {
        fail("malloc(%zu) gave NULL", size);
    }
    object_write(object, size);
    return object;
}

// Checks, marks as dead and frees an object; returns the size that it had.
inline size_t object_free(void *object) {
    const size_t size = object_check(object);
    *static_cast<volatile uint64_t *>(object) = 0;
    free(object);
    return size;
}

}  // namespace bench

#endif  // BENCHMARKS_HARNESS_OBJECT_H_
