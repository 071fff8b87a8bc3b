#include "base/size_class.h"

#include "base/atomic.h"
#include "base/minmax.h"

const uint8_t td_class_code_table[TD_TABLE_BYTES + 1] = {
    [0 ... 16] = 2,     [17 ... 32] = 4,     [33 ... 48] = 6,    [49 ... 64] = 8,    [65 ... 80] = 10,
    [81 ... 96] = 12,   [97 ... 112] = 14,   [113 ... 128] = 16, [129 ... 144] = 18, [145 ... 160] = 20,
    [161 ... 176] = 22, [177 ... 192] = 24,  [193 ... 208] = 26, [209 ... 224] = 28, [225 ... 240] = 30,
    [241 ... 256] = 32, [257 ... 288] = 34,  [289 ... 320] = 36, [321 ... 352] = 38, [353 ... 384] = 40,
    [385 ... 416] = 42, [417 ... 448] = 44,  [449 ... 480] = 46, [481 ... 512] = 48, [513 ... 576] = 50,
    [577 ... 640] = 52, [641 ... 704] = 54,  [705 ... 768] = 56, [769 ... 832] = 58, [833 ... 896] = 60,
    [897 ... 960] = 62, [961 ... 1024] = 64,
};

struct td_class_info td_class_info[TD_CLASS_COUNT];
static bool is_initialised;  // atomic, any thread

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
        size_t batch = td_clamp(TD_BATCH_BYTES / bytes, 1, TD_BATCH_MAX);
        size_t bin_max = bytes <= TD_CACHE_LINE ? TD_BIN_LINE_MAX : TD_BIN_MAX;
        bool is_power_of_two = (bytes & (bytes - 1)) == 0;
        td_class_info[i] = (struct td_class_info){
            .reciprocal = (((uint64_t)1 << 42) + bytes - 1) / bytes,
            .object_bytes = (uint32_t)bytes,
            .span_pages = (uint16_t)pages,
            .span_objects = (uint16_t)(pages * TD_PAGE_BYTES / bytes),
            .align_pages = (uint16_t)(is_power_of_two && bytes > TD_PAGE_BYTES ? bytes / TD_PAGE_BYTES : 1),
            .batch = (uint16_t)batch,
            .swap_min = td_class_has_two_stacks(i)
                            ? (uint16_t)td_clamp(TD_SWAP_MIN_BYTES / bytes, 1, TD_SWAP_MIN_OBJECTS)
                            : UINT16_MAX,
            .bin_max = (uint16_t)td_clamp(TD_BIN_BYTES / bytes, 2, bin_max),
            .transfer_max = (uint16_t)td_clamp(TD_TRANSFER_BYTES / (bytes * batch), TD_TRANSFER_BATCHES_MIN,
                                               TD_TRANSFER_BATCHES_MAX),
        };
    }
    // Pairs with the acquire above.
    td_store_release(&is_initialised, true);
}
