#if defined(__x86_64__)
#include "frontends/percpu/direct_x86_64.h"

#include "base/atomic.h"
#include "frontends/percpu/direct.h"

struct td_direct td_direct;

// What malloc and new, and free and delete, have as descriptors, where they are linked.
extern const struct td_rseq_cs td_direct_descriptor_0 __attribute__((weak, visibility("default")));
extern const struct td_rseq_cs td_direct_descriptor_1 __attribute__((weak, visibility("default")));
extern const struct td_rseq_cs td_direct_free_descriptor_0 __attribute__((weak, visibility("default")));
extern const struct td_rseq_cs td_direct_free_descriptor_1 __attribute__((weak, visibility("default")));
extern const struct td_rseq_cs td_direct_free_descriptor_2 __attribute__((weak, visibility("default")));

void td_direct_init_free(bool is_open, ptrdiff_t area_offset) {
    const struct td_rseq_cs *linked[] = {&td_direct_free_descriptor_0, &td_direct_free_descriptor_1,
                                         &td_direct_free_descriptor_2};
    for (size_t way = 0; way < sizeof linked / sizeof linked[0]; way++)
        if (linked[way] != NULL)
            td_percpu.free_descriptor[way] = *linked[way];
    // NULL goes the way even if it is closed, where the page map has a leaf for the first 4 GiB, and finds no room.
    td_percpu.free_rseq_cs_offset = area_offset + (ptrdiff_t)offsetof(struct td_rseq_area, rseq_cs);
    td_percpu.free_mask = is_open ? TD_LINK_NO_OBJECT : UINT64_MAX;
}

void td_direct_open(ptrdiff_t area_offset, size_t cpus) {
    if (&td_direct_descriptor_0 == NULL || &td_direct_descriptor_1 == NULL || cpus > TD_DIRECT_CPUS)
        return;
    struct td_direct_block *first = &td_direct.blocks[0];
    first->descriptor[0] = td_direct_descriptor_0;
    first->descriptor[1] = td_direct_descriptor_1;
    for (size_t size = 0; size <= TD_TABLE_BYTES; size++)
        first->codes[size] = (uint8_t)(td_class_code_table[size] + TD_DIRECT_ORIGIN);
    ptrdiff_t field = (ptrdiff_t)offsetof(struct td_rseq_area, rseq_cs);
    td_store_relaxed(&first->rseq_cs_offset, area_offset + field);
    // Behind all else, in the order of loads as well: x86-64 keeps both.
    td_store_release(&first->size_end, TD_TABLE_BYTES + 1);
}

void td_direct_publish(uint32_t index, const struct td_slab *slab) {
    if (index >= TD_DIRECT_CPUS)
        return;
    for (size_t i = 1; i <= TD_TABLE_CLASSES; i++)
        for (int way = 0; way < 2; way++) {
            const char *descriptor = (const char *)&td_direct.blocks[0].descriptor[way];
            td_store_release(&td_direct.blocks[index].distances[i][way],
                             slab != NULL ? (const char *)&slab->bins[i] - descriptor : 0);
        }
}
#endif
