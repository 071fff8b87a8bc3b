#include "frontends/slab.h"

#include <errno.h>
#include <string.h>

#include "base/fatal.h"
#include "middle/middle.h"

// The lengths that a bin's slots have one after the other; the last one is the class's maximum.
#define FIRST_REGION_SLOTS 8
#define SECOND_REGION_SLOTS 64

// Bins that are asked to give up capacity before a bin that wants to grow is refused.
#define STEAL_TRIES 8

// Attempts to change a bin that others change at the same time.
#define REPLACE_TRIES 4

static union td_slab_bin_word load_bin(const struct td_slab *slab, size_t class_index) {
    return (union td_slab_bin_word){.word = td_load_relaxed((const uint64_t *)&slab->bins[class_index])};
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t capacity_of(union td_slab_bin_word word) {
    return (size_t)(word.bin.limit - word.bin.bottom);
}

struct td_slab *td_slab_new(void) {
    struct td_slab *slab = td_middle_alloc_metadata(TD_SLAB_BYTES);
    if (slab != NULL)
        slab->words_used = (sizeof *slab + sizeof(void *) - 1) / sizeof(void *);
    return slab;
}

static void note_capacity(struct td_slab *slab, size_t class_index, size_t from, size_t to) {
    int64_t change = ((int64_t)to - (int64_t)from) * td_class_info[class_index].object_bytes;
    td_add_relaxed(&slab->capacity_bytes, change);
}

// Sets how many objects the bin may hold, within the slots that it owns.
static bool set_capacity(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t capacity) {
    for (int i = 0; i < REPLACE_TRIES; i++) {
        union td_slab_bin_word old = load_bin(slab, class_index);
        union td_slab_bin_word new = old;
        new.bin.limit = (uint16_t)(old.bin.bottom + capacity);
        if (new.bin.limit > old.bin.end || new.bin.limit < old.bin.top)
            return false;
        if (ops->replace_bin(slab, class_index, old.word, new.word)) {
            note_capacity(slab, class_index, capacity_of(old), capacity);
            return true;
        }
    }
    return false;
}

// Takes `words` words of the slab that nobody used before; 0 if there are not as many.
static uint32_t take_words(struct td_slab *slab, uint32_t words) {
    uint32_t limit = TD_SLAB_BYTES / sizeof(void *);
    if (td_load_relaxed(&slab->words_used) + words > limit)
        return 0;
    uint32_t first = td_add_relaxed(&slab->words_used, words);
    return first + words <= limit ? first : 0;
}

// Gives the bin new, longer slots with room for `capacity` objects. What it held moves along.
static bool move_bin(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t capacity) {
    size_t slots = capacity <= FIRST_REGION_SLOTS    ? FIRST_REGION_SLOTS
                   : capacity <= SECOND_REGION_SLOTS ? SECOND_REGION_SLOTS
                                                     : td_class_info[class_index].bin_max;
    uint32_t first = take_words(slab, (uint32_t)slots + 1);
    if (first == 0)
        return false;
    void *objects[SECOND_REGION_SLOTS];
    size_t count = ops->pop_batch(slab, class_index, objects, SECOND_REGION_SLOTS);
    union td_slab_bin_word old = load_bin(slab, class_index);
    union td_slab_bin_word new = {.bin = {(uint16_t)first, (uint16_t)(first + capacity), (uint16_t)first,
                                          (uint16_t)(first + slots)}};
    bool is_moved = old.bin.top == old.bin.bottom && ops->replace_bin(slab, class_index, old.word, new.word);
    if (is_moved)
        note_capacity(slab, class_index, capacity_of(old), capacity);
    size_t pushed = ops->push_batch(slab, class_index, objects, count);
    td_middle_return(class_index, objects, count - pushed);
    return is_moved;
}

// Halves the capacity of the next bin that has some to give.
static void steal_capacity(const struct td_slab_ops *ops, struct td_slab *slab, size_t for_class) {
    size_t victim = 1 + td_add_relaxed(&slab->hand, 1) % (TD_CLASS_COUNT - 1);
    union td_slab_bin_word word = load_bin(slab, victim);
    size_t capacity = capacity_of(word);
    if (victim == for_class || capacity < 2)
        return;
    size_t used = (size_t)(word.bin.top - word.bin.bottom);
    size_t excess = used > capacity / 2 ? used - capacity / 2 : 0;
    void *objects[TD_BATCH_MAX];
    while (excess > 0) {
        size_t count = ops->pop_batch(slab, victim, objects, min_size(excess, TD_BATCH_MAX));
        td_middle_return(victim, objects, count);
        if (count == 0)
            break;
        excess -= min_size(count, excess);
    }
    set_capacity(ops, slab, victim, capacity / 2);
}

// Raises the bin's capacity to `wanted` if the class and the slab's budget allow.
static bool grow_bin(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t wanted,
                     size_t budget_bytes) {
    const struct td_class_info *info = &td_class_info[class_index];
    union td_slab_bin_word word = load_bin(slab, class_index);
    size_t capacity = capacity_of(word);
    wanted = min_size(wanted, info->bin_max);
    if (wanted <= capacity)
        return false;
    int64_t room = (int64_t)budget_bytes - (int64_t)((wanted - capacity) * info->object_bytes);
    for (int i = 0; td_load_relaxed(&slab->capacity_bytes) > room; i++) {
        if (i == STEAL_TRIES)
            return false;
        steal_capacity(ops, slab, class_index);
    }
    if (wanted <= (size_t)(word.bin.end - word.bin.bottom))
        return set_capacity(ops, slab, class_index, wanted);
    return move_bin(ops, slab, class_index, wanted);
}

void *td_slab_refill(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, size_t budget_bytes) {
    const struct td_class_info *info = &td_class_info[class_index];
    td_store_relaxed(&slab->refills, slab->refills + 1);
    // A bin that is empty and full in turns holds too little; one that is only ever empty needs no more than its batch.
    size_t capacity = capacity_of(load_bin(slab, class_index));
    bool was_full = td_load_relaxed(&slab->overflowed[class_index]) != 0;
    td_store_relaxed(&slab->overflowed[class_index], 0);
    if (was_full || capacity < 2 * (size_t)info->batch)
        grow_bin(ops, slab, class_index, max_size(2 * capacity, TD_BIN_MIN), budget_bytes);

    void *objects[TD_BATCH_MAX + TD_BATCH_SLACK];
    size_t wanted = max_size(1, min_size(capacity_of(load_bin(slab, class_index)) / 2, info->batch));
    size_t count = td_middle_fetch(class_index, objects, wanted);
    if (count == 0)
        return NULL;
    void *object = objects[--count];
    size_t pushed = ops->push_batch(slab, class_index, objects, count);
    if (pushed < count)
        td_middle_return(class_index, objects, count - pushed);
    return object;
}

void td_slab_overflow(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void *pointer,
                      size_t budget_bytes) {
    const struct td_class_info *info = &td_class_info[class_index];
    td_store_relaxed(&slab->flushes, slab->flushes + 1);
    size_t capacity = capacity_of(load_bin(slab, class_index));
    bool was_full = td_load_relaxed(&slab->overflowed[class_index]) != 0;
    td_store_relaxed(&slab->overflowed[class_index], 1);
    bool is_grown = (!was_full || capacity < 2 * (size_t)info->batch) &&
                    grow_bin(ops, slab, class_index, max_size(2 * capacity, TD_BIN_MIN), budget_bytes);
    if (!is_grown) {
        void *objects[TD_BATCH_MAX];
        size_t count = ops->pop_batch(slab, class_index, objects, min_size((capacity + 1) / 2, info->batch));
        td_middle_return(class_index, objects, count);
    }
    if (ops->push_batch(slab, class_index, &pointer, 1) == 0)
        td_middle_return(class_index, &pointer, 1);
}

static void flush_bin(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index) {
    void *objects[TD_BATCH_MAX];
    size_t count;
    while ((count = ops->pop_batch(slab, class_index, objects, TD_BATCH_MAX)) != 0)
        td_middle_return(class_index, objects, count);
}

void td_slab_flush(const struct td_slab_ops *ops, struct td_slab *slab) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        flush_bin(ops, slab, i);
}

