// The back end's counters, as values.
#ifndef TESTS_BACKEND_BACKEND_STATS_H_
#define TESTS_BACKEND_BACKEND_STATS_H_

#include <cstddef>
#include <cstdint>

extern "C" {
#include "backend/backend.h"
}

inline struct td_backend_stats backend_stats() {
    struct td_backend_stats stats;
    td_backend_get_stats(&stats);
    return stats;
}

inline size_t count_segments() {
    return backend_stats().segments;
}

inline uint64_t rebuilt() {
    return backend_stats().hugepages_rebuilt;
}

#endif  // TESTS_BACKEND_BACKEND_STATS_H_
