// Slabs: what a front end's caches are made of, and the policy that both front ends share.
//
// A slab is an array of words. The first ones are the bins, two words for each size class, at twice its index; the last
// ones are slots with links to objects (base/link.h). A bin owns two stacks of slots. Allocations pop from one stack,
// frees push to the other; when the former is empty the two swap.
//
//     word  0 ...                160 | 162 ...               |
//          +-----+-----+---+---------+-----------------------+---------+----+----+----+----+----+----+----+----+-------
//          | bin | bin |   |   bin   | budget and statistics |         |NULL| a1 | a2 |    |NULL| f1 | f2 |    |
//          |  0  |  1  |   |   80    |                       |         |    |    |    |    |    |    |    |    |
//          +-----+-----+---+---------+-----------------------+---------+----+----+----+----+----+----+----+----+-------
//                                                                        copied to `alloc`  free_bottom  free_top
//
// (NULL: a link with a number and no object.)
//
// A bin keeps a copy of the link on top of the stack of allocations. Pop takes its object and copies the link in the
// slot below, whose number the link has. Push stores to slot[free_top + 1] unless free_room is 0. Either is committed
// by one store, so a slab of zeros is valid: a bin numbers slots by words from itself on, so that slot 0 is its own
// zeros, and no room keeps everything out. A bin's first slots are few; one that grows gets more of them elsewhere in
// the slab, so a slab touches no more memory than its bins need. Slots given up stay unused.
//
// Classes above TD_TABLE_BYTES have one stack, that of frees, and pop from it as well: see below. Their `alloc` is a
// hint: a link that a pop found, the last one or one before, or what has been in its slot since.
//
// Why two stacks: with one, a malloc that follows a free waits for the very store that the free ends with, whose
// address waits for the page map, which waits for the pointer that the malloc before returned: in a loop of nothing
// else 16 cycles for each pair, against 10 with two. Why a copy of the link: with the number of its slot instead, each
// object would be a load later, and what follows it through the page map to where free stores; where sizes change, the
// next malloc waits for that. Why one stack for larger classes: filling or clearing the object takes longer than that
// chain, and takes least if the object is the one freed last, whose lines are in the nearest cache. Where it does not,
// a pop from one stack breaks the chain: that the object is the one popped last is a guess, which the processor goes on
// with before the slot has confirmed it. A pop from two stacks prefetches the object that comes next.
//
// What may change a bin while its owner runs is the front end's business: `struct td_slab_ops` is how the policy asks.
#ifndef FRONTENDS_SLAB_H_
#define FRONTENDS_SLAB_H_

#include "base/atomic.h"
#include "base/config.h"
#include "base/link.h"
#include "base/lock.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "frontends/frontend.h"

#pragma GCC visibility push(hidden)

//        0            15 16                                           63
//       +---------------+-----------------------------------------------+
//       |    number     |             the object popped next            |     alloc
//       +---------------+---------------+---------------+---------------+
//       |   free_top    |   free_room   |  free_bottom  |    region     |
//       +---------------+---------------+---------------+---------------+
//        free_half                       shape
//
// Pops from two stacks store `alloc`, pushes `free_half`, and a call that follows soon loads the same and no more: a
// load of the second word would have to wait until a store of its half is in the cache. And stores of 16 bits take Zen
// 4 into a state, in some runs of a program and not in others, in which a pair takes twice as long.
struct td_slab_bin {
    td_link alloc;  // what is in the stack's top slot, no object if the stack is empty; a hint where there is one stack
    union {
        struct {
            uint16_t free_top;   // the slot that was pushed last; the one below the stack if it is empty
            uint16_t free_room;  // how many more may be pushed
        };
        uint32_t free_half;
    };
    union {
        struct {
            uint16_t free_bottom;  // the slot below the stack; the other stack is right before it or behind
            uint16_t region;       // how many slots each stack has: enum td_region
        };
        uint32_t shape;
    };
} TD_ALIGNED(16);

_Static_assert(sizeof(struct td_slab_bin) == 16, "the policy replaces a bin by one store of as much");
_Static_assert(sizeof(struct td_slab_bin) == 2 * sizeof(td_link), "the class code is the bin's first word");

// What a push adds to `free_half`: one to `free_top`, and minus one to `free_room`.
#define TD_SLAB_PUSH 0xffff0001u

