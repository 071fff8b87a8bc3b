// The contract of a front end. One is linked into each binary; two are a link error, since both define these names.
//
// A front end hands out single objects of a size class from caches that need no lock. Its folder has a `fast_path.h`
// with two static inline functions, which malloc, free and operator new are compiled with, once for each front end
// (`class_code` is td_class_code of a class):
//
//   void *td_frontend_pop(size_t class_code, bool has_two_stacks)  an object of the class; NULL if the cache has none.
//                                                                  `has_two_stacks` is td_class_has_two_stacks,
//                                                                  which callers know beforehand
//   bool td_frontend_push(size_t class_code, void *object)         false if the cache has no room
//
// It may also define macros that then are malloc, operator new and delete, and free, and leave what they do not do to
// functions of allocator/allocate.h: TD_DEFINE_MALLOC(name) and TD_DEFINE_NEW(name), TD_DEFINE_FREE(name) and
// TD_DEFINE_DELETE(name), and TD_DEFINE_DELETE_SIZED(name).
//
// (Called instead of inlined they cost 0.8 ns more for a pair, as fetching instructions across taken branches does.)
// What a cache lacks or has too much of moves to and from the middle end in batches, in the functions below.
#ifndef FRONTENDS_FRONTEND_H_
#define FRONTENDS_FRONTEND_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// What to do when there is no memory: return NULL with errno ENOMEM, or call the C++ new_handler and throw.
enum td_on_failure { TD_RETURN_NULL, TD_THROW };

// Both take the caller's own argument first, so that it stays in its register.
//
// An object of class `class_index` (1 to TD_CLASS_COUNT - 1) for `size` bytes, after `td_frontend_pop` found none.
// Initialises the allocator at first use.
void *td_frontend_alloc_slow(size_t size, size_t class_index, enum td_on_failure on_failure);

// Takes back an object of the class, after `td_frontend_push` found no room. Keeps errno.
void td_frontend_free_slow(void *pointer, size_t class_index);

// Tries again as the C++ new_handler allows, or throws std::bad_alloc. Lives in allocator/, with operator new.
void *td_new_failed(size_t size);

// Gives the objects in the caller's cache, if it has one, back to the middle end.
void td_frontend_flush(void);
// Gives the objects of all caches back that can be emptied from outside.
void td_frontend_drain(void);
// Gives about `bytes` of free memory back to the operating system; returns how many. A fork waits for it: what is on
// its way is in no list that a child would find.
size_t td_frontend_purge(size_t bytes);

// Runs the periodic work if a tick is due (TD_TICK_MS). To be called before a large object is allocated: it also
// initialises what `td_frontend_push` needs, since free tries that first, for any pointer.
void td_frontend_maintain(void);

// From now on objects bypass the caches, so that every misuse is noticed at once. For the process's first thread.
void td_frontend_set_checked(void);

// See tandem_front_end, tandem_mode, tandem_index and tandem_mode_reason. This is about the process, not about the
// caller.
struct td_frontend_description {
    const char *name;
    const char *mode;
    const char *index;
    const char *reason;
};
struct td_frontend_description td_frontend_describe(void);

// Over all caches. Statistic; exact while no other thread allocates.
struct td_frontend_stats {
    size_t slabs;
    size_t cached_bytes;  // in objects
    uint64_t refills;
    uint64_t flushes;
    uint64_t remote_fences;
};
void td_frontend_get_stats(struct td_frontend_stats *stats);

// Run before fork(2) and after it, in the parent and in the child. They cover the layers below.
void td_frontend_fork_prepare(void);
void td_frontend_fork_parent(void);
void td_frontend_fork_child(void);

#pragma GCC visibility pop

#endif  // FRONTENDS_FRONTEND_H_