void td_slab_reset(struct td_slab *slab) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        flush_bin(&td_slab_plain_ops, slab, i);
        set_capacity(&td_slab_plain_ops, slab, i, 0);
        slab->overflowed[i] = 0;
    }
}

void td_slab_check_double_free(const struct td_slab *slab, size_t class_index, const void *pointer) {
    // Right even while others use the slab: `pointer` is the caller's, so no slot that is in use may hold it.
    size_t top = td_load_acquire(&slab->bins[class_index].top);
    if (td_unlikely(((void *const *)slab)[top] == pointer && top != 0))
        td_fatal_double_free(pointer, td_class_bytes(class_index));
}

size_t td_slab_cached_bytes(const struct td_slab *slab) {
    size_t bytes = 0;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        union td_slab_bin_word word = load_bin(slab, i);
        bytes += (size_t)(word.bin.top - word.bin.bottom) * td_class_info[i].object_bytes;
    }
    return bytes;
}

uint64_t td_slab_activity(const struct td_slab *slab) {
    uint64_t mix = td_load_relaxed(&slab->refills) + td_load_relaxed(&slab->flushes);
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        mix = (mix ^ load_bin(slab, i).word) * 0x9e3779b97f4a7c15u;
    return mix;
}

static size_t plain_pop_batch(struct td_slab *slab, size_t class_index, void **objects, size_t count) {
    struct td_slab_bin *bin = &slab->bins[class_index];
    count = min_size(count, (size_t)(bin->top - bin->bottom));
    size_t top = bin->top - count;
    memcpy(objects, td_slab_slots(slab) + top + 1, count * sizeof *objects);
    td_store_relaxed(&bin->top, (uint16_t)top);
    return count;
}

