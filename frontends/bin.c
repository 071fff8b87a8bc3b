// The steps, and how they are done on a slab that no other thread uses at the same time.
#include "frontends/bin.h"

#include "base/arch.h"
#include "base/batch.h"
#include "middle/middle.h"

// What a bin that is given longer stacks may hold.
#define MOVE_MAX ((size_t)2 * TD_THIRD_REGION_SLOTS)

// Attempts to change a bin that others change at the same time.
#define REPLACE_TRIES 4

static uint32_t region_words(size_t class_index, enum td_region region) {
    uint32_t stacks = td_class_has_two_stacks(class_index) ? 2 : 1;
    return stacks * ((uint32_t)td_slab_region_slots(class_index, region) + 1);
}

static enum td_region region_for(size_t capacity) {
    return capacity <= TD_FIRST_REGION_SLOTS    ? TD_REGION_FIRST
           : capacity <= TD_SECOND_REGION_SLOTS ? TD_REGION_SECOND
           : capacity <= TD_THIRD_REGION_SLOTS  ? TD_REGION_THIRD
                                                : TD_REGION_WHOLE;
}

static void note_capacity(struct td_slab *slab, size_t class_index, size_t from, size_t to) {
    int64_t change = ((int64_t)to - (int64_t)from) * td_class_info[class_index].object_bytes;
    td_add_relaxed(&slab->capacity_bytes, change);
}

bool td_bin_set_capacity(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index,
                         struct td_bin_view *view, size_t capacity) {
    for (int i = 0; i < REPLACE_TRIES; i++) {
        if (capacity > td_slab_region_slots(class_index, view->bin.region) || capacity < view->free_count)
            return false;
        struct td_slab_bin new = view->bin;
        new.free_room = (uint16_t)(capacity - view->free_count);
        if (ops->replace_bin(slab, class_index, view->bin, new)) {
            note_capacity(slab, class_index, view->capacity, capacity);
            view->bin = new;
            view->capacity = capacity;
            return true;
        }
        *view = td_bin_view(slab, class_index);
    }
    return false;
}

size_t td_bin_take(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void **objects,
                   size_t count) {
    size_t taken = ops->pop_batch(slab, class_index, objects, count);
    if (taken < count && td_bin_swap_stacks(ops, slab, class_index, 1))
        taken += ops->pop_batch(slab, class_index, objects + taken, count - taken);
    return taken;
}

// If no other thread took words since.
static void give_words_back(struct td_slab *slab, uint32_t first, uint32_t words) {
    uint32_t expected = first + words;
    td_compare_exchange_release(&slab->words_used, &expected, first);
}

// Takes `words` words of the slab that are not given out; 0 if there are not as many.
static uint32_t take_words(struct td_slab *slab, uint32_t words) {
    uint32_t limit = TD_SLAB_BYTES / sizeof(void *);
    if (td_load_relaxed(&slab->words_used) + words > limit)
        return 0;
    // Pairs with the release in `give_words_back`: the thread that had them has written to them.
    uint32_t first = td_add_acquire(&slab->words_used, words);
    if (first + words <= limit)
        return first;
    give_words_back(slab, first, words);
    return 0;
}

bool td_bin_move(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t capacity) {
    enum td_region region = region_for(capacity);
    size_t slots = td_slab_region_slots(class_index, region);
    uint32_t words = take_words(slab, region_words(class_index, region));
    if (words == 0)
        return false;
    size_t first = words - td_class_code(class_index);
    void *objects[MOVE_MAX];
    size_t count = td_bin_take(ops, slab, class_index, objects, MOVE_MAX);
    struct td_bin_view old = td_bin_view(slab, class_index);
    bool has_two_stacks = td_class_has_two_stacks(class_index);
    size_t other = has_two_stacks ? first + slots + 1 : 0;
    struct td_slab_bin new = {.alloc = has_two_stacks ? td_link_in(other) : 0,
                              .free_top = (uint16_t)first,
                              .free_room = (uint16_t)capacity,
                              .free_bottom = (uint16_t)first,
                              .region = (uint16_t)region};
    td_link *links = td_bin_slots(&slab->bins[class_index]);
    links[first] = td_link_in(first);
    if (has_two_stacks)
        links[other] = td_link_in(other);
    // Another thread may have given it longer ones meanwhile.
    bool is_wanted = region > old.bin.region && old.alloc_count == 0 && old.free_count == 0;
    bool is_moved = is_wanted && ops->replace_bin(slab, class_index, old.bin, new);
    if (is_moved)
        note_capacity(slab, class_index, old.capacity, capacity);
    else
        give_words_back(slab, words, region_words(class_index, region));
    // What was popped first is to be pushed last.
    td_batch_reverse(objects, count);
    size_t pushed = ops->push_batch(slab, class_index, objects, count);
    td_bin_return(slab, class_index, objects, count - pushed);
    return is_moved;
}

static void note_balance(struct td_slab *slab, size_t class_index, int64_t objects) {
    int64_t bytes = objects * (int64_t)td_class_info[class_index].object_bytes;
    td_store_relaxed(&slab->balance_bytes, td_load_relaxed(&slab->balance_bytes) + bytes);
}

size_t td_bin_fetch(struct td_slab *slab, size_t class_index, void **objects, size_t count) {
    size_t fetched = td_middle_fetch(class_index, objects, count);
    note_balance(slab, class_index, (int64_t)fetched);
    return fetched;
}

void td_bin_return(struct td_slab *slab, size_t class_index, void *const *objects, size_t count) {
    note_balance(slab, class_index, -(int64_t)count);
    td_middle_return(class_index, objects, count);
}

static size_t plain_pop_batch(struct td_slab *slab, size_t class_index, void **objects, size_t count) {
    struct td_slab_bin *bin = &slab->bins[class_index];
    td_link *slots = td_bin_slots(bin);
    bool has_two_stacks = td_class_has_two_stacks(class_index);
    td_link link = has_two_stacks ? bin->alloc : slots[bin->free_top];
    size_t taken = 0;
    for (void *object; taken < count && (object = td_link_object(link)) != NULL; link = slots[td_link_below(link)])
        objects[taken++] = object;
    if (has_two_stacks)
        td_store_relaxed(&bin->alloc, link);
    else
        td_store_relaxed(&bin->free_half, bin->free_half - (uint32_t)taken * TD_SLAB_PUSH);
    return taken;
}

static size_t plain_push_batch(struct td_slab *slab, size_t class_index, void *const *objects, size_t count) {
    struct td_slab_bin *bin = &slab->bins[class_index];
    td_link *slots = td_bin_slots(bin);
    size_t pushed = td_min(count, bin->free_room);
    size_t top = bin->free_top;
    for (size_t i = count - pushed; i < count; i++) {
        top++;
        slots[top] = td_link_to(objects[i]) + td_link_in(top);
    }
    td_store_relaxed(&bin->free_half, bin->free_half + (uint32_t)pushed * TD_SLAB_PUSH);
    return pushed;
}

static bool plain_replace_bin(struct td_slab *slab, size_t class_index, struct td_slab_bin expected,
                              struct td_slab_bin desired) {
    struct td_slab_bin *bin = &slab->bins[class_index];
    if (bin->alloc != expected.alloc || bin->free_half != expected.free_half || bin->shape != expected.shape)
        return false;
    td_store_pair(bin, td_bin_slots(bin)[td_link_slot(desired.alloc)],
                  desired.free_half | (uint64_t)desired.shape << 32);
    return true;
}

const struct td_slab_ops td_slab_plain_ops = {plain_pop_batch, plain_push_batch, plain_replace_bin};