struct td_slab {
    struct td_slab_bin bins[TD_CLASS_COUNT];  // owner only, by the rules of its front end; others read it as statistic
    uint32_t words_used;                      // atomic, any thread; words from the slab's begin that are given out
    uint32_t hand;           // a hint; a CLOCK hand over the bins: the class that was asked last to give capacity up
    size_t budget_bytes;     // bound of `capacity_bytes`; constant per-CPU, its thread changes it per-thread
    int64_t capacity_bytes;  // atomic, any thread; the sum over all bins of what they may hold in frees
    int64_t balance_bytes;   // statistic; fetched from the middle end less returned to it, since `td_slab_reset`
    uint64_t refills;        // statistic; slow paths of allocations, swaps not counted
    uint64_t flushes;        // statistic; slow paths of frees, swaps not counted
    uint64_t unserved;       // statistic; slow paths that were for want of a bin's first slots
    uint64_t cramped;        // statistic; slow paths of bins that are empty and full in turns, and could not grow
    uint64_t cramped_seen;   // a hint; `cramped` when the budget was last thought of as too small for that
    uint64_t cramped_ms;     // a hint; when that was
    uint64_t activity_seen;  // guarded by the maintenance lock; `activity` at the last tick
    uint32_t idle_ticks;     // ticks without use; guarded by the maintenance lock, of a warm slab by the registry's
    uint32_t swaps;          // a hint; swaps that the front end made itself: see `td_slab_count_swap`
    uint32_t asked_at;       // a hint; slow paths counted when the hand last moved
    struct td_slab *next;    // the front end's lists
    struct td_slab *prev;
    struct td_lock lock;              // of a locked slab
    uint8_t history[TD_CLASS_COUNT];  // a hint, for each bin: what slab.c remembers of its slow paths
};

_Static_assert(offsetof(struct td_slab, bins) == 0, "a class code is a word's index");

// Steps on bins, each of them atomic with regard to the slab's owner. The per-CPU front end's steps act on the slab of
// the CPU that they happen to run on, and `slab` is a hint; so no caller may assume that two steps met one slab.
struct td_slab_ops {
    // Moves up to `count` objects out of the stack of allocations, the last one first. Returns how many, fewer only if
    // it is empty now.
    size_t (*pop_batch)(struct td_slab *slab, size_t class_index, void **objects, size_t count);
    // Moves the last ones of `objects` to the stack of frees, as many as it has room for. Returns how many.
    size_t (*push_batch)(struct td_slab *slab, size_t class_index, void *const *objects, size_t count);
    // Replaces the bin of just this slab if it is still `expected`. Of `desired.alloc` the slot alone counts: what is
    // in it may change while the bin does not, and is looked up at that time.
    bool (*replace_bin)(struct td_slab *slab, size_t class_index, struct td_slab_bin expected,
                        struct td_slab_bin desired);
};

// How many slots each stack has, by `region`: none at first, then more as the bin grows.
enum td_region { TD_REGION_NONE, TD_REGION_FIRST, TD_REGION_SECOND, TD_REGION_THIRD, TD_REGION_WHOLE };
#define TD_FIRST_REGION_SLOTS 8
#define TD_SECOND_REGION_SLOTS 32
#define TD_THIRD_REGION_SLOTS 128

static inline size_t td_slab_region_slots(size_t class_index, enum td_region region) {
    static const uint16_t slots[] = {0, TD_FIRST_REGION_SLOTS, TD_SECOND_REGION_SLOTS, TD_THIRD_REGION_SLOTS,
                                     UINT16_MAX};
    return td_min(slots[region], td_class_info[class_index].bin_max);
}

// Whether the bin of the class may hold nothing, and what it would hold at first is more than half of the budget. Owner
// only.
static inline bool td_slab_lacks_first_slots(const struct td_slab *slab, size_t class_index) {
    const struct td_class_info *info = &td_class_info[class_index];
    const struct td_slab_bin *bin = &slab->bins[class_index];
    size_t first_bytes = td_min(info->bin_max, TD_BIN_MIN) * (size_t)info->object_bytes;
    return bin->free_top == bin->free_bottom && bin->free_room == 0 && 2 * first_bytes > slab->budget_bytes;
}

// What a link in `slot` has in its low bits.
static inline td_link td_link_in(size_t slot) {
    return slot - 1;
}

