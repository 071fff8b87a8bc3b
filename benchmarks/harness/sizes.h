// Sizes as real programs ask for them: recorded from three programs' calls of malloc, calloc and realloc.
#ifndef BENCHMARKS_HARNESS_SIZES_H_
#define BENCHMARKS_HARNESS_SIZES_H_

#include <stddef.h>
#include <stdint.h>

#include "benchmarks/harness/random.h"

namespace bench {

constexpr size_t recorded_points = 17;

// How many in a thousand of a program's sizes are at most the size at the same place of its table.
constexpr uint32_t recorded_permille[recorded_points] = {0,   100, 200, 300, 400, 500, 600, 700, 800,
                                                         900, 950, 980, 990, 995, 998, 999, 1000};

struct recorded_sizes {
    const char *program;
    uint32_t size[recorded_points];  // bytes
};

constexpr size_t recorded_programs = 3;

constexpr recorded_sizes recorded[recorded_programs] = {
    // g++ 12 at -O2 on a C++ file of 250 lines: 1.0 million calls.
    {"compiler", {8, 16, 32, 48, 56, 80, 104, 104, 208, 944, 4064, 8032, 8032, 8032, 8168, 13392, 65536}},
    // Python 3.11 without its own small-object allocator, parsing Python and JSON: 2.5 million calls.
    {"interpreter", {8, 32, 32, 32, 40, 56, 56, 56, 64, 80, 104, 240, 400, 1096, 1104, 4096, 65536}},
    // SQLite in memory, loading, indexing and joining 200,000 rows: 0.9 million calls.
    {"database", {8, 32, 32, 40, 40, 440, 440, 4104, 4104, 6384, 6504, 6504, 6544, 6584, 8784, 8784, 65536}},
};

// A size as `program` asks for it. Programs ask for few sizes over and over: the common nine tenths come as the table
// has them, the rest from anywhere between its entries.
inline size_t recorded_size(random_source *random, const recorded_sizes &program) {
    const uint64_t rank = random->below(1000);
    size_t point = 1;
    while (recorded_permille[point] <= rank) {
        point++;
    }
    return rank < 900 ? program.size[point] : random->between(program.size[point - 1], program.size[point]);
}

}  // namespace bench

#endif  // BENCHMARKS_HARNESS_SIZES_H_
