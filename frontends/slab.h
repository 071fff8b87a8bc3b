// Slabs: what a front end's caches are made of, and the policy that both front ends share.
//
// A slab is an array of words. The first ones are the bins, eight bytes for each size class, indexed by it; the last
// ones are slots that hold objects. A bin owns two stacks of slots, and names its slots by their word's index in the
// slab. Allocations pop from one stack, frees push to the other; when the former is empty the two change roles.
//
//     word  0 ...              80 | 81 ...               |
//          +-----+-----+---+-----+-----------------------+---------+----+----+----+----+----+----+----+----+--------
//          | bin | bin |   | bin | budget and statistics |         |NULL| a1 | a2 |    |NULL| f1 | f2 |    |
//          |  0  |  1  |   | 80  |                       |         |    |    |    |    |    |    |    |    |
//          +-----+-----+---+-----+-----------------------+---------+----+----+----+----+----+----+----+----+--------
//                                                                    alloc_top     free_bottom  free_top
//
// Pop takes slot[alloc_top]; if that is NULL the stack is empty. Push stores to slot[free_top + 1] unless free_room is
// 0. Either is committed by one store, so a slab of zeros is valid: every top is 0, slot 0 is bin 0, always zero, and
// no room keeps everything out. A bin's first slots are few; one that grows gets more of them elsewhere in the slab, so
// a slab touches no more memory than its bins need. Slots given up stay unused.
//
// Classes above TD_TABLE_BYTES have one stack, that of frees, and pop from it as well: see below.
//
// Why two stacks: with one, a malloc that follows a free waits for the very store that the free ends with, whose
// address waits for the page map, which waits for the pointer that the malloc before returned: in a loop of nothing
// else 16 cycles for each pair, against 10 with two. Why one for larger classes: filling or clearing the object takes
// longer than that chain, and takes least if the object is the one freed last, whose lines are in the nearest cache.
// A pop from two stacks prefetches the object that comes next.
//
// What may change a bin while its owner runs is the front end's business: `struct td_slab_ops` is how the policy asks.
#ifndef FRONTENDS_SLAB_H_
#define FRONTENDS_SLAB_H_

#include "base/atomic.h"
#include "base/config.h"
#include "base/lock.h"
#include "base/size_class.h"
#include "frontends/frontend.h"

#pragma GCC visibility push(hidden)

//        0            15 16         29 30    31 32            47 48            63
//       +---------------+-------------+--------+---------------+---------------+
//       |   alloc_top   | free_bottom | region |   free_top    |   free_room   |
//       +---------------+-------------+--------+---------------+---------------+
//        alloc_half                             free_half
//
// Pops and pushes load and store whole halves, and so does whatever follows them soon: a load of the whole word would
// have to wait until two stores of halves are in the cache. And stores of 16 bits take Zen 4 into a state, in some runs
// of a program and not in others, in which a pair takes twice as long.
union td_slab_bin {
    struct {
        uint16_t alloc_top;         // the slot that is popped next; the NULL below the stack if it is empty
        uint16_t free_bottom : 14;  // the NULL below the stack of frees; the other stack is right before it or behind
        uint16_t region : 2;        // how many slots each stack has
        uint16_t free_top;          // the slot that was pushed last, as above
        uint16_t free_room;         // how many more may be pushed
    };
    struct {
        uint32_t alloc_half;
        uint32_t free_half;
    };
    uint64_t word;  // what the policy compares and replaces at once
};

_Static_assert(sizeof(union td_slab_bin) == sizeof(void *), "a bin is a word");
_Static_assert(TD_SLAB_BYTES / sizeof(void *) <= 1 << 14, "`free_bottom` has 14 bits");

// What a push adds to `free_half`: one to `free_top`, and minus one to `free_room`.
#define TD_SLAB_PUSH 0xffff0001u

struct td_slab {
    union td_slab_bin bins[TD_CLASS_COUNT];  // owner only, by the rules of its front end; others read it as statistic
    uint32_t words_used;                     // atomic, any thread; words that bins own, from the slab's begin
    uint32_t hand;                           // a hint; the class whose bin was asked last to give capacity up
    size_t budget_bytes;                     // what `capacity_bytes` may be; where it changes, its thread's only
    int64_t capacity_bytes;                  // atomic, any thread; the sum over all bins of what they may hold in frees
    uint64_t refills;                        // statistic
    uint64_t flushes;                        // statistic
    uint64_t activity_seen;                  // guarded by the maintenance lock: what `activity` was
    uint32_t idle_ticks;                     // guarded by the maintenance lock; of a warm slab by its registry
    uint32_t swaps;                          // a hint; how often stacks changed roles without the policy
    struct td_slab *next;                    // the front end's lists
    struct td_slab *prev;
    struct td_lock lock;              // of a locked slab
    uint8_t history[TD_CLASS_COUNT];  // statistic, a hint: how the bin's slow paths were walked
};

