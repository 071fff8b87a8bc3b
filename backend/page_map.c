#include "backend/page_map.h"

#include <string.h>

#include "backend/metadata.h"
#include "backend/os.h"

struct td_page_map_leaf *td_page_map_root[TD_ROOT_ENTRIES];  // atomic, any thread

static bool cover_entry(size_t entry) {
    if (td_load_relaxed(&td_page_map_root[entry]) != NULL)
        return true;
    struct td_page_map_leaf *leaf = td_metadata_alloc(sizeof *leaf, TD_CACHE_LINE);
    if (leaf == NULL)
        return false;
    // Two threads may bring a leaf; the second one's stays unused, and untouched.
    struct td_page_map_leaf *expected = NULL;
    td_compare_exchange_relaxed(&td_page_map_root[entry], &expected, leaf);
    return true;
}

bool td_page_map_cover(uintptr_t address, size_t bytes) {
    size_t first = address >> TD_LEAF_SHIFT;
    size_t last = (address + bytes - 1) >> TD_LEAF_SHIFT;
    if (last >= TD_ROOT_ENTRIES)
        return false;
    for (size_t entry = first; entry <= last; entry++)
        if (!cover_entry(entry))
            return false;
    return true;
}

void td_page_map_set_class(uintptr_t address, size_t pages, size_t class_index) {
    struct td_page_map_leaf *leaf = td_page_map_root[address >> TD_LEAF_SHIFT];
    memset(&leaf->code_of_page[(uint32_t)address >> TD_PAGE_SHIFT], (int)td_class_code(class_index), pages);
}

void td_page_map_set_run(uintptr_t address, size_t segments, struct td_segment_run *run) {
    for (size_t i = 0; i < segments; i++, address += TD_SEGMENT_BYTES) {
        struct td_page_map_leaf *leaf = td_page_map_root[address >> TD_LEAF_SHIFT];
        // Pairs with the acquire in `td_page_map_run`.
        td_store_release(&leaf->run_of_segment[(uint32_t)address >> TD_SEGMENT_SHIFT], run);
    }
}

static bool *place_of(uintptr_t address) {
    return &td_page_map_root[address >> TD_LEAF_SHIFT]->is_place[(uint32_t)address >> TD_SEGMENT_SHIFT];
}

bool td_page_map_is_place(uintptr_t address) {
    return *place_of(address);
}

void td_page_map_set_place(uintptr_t address, size_t segments, bool is_place) {
    for (size_t i = 0; i < segments; i++)
        *place_of(address + i * TD_SEGMENT_BYTES) = is_place;
}
