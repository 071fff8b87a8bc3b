// One bin of a slab: what it holds, and the steps that the policy (slab.c) takes with it.
#ifndef FRONTENDS_BIN_H_
#define FRONTENDS_BIN_H_

#include "base/minmax.h"
#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

// A bin, and what follows from it.
struct td_bin_view {
    struct td_slab_bin bin;
    size_t alloc_count;  // objects; 0 if there is but the stack of frees
    size_t free_count;
    size_t capacity;  // of the stack of frees, in objects
};

// How many objects a stack has. What is not of one time counts as something that a stack may have.
static inline size_t td_bin_stack_count(size_t top, size_t bottom, size_t max) {
    return top > bottom ? td_min(top - bottom, max) : 0;
}

// Inlined: returned through memory, it would be read back before its stores are done.
static inline TD_ALWAYS_INLINE struct td_bin_view td_bin_view(const struct td_slab *slab, size_t class_index) {
    struct td_bin_view view = {.bin = td_slab_load_bin(slab, class_index)};
    if (view.bin.region == TD_REGION_NONE)
        return view;
    size_t max = td_slab_region_slots(class_index, view.bin.region);
    view.free_count = td_bin_stack_count(view.bin.free_top, view.bin.free_bottom, max);
    view.capacity = td_min(view.free_count + view.bin.free_room, max);
    if (td_class_has_two_stacks(class_index)) {
        size_t distance = max + 1;
        size_t top = td_link_slot(view.bin.alloc);
        size_t bottom = view.bin.free_bottom;
        view.alloc_count = td_bin_stack_count(top, top < bottom ? bottom - distance : bottom + distance, max);
    }
    return view;
}

// Swaps the stacks if that of allocations is empty and that of frees has `least` objects.
static inline bool td_bin_swap_stacks(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index,
                                      size_t least) {
    struct td_slab_bin expected, desired;
    return td_slab_swapped_bin(slab, class_index, least, &expected, &desired) &&
           ops->replace_bin(slab, class_index, expected, desired);
}

// Sets how many objects the stack of frees may hold, within the slots that it has. `view` is what the caller saw last,
// and is brought up to date.
bool td_bin_set_capacity(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index,
                         struct td_bin_view *view, size_t capacity);

// Gives the bin new, longer stacks, with room for `capacity` frees. What it held moves along. False if the slab has no
// slots left, or the bin was used meanwhile.
bool td_bin_move(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t capacity);

// As `td_middle_fetch` and `td_middle_return`, for an object of the slab's bin: they keep its balance.
size_t td_bin_fetch(struct td_slab *slab, size_t class_index, void **objects, size_t count);
void td_bin_return(struct td_slab *slab, size_t class_index, void *const *objects, size_t count);

// Takes up to `count` objects out of the bin, from both stacks. Returns how many.
size_t td_bin_take(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void **objects,
                   size_t count);

#pragma GCC visibility pop

#endif  // FRONTENDS_BIN_H_