static size_t plain_push_batch(struct td_slab *slab, size_t class_index, void *const *objects, size_t count) {
    struct td_slab_bin *bin = &slab->bins[class_index];
    size_t pushed = min_size(count, (size_t)(bin->limit - bin->top));
    memcpy(td_slab_slots(slab) + bin->top + 1, objects + count - pushed, pushed * sizeof *objects);
    td_store_relaxed(&bin->top, (uint16_t)(bin->top + pushed));
    return pushed;
}

static bool plain_replace_bin(struct td_slab *slab, size_t class_index, uint64_t expected, uint64_t desired) {
    if (load_bin(slab, class_index).word != expected)
        return false;
    td_store_relaxed((uint64_t *)&slab->bins[class_index], desired);
    return true;
}

const struct td_slab_ops td_slab_plain_ops = {plain_pop_batch, plain_push_batch, plain_replace_bin};

void *td_slab_alloc_uncached(size_t class_index, bool is_checked) {
    void *objects[1 + TD_BATCH_SLACK];
    size_t count = is_checked ? td_middle_fetch_checked(class_index, objects, 1)
                              : td_middle_fetch(class_index, objects, 1);
    if (count == 0)
        return NULL;
    if (count > 1)
        td_middle_return_checked(class_index, objects, count - 1);
    return objects[count - 1];
}

void td_slab_free_uncached(size_t class_index, void *pointer, bool is_checked) {
    if (is_checked)
        td_middle_return_checked(class_index, &pointer, 1);
    else
        td_middle_return(class_index, &pointer, 1);
}

void td_slab_tick(struct td_slab *slab) {
    uint64_t steps = td_load_relaxed(&slab->refills) + td_load_relaxed(&slab->flushes);
    if (steps % 16 == 0)
        td_frontend_maintain();
}

void td_slab_add_stats(const struct td_slab *slab, struct td_frontend_stats *stats) {
    stats->slabs++;
    stats->cached_bytes += td_slab_cached_bytes(slab);
    stats->refills += td_load_relaxed(&slab->refills);
    stats->flushes += td_load_relaxed(&slab->flushes);
}

void *td_slab_alloc_failed(size_t size, enum td_on_failure on_failure) {
    if (on_failure == TD_THROW)
        return td_new_failed(size);
    errno = ENOMEM;
    return NULL;
}