// The slot below the link's own.
static inline size_t td_link_below(td_link link) {
    return (uint16_t)link;
}

// The slot that the link is in; 0 if it was never in one.
static inline size_t td_link_slot(td_link link) {
    return (uint16_t)link != 0 ? td_link_below(link) + 1 : 0;
}

_Static_assert(TD_SLAB_BYTES / sizeof(td_link) <= 1 << 16, "a slot's number has 16 bits");

// (Opaque: addresses that are a register and a constant let a load take what was stored last from a register, on
// processors that rename memory, Intel's from 2019 on; a sum of two registers does not.)
static inline TD_ALWAYS_INLINE struct td_slab_bin *td_slab_bin(struct td_slab *slab, size_t class_code) {
    struct td_slab_bin *bin = (struct td_slab_bin *)&((td_link *)slab)[class_code];
    TD_OPAQUE(bin);
    return bin;
}

// A bin's slots count from the bin on, in words.
static inline td_link *td_bin_slots(struct td_slab_bin *bin) {
    return (td_link *)bin;
}

// A load may have to wait for a store that has the same place in another page: up to three times as long for a pair. So
// slabs, which are stored to most, begin here in a page or whole KiB behind it: no bin then lies where an object of a
// power of two that it holds begins, but for those of 16 bytes.
#define TD_SLAB_PLACE ((size_t)16)

_Static_assert(TD_SLAB_PLACE % sizeof(struct td_slab_bin) == 0, "bins are aligned");

// A slab without objects. It begins `place` bytes into a page, a multiple of a bin's size. NULL if there is no memory.
struct td_slab *td_slab_new(size_t budget_bytes, size_t place);

// Makes slabs that several threads may want to install in one place at once: a thread that finds that another was
// faster leaves its slab as a spare.
struct td_slab_maker {
    struct td_lock lock;     // held while a slab is installed, but not while one is made
    struct td_slab *spares;  // guarded by lock
};

// A spare, or a new slab with the budget of a CPU. NULL if there is no memory.
struct td_slab *td_slab_maker_take(struct td_slab_maker *maker, size_t place);
// The caller holds the maker's lock.
void td_slab_maker_leave(struct td_slab_maker *maker, struct td_slab *slab);

// The bin as it is now. Its words may be of different times: that they were one bin is certain only if it is that when
// it is replaced.
static inline TD_ALWAYS_INLINE struct td_slab_bin td_slab_load_bin(const struct td_slab *slab, size_t class_index) {
    const struct td_slab_bin *bin = &slab->bins[class_index];
    return (struct td_slab_bin){.alloc = td_load_relaxed(&bin->alloc),
                                .free_half = td_load_relaxed(&bin->free_half),
                                .shape = td_load_relaxed(&bin->shape)};
}

// What the bin is, and what it is to be once the stacks have swapped. False if they may not: the class has one, or
// allocations are not out of objects, or there are fewer than `least` frees. Of a bin that may hold TD_BIN_MAX frees
// more than half of that will do as well: it would get no more objects.
static inline bool td_slab_swapped_bin(const struct td_slab *slab, size_t class_index, size_t least,
                                       struct td_slab_bin *expected, struct td_slab_bin *desired) {
    *expected = td_slab_load_bin(slab, class_index);
    size_t count = (size_t)expected->free_top - expected->free_bottom;
    bool is_full_enough = count > expected->free_room && count + expected->free_room >= TD_BIN_MAX;
    if (!td_class_has_two_stacks(class_index) || td_link_object(expected->alloc) != NULL || count == 0 ||
        (count < least && !is_full_enough))
        return false;
    *desired = *expected;
    desired->alloc = td_link_in(expected->free_top);
    // What is empty is at its bottom.
    desired->free_top = (uint16_t)td_link_slot(expected->alloc);
    desired->free_bottom = desired->free_top;
    desired->free_room = (uint16_t)(count + expected->free_room);
    return true;
}

// The slow path of an allocation: swaps the stacks, or fetches a batch and keeps all but one of its objects, and grows
// a bin that is often empty. NULL if there is no memory.
void *td_slab_refill(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index);

// The slow path of a free: makes room in the bin, by growing it or by returning what was unused for longest, and
// keeps the object.
void td_slab_overflow(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index, void *pointer);

