#include "base/size_class.h"

#include "base/atomic.h"

#define PAIR(n, c) [n] = (c), [(n) + 1] = (c)
#define QUAD(n, c) PAIR(n, c), PAIR((n) + 2, c)

const uint8_t td_class_table[TD_TABLE_BYTES / 16 + 1] = {
    1,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    PAIR(17, 17),
    PAIR(19, 18),
    PAIR(21, 19),
    PAIR(23, 20),
    PAIR(25, 21),
    PAIR(27, 22),
    PAIR(29, 23),
    PAIR(31, 24),
    QUAD(33, 25),
    QUAD(37, 26),
    QUAD(41, 27),
    QUAD(45, 28),
    QUAD(49, 29),
    QUAD(53, 30),
    QUAD(57, 31),
    QUAD(61, 32),
};

struct td_class_info td_class_info[TD_CLASS_COUNT];
static bool is_initialised;  // atomic, any thread

static size_t clamp(size_t value, size_t low, size_t high) {
    return value < low ? low : value > high ? high : value;
}

// The fewest pages that hold eight objects, or as many as 32 KiB take, with a tail of at most 1/32: a span goes back
// when its last object does, so larger objects that are few at a time have spans of their own.
static size_t span_pages_for(size_t object_bytes) {
    for (size_t pages = 1;; pages++) {
        size_t bytes = pages * TD_PAGE_BYTES;
        bool is_enough = bytes / object_bytes >= 8 || pages >= 4;
        if (is_enough && bytes % object_bytes * 32 <= bytes)
            return pages;
    }
}

void td_size_class_init(void) {
    if (td_load_acquire(&is_initialised))
        return;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        size_t bytes = td_class_bytes(i);
        size_t pages = span_pages_for(bytes);
        size_t batch = clamp(TD_BATCH_BYTES / bytes, 1, TD_BATCH_MAX);
        bool is_power_of_two = (bytes & (bytes - 1)) == 0;
        td_class_info[i] = (struct td_class_info){
            .reciprocal = (((uint64_t)1 << 42) + bytes - 1) / bytes,
            .object_bytes = (uint32_t)bytes,
            .span_pages = (uint16_t)pages,
            .span_objects = (uint16_t)(pages * TD_PAGE_BYTES / bytes),
            .align_pages = (uint16_t)(is_power_of_two && bytes > TD_PAGE_BYTES ? bytes / TD_PAGE_BYTES : 1),
            .batch = (uint16_t)batch,
            .rotation = td_class_has_two_stacks(i) ? (uint16_t)clamp(TD_ROTATION_BYTES / bytes, 1, TD_ROTATION_MAX)
                                                   : UINT16_MAX,
            .bin_max = (uint16_t)clamp(TD_BIN_BYTES / bytes, 2, TD_BIN_MAX),
            .transfer_max =
                (uint16_t)clamp(TD_TRANSFER_BYTES / (bytes * batch), TD_TRANSFER_BATCHES_MIN, TD_TRANSFER_BATCHES_MAX),
        };
    }
    // Pairs with the acquire above.
    td_store_release(&is_initialised, true);
}
