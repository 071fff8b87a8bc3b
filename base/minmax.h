// The smaller and the larger of two numbers, and what lies nearest within bounds or at a multiple.
#ifndef BASE_MINMAX_H_
#define BASE_MINMAX_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

static inline size_t td_min(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t td_max(size_t a, size_t b) {
    return a > b ? a : b;
}

// Requires `low` <= `high`.
static inline size_t td_clamp(size_t value, size_t low, size_t high) {
    return td_max(low, td_min(value, high));
}

// The nearest multiple of `granule`, a power of two, that is not below `value`.
static inline size_t td_round_up(size_t value, size_t granule) {
    return (value + granule - 1) & ~(granule - 1);
}

#pragma GCC visibility pop

#endif  // BASE_MINMAX_H_