_Static_assert(offsetof(struct td_slab, bins) == 0, "a bin's index is a word's index");

// Steps on bins, each of them atomic with regard to the slab's owner. The per-CPU front end's steps act on the slab of
// the CPU that they happen to run on, and `slab` is a hint; so no caller may assume that two steps met one slab.
struct td_slab_ops {
    // Moves up to `count` objects out of the stack of allocations, the last one first. Returns how many, fewer only if
    // it is empty now.
    size_t (*pop_batch)(struct td_slab *slab, size_t class_index, void **objects, size_t count);
    // Moves the last ones of `objects` to the stack of frees, as many as it has room for. Returns how many.
    size_t (*push_batch)(struct td_slab *slab, size_t class_index, void *const *objects, size_t count);
    // Replaces the bin of just this slab if it is still `expected`.
    bool (*replace_bin)(struct td_slab *slab, size_t class_index, uint64_t expected, uint64_t desired);
};

// Where in the bin the half lies that a pop changes, and what a pop takes from it.
static inline size_t td_slab_pop_offset(bool has_two_stacks) {
    return has_two_stacks ? offsetof(union td_slab_bin, alloc_half) : offsetof(union td_slab_bin, free_half);
}

static inline uint32_t *td_slab_pop_half(union td_slab_bin *bin, bool has_two_stacks) {
    return has_two_stacks ? &bin->alloc_half : &bin->free_half;
}

static inline uint32_t td_slab_pop_step(bool has_two_stacks) {
    return has_two_stacks ? 1 : TD_SLAB_PUSH;
}

// How many slots each stack has, by `region`: none at first, then more as the bin grows.
enum td_region { TD_REGION_NONE, TD_REGION_FIRST, TD_REGION_SECOND, TD_REGION_WHOLE };
#define TD_FIRST_REGION_SLOTS 8
#define TD_SECOND_REGION_SLOTS 32

static inline size_t td_slab_region_slots(size_t class_index, enum td_region region) {
    return region == TD_REGION_WHOLE    ? td_class_info[class_index].bin_max
           : region == TD_REGION_SECOND ? TD_SECOND_REGION_SLOTS
           : region == TD_REGION_FIRST  ? TD_FIRST_REGION_SLOTS
                                        : 0;
}

// What a bin of the class holds at first, in bytes of objects.
static inline size_t td_slab_first_bytes(size_t class_index) {
    const struct td_class_info *info = &td_class_info[class_index];
    return (info->bin_max < TD_BIN_MIN ? info->bin_max : TD_BIN_MIN) * (size_t)info->object_bytes;
}

static inline void **td_slab_slots(struct td_slab *slab) {
    return (void **)slab;
}

// A slab without objects, or NULL. It begins `place` bytes into a page.
struct td_slab *td_slab_new(size_t budget_bytes, size_t place);

// Makes slabs that several threads may want to install in one place at once: who finds that another was faster leaves
// its slab as a spare.
struct td_slab_maker {
    struct td_lock lock;     // held while a slab is installed, but not while one is made
    struct td_slab *spares;  // guarded by lock
};

// A spare, or a new slab with the budget of a CPU. NULL if there is no memory.
struct td_slab *td_slab_make(struct td_slab_maker *maker, size_t place);
// Needs the maker's lock.
void td_slab_leave_spare(struct td_slab_maker *maker, struct td_slab *slab);

// The NULL below the stack of allocations, where the class has one. By the word alone: the slots may be another CPU's
// by now, and its stores be seen in any order.
static inline size_t td_slab_alloc_bottom(union td_slab_bin bin, size_t class_index) {
    size_t distance = td_slab_region_slots(class_index, (enum td_region)bin.region) + 1;
    return bin.alloc_top < bin.free_bottom ? bin.free_bottom - distance : bin.free_bottom + distance;
}

// What the bin's word is, and what it is to be once the stacks have changed roles. False if they may not: allocations
// are not out of objects, or there are fewer than `least` frees. The halves may be of different
// times: that they were one word is certain only if the word is `*expected` when it is replaced.
static inline bool td_slab_swapped_bin(const struct td_slab *slab, size_t class_index, size_t least, uint64_t *expected,
                                       uint64_t *desired) {
    const union td_slab_bin *bin = &slab->bins[class_index];
    union td_slab_bin old;
    old.alloc_half = td_load_relaxed(&bin->alloc_half);
    old.free_half = td_load_relaxed(&bin->free_half);
    size_t count = (size_t)old.free_top - old.free_bottom;
    if (old.alloc_top != td_slab_alloc_bottom(old, class_index) || count < least || count == 0)
        return false;
    union td_slab_bin swapped = old;
    swapped.alloc_top = old.free_top;
    // What is empty is at its bottom.
    swapped.free_top = old.alloc_top;
    swapped.free_bottom = old.alloc_top & 0x3fffu;
    swapped.free_room = (uint16_t)(count + old.free_room);
    *expected = old.word;
    *desired = swapped.word;
    return true;
}

