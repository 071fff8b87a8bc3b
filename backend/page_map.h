// Answers what lies at an address: the size class of its page in two loads, the run of segments that it belongs to, and
// whether its segment is a place for hugepages.
//
// A root of 2^16 entries, one for each 4 GiB of address space, leads to leaves:
//
//        47            32 31        21 20       13 12         0
//       +----------------+-----------------------+-------------+
//       |   root entry   |          page         |    offset   |      code_of_page[2^19], a byte each
//       |                |  segment  |                                run_of_segment[2^11]
//       +----------------+-----------+-------------------------+
//
// Leaves are made when the first segment of their 4 GiB is, never given back, and mostly untouched: 4 KiB of a leaf
// speak for 32 MiB of heap. An address that Tandem never had reads as class 0 and no run.
#ifndef BACKEND_PAGE_MAP_H_
#define BACKEND_PAGE_MAP_H_

#include "base/atomic.h"
#include "base/config.h"
#include "base/link.h"
#include "base/size_class.h"

#pragma GCC visibility push(hidden)

struct td_segment_run;

#define TD_LEAF_SHIFT 32
#define TD_ROOT_ENTRIES ((size_t)1 << (TD_ADDRESS_BITS - TD_LEAF_SHIFT))
#define TD_LEAF_PAGES ((size_t)1 << (TD_LEAF_SHIFT - TD_PAGE_SHIFT))
#define TD_LEAF_SEGMENTS ((size_t)1 << (TD_LEAF_SHIFT - TD_SEGMENT_SHIFT))

struct td_page_map_leaf {
    // Atomic, any thread reads. Written while no object lies in the page, so whoever holds an object reads its class.
    uint8_t code_of_page[TD_LEAF_PAGES];
    // Atomic, any thread reads; written under the backend's lock.
    struct td_segment_run *run_of_segment[TD_LEAF_SEGMENTS];
    // Guarded by the backend's lock. What the last advice to the kernel was; of those cut into spans, their run knows.
    bool is_place[TD_LEAF_SEGMENTS];
};

extern struct td_page_map_leaf *td_page_map_root[TD_ROOT_ENTRIES];

static inline struct td_page_map_leaf *td_page_map_leaf(const void *pointer) {
    uintptr_t entry = (uintptr_t)pointer >> TD_LEAF_SHIFT;
    if (td_unlikely(entry >= TD_ROOT_ENTRIES))
        return NULL;
    // Relaxed: what the leaf holds depends on this load, and the root entry was published before any object in it.
    return td_load_relaxed(&td_page_map_root[entry]);
}

// Where the class code of the object that starts at `pointer` is kept; NULL if no object can start there.
static inline TD_ALWAYS_INLINE const uint8_t *td_page_map_entry(const void *pointer) {
    // Who frees needs the link as well.
    td_link link = td_link_to(pointer);
    if (td_unlikely(!td_link_is_object(link)))
        return NULL;
    struct td_page_map_leaf *leaf = td_load_relaxed(&td_page_map_root[link >> (TD_LINK_SHIFT + TD_LEAF_SHIFT)]);
    if (td_unlikely(leaf == NULL))
        return NULL;
    return &leaf->code_of_page[(uint32_t)(uintptr_t)pointer >> TD_PAGE_SHIFT];
}

// The size class; 0 if it is a large object, or none of Tandem's.
static inline size_t td_page_map_class(const void *pointer) {
    const uint8_t *entry = td_page_map_entry(pointer);
    return td_likely(entry != NULL) ? td_class_of_code(td_load_relaxed(entry)) : 0;
}

// The run of segments that holds `pointer`, or NULL.
static inline struct td_segment_run *td_page_map_run(const void *pointer) {
    struct td_page_map_leaf *leaf = td_page_map_leaf(pointer);
    if (td_unlikely(leaf == NULL))
        return NULL;
    // Pairs with the release in `td_page_map_set_run`.
    return td_load_acquire(&leaf->run_of_segment[(uint32_t)(uintptr_t)pointer >> TD_SEGMENT_SHIFT]);
}

// Makes the leaves for a range of segments. False if there is no memory for them. Takes the metadata lock.
bool td_page_map_cover(uintptr_t address, size_t bytes);

// Requires `td_page_map_cover` of the range before.
void td_page_map_set_class(uintptr_t address, size_t pages, size_t class_index);
void td_page_map_set_run(uintptr_t address, size_t segments, struct td_segment_run *run);

// Whether the segment is a place for hugepages, where its run says only that some are. The backend's lock is held.
bool td_page_map_is_place(uintptr_t address);
void td_page_map_set_place(uintptr_t address, size_t segments, bool is_place);

#pragma GCC visibility pop

#endif  // BACKEND_PAGE_MAP_H_
