// Size classes: the sizes that objects really have.
//
// Class 0 is none: a bin of class 0 is always empty and always full. Classes 1 to 8 are the multiples of 16 up to 128
// bytes; from there on each doubling has eight classes, so an object wastes at most an eighth of what was asked for.
//
//   class   1   2 ...   8 |   9  10 ...  16 |  17  18 ...  24 | ... |    73    74 ...    80
//   bytes  16  32     128 | 144 160     256 | 288 320     512 | ... | 36864 40960     65536
#ifndef BASE_SIZE_CLASS_H_
#define BASE_SIZE_CLASS_H_

#include "base/arch.h"
#include "base/config.h"

#pragma GCC visibility push(hidden)

#define TD_CLASS_COUNT 81
// Sizes up to this one find their class in a table.
#define TD_TABLE_BYTES ((size_t)1024)
#define TD_TABLE_CLASSES 32

// What the layers need to know of a class. Immutable after init.
struct td_class_info {
    uint64_t reciprocal;  // ceil(2^42 / size): index = (offset * reciprocal) >> 42
    uint32_t object_bytes;
    uint16_t span_pages;
    uint16_t span_objects;
    uint16_t align_pages;   // a span's first page is a multiple of it: 16 KiB and more are naturally aligned
    uint16_t batch;         // objects that move at once
    uint16_t swap_min;      // objects in its stack of frees with which a bin may swap; UINT16_MAX if it has one stack
    uint16_t bin_max;       // objects that each stack of a bin may hold
    uint16_t transfer_max;  // batches that a lane of the transfer cache may hold
};

// Where a class is looked up to find its bin, it is kept as its code: twice its index. A bin is two words, and no
// addressing mode multiplies by as much.
extern const uint8_t td_class_code_table[TD_TABLE_BYTES + 1];
extern struct td_class_info td_class_info[TD_CLASS_COUNT];

// Fills `td_class_info`. Any number of threads may call it at once: all write the same values.
void td_size_class_init(void);

static inline size_t td_class_code(size_t class_index) {
    return 2 * class_index;
}

static inline size_t td_class_of_code(size_t class_code) {
    return class_code / 2;
}

static inline size_t td_class_bytes(size_t class_index) {
    if (class_index <= 8)
        return class_index * 16;
    return (9 + (class_index - 9) % 8) << (4 + (class_index - 9) / 8);
}

// The smallest class for `size` in 129 .. `TD_MAX_SMALL_BYTES`.
static inline size_t td_class_of_medium(size_t size) {
    size_t last = size - 1;
    size_t doubling = td_highest_bit(last);
    // The first four bits count 8 to 15 within a doubling; 9 is the class of 144 bytes, and 7 its doubling.
    return 9 + (doubling - 7) * 8 + (last >> (doubling - 3)) - 8;
}

// The smallest class for `size` up to `TD_MAX_SMALL_BYTES`.
static inline size_t td_class_of(size_t size) {
    if (td_likely(size <= TD_TABLE_BYTES))
        return td_class_of_code(td_class_code_table[size]);
    return td_class_of_medium(size);
}

// Whether the bins of the class have two stacks: see frontends/slab.h.
static inline bool td_class_has_two_stacks(size_t class_index) {
    return class_index <= TD_TABLE_CLASSES;
}

// The object that holds byte `offset` of a span of the class.
static inline size_t td_class_object_index(const struct td_class_info *info, size_t offset) {
    return (size_t)((offset * info->reciprocal) >> 42);
}

#pragma GCC visibility pop

#endif  // BASE_SIZE_CLASS_H_