// The slow path of an allocation: lets the stacks change roles, or fetches a batch and keeps all but one of its
// objects, and grows a bin that is often empty. NULL if there is no memory.
void *td_slab_refill(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index);

// The slow path of a free: makes room in the bin, by growing it or by returning what was unused for longest, and
// keeps the object.
void td_slab_overflow(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void *pointer);

// Lets the bin's stacks change roles and takes an object, if there is one. Takes no lock.
void *td_slab_swap_and_pop(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index);

// Returns all objects to the middle end.
void td_slab_flush(const struct td_slab_ops *ops, struct td_slab *slab);
// The same, and makes the slab as new where nobody uses it, but that bins keep the slots that they have.
void td_slab_reset(struct td_slab *slab);

// Whether `pointer` is what was freed last into its bin: then it is being freed twice. Where others change the slab at
// the same time, a yes is certain only after a fence.
bool td_slab_was_freed_last(const struct td_slab *slab, size_t class_index, const void *pointer);

// Bytes in the slab's objects. Statistic.
size_t td_slab_cached_bytes(const struct td_slab *slab);

// Whether the slab has not been used for TD_IDLE_TICKS, as far as can be seen from outside. To be asked once at each
// tick, with the maintenance lock held.
bool td_slab_becomes_idle(struct td_slab *slab);

// The steps on a slab that nobody else uses at the same time.
extern const struct td_slab_ops td_slab_plain_ops;

// The same, for one object.
static inline void *td_slab_plain_pop(struct td_slab *slab, size_t class_index, bool has_two_stacks) {
    union td_slab_bin *bin = &slab->bins[class_index];
    uint32_t old = *td_slab_pop_half(bin, has_two_stacks);
    size_t top = (uint16_t)old;
    void *object = td_slab_slots(slab)[top];
    if (td_unlikely(object == NULL))
        return NULL;
    // The code is shorter, by what makes malloc fit into a line of 64 bytes, if addresses are computed twice.
    TD_OPAQUE(top);
    // Nobody has touched it since it was allocated last, in most programs long ago.
    if (has_two_stacks)
        __builtin_prefetch(td_slab_slots(slab)[top - 1], 1);
    TD_OPAQUE(class_index);
    bin = &slab->bins[class_index];
    td_store_relaxed(td_slab_pop_half(bin, has_two_stacks), old - td_slab_pop_step(has_two_stacks));
    return object;
}

static inline bool td_slab_plain_push(struct td_slab *slab, size_t class_index, void *object) {
    union td_slab_bin *bin = &slab->bins[class_index];
    void **slots = td_slab_slots(slab);
    uint32_t old = bin->free_half;
    size_t top = (uint16_t)old;
    uint32_t pushed;
    // There is no room; or what was freed last is being freed again, and the slow path is to see that.
    if (td_unlikely(__builtin_sub_overflow(old, -TD_SLAB_PUSH, &pushed) || slots[top] == object))
        return false;
    TD_OPAQUE(top);  // as above
    slots[top + 1] = object;
    td_store_relaxed(&bin->free_half, pushed);
    return true;
}

// For a thread that has no slab: one object from or to the middle end, all checks made if `is_checked`.
void *td_slab_alloc_uncached(size_t class_index, bool is_checked);
void td_slab_free_uncached(size_t class_index, void *pointer, bool is_checked);

// Adds a slab's figures to `*stats`.
void td_slab_add_stats(const struct td_slab *slab, struct td_frontend_stats *stats);

// Runs `td_frontend_maintain` if the slab's slow paths were walked often enough since it was last asked.
void td_slab_tick(struct td_slab *slab);

// Counts stacks that have changed roles. Whether it is time for `td_frontend_maintain`: a program that does little may
// walk no other slow path for long.
static inline bool td_slab_count_swap(struct td_slab *slab) {
    uint32_t swaps = td_load_relaxed(&slab->swaps) + 1;
    td_store_relaxed(&slab->swaps, swaps);
    return swaps % 8 == 0;
}

// For an allocation that found no memory: empties all caches, whose objects may hold whole spans, and tries once more.
void *td_slab_alloc_drained(size_t class_index);
// Ends one that found none then either, as `on_failure` says.
void *td_slab_alloc_failed(size_t size, enum td_on_failure on_failure);

#pragma GCC visibility pop

#endif  // FRONTENDS_SLAB_H_
