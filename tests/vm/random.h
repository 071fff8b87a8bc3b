// Pseudo-random numbers: a state per thread, any start value.
#ifndef TESTS_VM_RANDOM_H_
#define TESTS_VM_RANDOM_H_

#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random) {
    uint64_t mixed = random->state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

// A number from 0 to `limit` - 1.
static inline uint64_t random_below(struct random *random, uint64_t limit) {
    return random_next(random) % limit;
}

#endif  // TESTS_VM_RANDOM_H_