// Swaps the bin's stacks and takes an object, if there is one. Takes no lock. (With locked slabs: but the slab's own.)
void *td_slab_swap_and_pop(const struct td_slab_ops *ops, struct td_slab *slab, size_t class_index);

// Returns all objects to the middle end.
void td_slab_flush(const struct td_slab_ops *ops, struct td_slab *slab);
// The same for a slab that no thread uses, and makes it as new, but that bins keep the slots that they have, and the
// counts of slow paths stay.
void td_slab_reset(struct td_slab *slab);

// Whether `pointer` is what was freed last into its bin: then it is being freed twice. Where others change the slab at
// the same time, a yes is certain only after a fence.
bool td_slab_was_freed_last(const struct td_slab *slab, size_t class_index, const void *pointer);

// Bytes in the slab's objects. Statistic.
size_t td_slab_cached_bytes(const struct td_slab *slab);

// Whether the slab has not been used for TD_IDLE_TICKS, as far as can be seen from outside. To be asked once at each
// tick. The caller holds the maintenance lock.
bool td_slab_becomes_idle(struct td_slab *slab);

// The steps on a slab that no other thread uses at the same time.
extern const struct td_slab_ops td_slab_plain_ops;

// The same, for one object that comes from the stack of frees. It is taken to be what was popped last until the slot
// says otherwise.
static inline void *td_slab_plain_pop_freed(struct td_slab *slab, size_t class_code) {
    struct td_slab_bin *bin = td_slab_bin(slab, class_code);
    uint32_t old = bin->free_half;
    td_link link = bin->alloc;
    td_link guessed = link;
    TD_OPAQUE(guessed);  // so that what is compared is not known to be what is used
    td_link found = td_bin_slots(bin)[(uint16_t)old];
    if (found != guessed) {
        td_store_relaxed(&bin->alloc, found);
        link = found;
    }
    void *object = td_link_object(link);
    if (td_likely(object != NULL))
        td_store_relaxed(&bin->free_half, old - TD_SLAB_PUSH);
    return object;
}

// The same, for one object.
static inline TD_ALWAYS_INLINE void *td_slab_plain_pop(struct td_slab *slab, size_t class_code, bool has_two_stacks) {
    if (!has_two_stacks)
        return td_slab_plain_pop_freed(slab, class_code);
    struct td_slab_bin *bin = td_slab_bin(slab, class_code);
    td_link link = bin->alloc;
    size_t number = td_link_below(link);
    TD_OPAQUE(number);  // so that it is computed first
    void *object = td_link_object(link);
    if (td_unlikely(object == NULL))
        return NULL;
    td_link next = td_bin_slots(bin)[number];
    td_store_relaxed(&bin->alloc, next);
    // It has not been touched since it was allocated last, in most programs long ago.
    __builtin_prefetch(td_link_object(next), 1);
    return object;
}

static inline bool td_slab_plain_push(struct td_slab *slab, size_t class_code, void *object) {
    struct td_slab_bin *bin = td_slab_bin(slab, class_code);
    td_link *slots = td_bin_slots(bin);
    uint32_t old = bin->free_half;
    size_t top = (uint16_t)old;
    uint32_t pushed;
    // There is no room; or what was freed last seems to be freed again, and the slow path is to see that.
    if (td_unlikely(__builtin_sub_overflow(old, -TD_SLAB_PUSH, &pushed) || td_link_resembles(&slots[top], object)))
        return false;
    TD_OPAQUE(top);
    slots[top + 1] = td_link_to(object) + td_link_in(top + 1);
    td_store_relaxed(&bin->free_half, pushed);
    return true;
}

// For a thread that has no slab: one object from or to the middle end, all checks made if `is_checked`.
void *td_slab_alloc_uncached(size_t class_index, bool is_checked);
void td_slab_free_uncached(size_t class_index, void *pointer, bool is_checked);

// Adds a slab's figures to `*stats`.
void td_slab_add_stats(const struct td_slab *slab, struct td_frontend_stats *stats);

// How often the policy's slow paths were walked. Statistic.
static inline uint64_t td_slab_slow_paths(const struct td_slab *slab) {
    return td_load_relaxed(&slab->refills) + td_load_relaxed(&slab->flushes);
}

// Counts a swap. Whether it is time for `td_frontend_maintain`: a program that does little may walk no other slow path
// for long.
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
