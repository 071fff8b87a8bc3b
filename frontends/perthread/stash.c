#include "frontends/perthread/stash.h"

#include "middle/middle.h"

static struct td_lock stash_lock;
static struct td_stash *all_stashes;    // guarded by stash_lock
static struct td_stash *spare_stashes;  // guarded by stash_lock

static void stashes_acquire(void) {
    td_lock_acquire(&stash_lock, TD_RANK_REGISTRY);
}

static void stashes_release(void) {
    td_lock_release(&stash_lock, TD_RANK_REGISTRY);
}

static void push_spare(struct td_stash *stash) {
    stash->next_spare = spare_stashes;
    spare_stashes = stash;
}

struct td_stash *td_stash_take(void) {
    stashes_acquire();
    struct td_stash *stash = spare_stashes;
    if (stash != NULL)
        spare_stashes = stash->next_spare;
    stashes_release();
    if (stash != NULL)
        return stash;
    stash = td_middle_alloc_metadata(sizeof *stash, _Alignof(struct td_stash));
    if (stash == NULL)
        return NULL;
    stashes_acquire();
    stash->next = all_stashes;
    all_stashes = stash;
    stashes_release();
    return stash;
}

static size_t class_at(uint64_t classes, size_t place) {
    return (uint8_t)(classes >> 8 * place);
}

static void empty(struct td_stash *stash) {
    for (size_t place = 0; place < TD_STASH_OBJECTS; place++) {
        size_t class_index = class_at(stash->classes, place);
        if (class_index == 0)
            continue;
        void *objects[TD_STASH_OBJECTS];
        size_t count = 0;
        for (void *object; (object = td_stash_pop(stash, class_index)) != NULL;)
            objects[count++] = object;
        td_middle_return(class_index, objects, count);
    }
}

void td_stash_leave(struct td_stash *stash) {
    empty(stash);
    stashes_acquire();
    push_spare(stash);
    stashes_release();
}

bool td_stash_holds(const struct td_stash *stash, const void *pointer) {
#pragma GCC unroll 8
    for (size_t i = 0; i < TD_STASH_OBJECTS; i++)
        if (td_unlikely(stash->objects[i] == pointer) && class_at(stash->classes, i) != 0)
            return true;
    return false;
}

size_t td_stash_make_room(struct td_stash *stash, struct td_object *objects) {
    uint64_t classes = stash->classes;
    size_t count = 0;
    for (size_t i = stash->oldest_half; i < stash->oldest_half + TD_STASH_HALF; i++) {
        if (class_at(classes, i) != 0)
            objects[count++] = (struct td_object){class_at(classes, i), stash->objects[i]};
        classes &= ~((uint64_t)UINT8_MAX << 8 * i);
    }
    td_store_relaxed(&stash->classes, classes);
    stash->oldest_half = TD_STASH_HALF - stash->oldest_half;
    return count;
}

void td_stash_add_stats(struct td_frontend_stats *stats) {
    stashes_acquire();
    for (const struct td_stash *stash = all_stashes; stash != NULL; stash = stash->next) {
        uint64_t classes = td_load_relaxed(&stash->classes);
        for (size_t i = 0; i < TD_STASH_OBJECTS; i++)
            stats->cached_bytes += td_class_bytes(class_at(classes, i));
    }
    stashes_release();
}

void td_stash_fork_prepare(void) {
    stashes_acquire();
}

void td_stash_fork_parent(void) {
    stashes_release();
}

void td_stash_fork_child(const struct td_stash *own) {
    // One that a thread makes from here on, which another library's handler has started, is not among these.
    struct td_stash *first = all_stashes;
    spare_stashes = NULL;
    stashes_release();
    for (struct td_stash *stash = first; stash != NULL; stash = stash->next)
        if (stash != own)
            td_stash_leave(stash);
}
