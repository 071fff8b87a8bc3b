// Values and memory that the compiler must not reason about: it knows malloc's contract as well as we do, and would
// otherwise remove the very calls that a test is about.
#ifndef TESTS_API_OPAQUE_H_
#define TESTS_API_OPAQUE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

// `value`, which the compiler can no longer know anything about.
template <typename T> inline T opaque(T value) {
    asm volatile("" : "+r"(value) : : "memory");
    return value;
}

// Fills an object with bytes that depend on its size and on `seed`.
inline void fill_pattern(void *object, size_t size, uint64_t seed) {
    auto *bytes = static_cast<unsigned char *>(object);
    uint64_t state = seed * 0x9e3779b97f4a7c15u + size;
    for (size_t i = 0; i < size; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = state ^ (state >> 29);
        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
    opaque(object);
}

// Whether the first `count` bytes are still as `fill_pattern` with that size and seed left them.
inline bool has_pattern(const void *object, size_t size, uint64_t seed, size_t count) {
    const auto *bytes = static_cast<const unsigned char *>(opaque(object));
    uint64_t state = seed * 0x9e3779b97f4a7c15u + size;
    for (size_t i = 0; i < count; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = state ^ (state >> 29);
        if (memcmp(bytes + i, &word, count - i < 8 ? count - i : 8) != 0) {
            return false;
        }
    }
    return true;
}

inline bool has_pattern(const void *object, size_t size, uint64_t seed) {
    return has_pattern(object, size, seed, size);
}

// Whether `size` bytes are all zero.
inline bool is_zero(const void *object, size_t size) {
    const auto *bytes = static_cast<const unsigned char *>(opaque(object));
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

inline bool is_aligned(const void *object, size_t alignment) {
    return (reinterpret_cast<uintptr_t>(object) & (alignment - 1)) == 0;
}

#endif  // TESTS_API_OPAQUE_H_
