#include "base/size_class.h"

#include "base/atomic.h"

const uint8_t td_class_table[TD_TABLE_BYTES + 1] = {
    [0 ... 16] = 1,     [17 ... 32] = 2,     [33 ... 48] = 3,    [49 ... 64] = 4,    [65 ... 80] = 5,
    [81 ... 96] = 6,    [97 ... 112] = 7,    [113 ... 128] = 8,  [129 ... 144] = 9,  [145 ... 160] = 10,
    [161 ... 176] = 11, [177 ... 192] = 12,  [193 ... 208] = 13, [209 ... 224] = 14, [225 ... 240] = 15,
    [241 ... 256] = 16, [257 ... 288] = 17,  [289 ... 320] = 18, [321 ... 352] = 19, [353 ... 384] = 20,
    [385 ... 416] = 21, [417 ... 448] = 22,  [449 ... 480] = 23, [481 ... 512] = 24, [513 ... 576] = 25,
    [577 ... 640] = 26, [641 ... 704] = 27,  [705 ... 768] = 28, [769 ... 832] = 29, [833 ... 896] = 30,
    [897 ... 960] = 31, [961 ... 1024] = 32,
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
