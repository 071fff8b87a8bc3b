// Batches: arrays of pointers to objects, in which they move between the layers. What is last in one is used first.
#ifndef BASE_BATCH_H_
#define BASE_BATCH_H_

#include "base/config.h"

static inline void td_batch_reverse(void **objects, size_t count) {
    for (size_t low = 0; low + 1 < count; low++, count--) {
        void *object = objects[low];
        objects[low] = objects[count - 1];
        objects[count - 1] = object;
    }
}

#endif  // BASE_BATCH_H_
