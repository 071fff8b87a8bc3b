// Stashes: what threads without a slab keep of what they have freed, a few objects of any classes. A thread that
// allocates soon what it has just freed needs no lock for it, and a stash takes two cache lines where a slab takes
// pages.
#ifndef FRONTENDS_PERTHREAD_STASH_H_
#define FRONTENDS_PERTHREAD_STASH_H_

#include "base/atomic.h"
#include "frontends/locked_slab.h"
#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

#define TD_STASH_OBJECTS 8

// A forked child finds the stash of another thread as it was between two stores: an object may be missing, but none is
// there that the thread has handed out, or with another's class.
struct td_stash {
    uint64_t classes;  // owner only, others read it as statistic; byte i: the class of objects[i], 0 if there is none
    void *objects[TD_STASH_OBJECTS];  // owner only
    unsigned oldest_half;             // owner only; where the objects lie that are to leave first: 0 or TD_STASH_HALF
    struct td_stash *next;            // immutable; the list of all
    struct td_stash *next_spare;      // the list of those that no thread has
} TD_ALIGNED(TD_CACHE_LINE);

#define TD_STASH_HALF (TD_STASH_OBJECTS / 2)

_Static_assert(TD_STASH_OBJECTS == sizeof(uint64_t), "one byte for each");
_Static_assert(TD_CLASS_COUNT <= 1 << 7, "a class is less than a byte's highest bit");

// An empty stash for the calling thread alone; NULL if there is no memory.
struct td_stash *td_stash_take(void);
// Takes one back; its objects go to the middle end.
void td_stash_leave(struct td_stash *stash);

// The first place of the class, or of none if that is 0; TD_STASH_OBJECTS if there is no such place.
static inline size_t td_stash_find(uint64_t classes, size_t class_index) {
    uint64_t lowest_bits = 0x0101010101010101, highest_bits = lowest_bits << 7;
    // Where a byte is the class it is 0 now, and the first one to borrow below.
    uint64_t found = ((classes ^ class_index * lowest_bits) - lowest_bits) & highest_bits;
    return found != 0 ? (size_t)__builtin_ctzll(found) / 8 : TD_STASH_OBJECTS;
}

// An object of the class, or NULL.
static inline void *td_stash_pop(struct td_stash *stash, size_t class_index) {
    size_t place = td_stash_find(stash->classes, class_index);
    if (place == TD_STASH_OBJECTS)
        return NULL;
    td_store_relaxed(&stash->classes, stash->classes ^ (uint64_t)class_index << 8 * place);
    return stash->objects[place];
}

// Keeps an object. False if there is no room.
static inline bool td_stash_push(struct td_stash *stash, size_t class_index, void *object) {
    size_t place = td_stash_find(stash->classes, 0);
    if (place == TD_STASH_OBJECTS)
        return false;
    td_store_release(&stash->objects[place], object);
    td_store_release(&stash->classes, stash->classes | (uint64_t)class_index << 8 * place);
    return true;
}

// Whether `pointer` is in the stash: then it is being freed twice.
bool td_stash_holds(const struct td_stash *stash, const void *pointer);

// Moves a half of the stash, by turns, to `objects`, which has room for TD_STASH_HALF. Returns how many they are.
size_t td_stash_make_room(struct td_stash *stash, struct td_object *objects);

// Over all stashes.
void td_stash_add_stats(struct td_frontend_stats *stats);

// Between the first call and one of the others the calling thread holds the lock of all stashes. In the child only the
// thread with `own`, or none if it is NULL, is left: what other threads' have goes back to the middle end.
void td_stash_fork_prepare(void);
void td_stash_fork_parent(void);
void td_stash_fork_child(const struct td_stash *own);

#pragma GCC visibility pop

#endif  // FRONTENDS_PERTHREAD_STASH_H_
