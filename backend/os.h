// The border to the operating system: every system call that Tandem makes for memory is in os.c.
//
// Addresses and lengths are in bytes, multiples of the OS page unless said otherwise. What makes system calls is called
// with no lock held but those that base/lock.h has for that. Functions that return int return 0 or -errno; all keep
// errno.
#ifndef BACKEND_OS_H_
#define BACKEND_OS_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

// Bytes of an OS page.
size_t td_os_page_bytes(void);

// Zeroed memory of `bytes`, at a multiple of `alignment` (a power of two); NULL if there is none.
void *td_os_map(size_t bytes, size_t alignment);
// Maps zeroed memory at `address`, where nothing may be mapped; -EEXIST if something is.
int td_os_map_at(void *address, size_t bytes);
// -ENOMEM, and nothing has changed, where it would cut a mapping in two and the system allows no more of them.
int td_os_unmap(void *address, size_t bytes);

// Gives the range back; it reads as zeros afterwards. Fails on locked memory.
int td_os_purge(void *address, size_t bytes);

// Whether some of the range is locked, as by mlock(2).
bool td_os_is_locked(void *address, size_t bytes);

// Whether the OS page that holds `address` is in memory; true where that cannot be told.
bool td_os_is_resident(void *address);

// Moves the pages of `from`, where nothing is locked, to `to`, without copying; both must be mapped. `from` reads as
// zeros afterwards. Passes by `aside`, from `td_os_find_place`. After an error `from` is as it was, and so is `to`
// unless that is -ENOTRECOVERABLE: then it may be somebody else's. -EINVAL before Linux 5.7.
int td_os_move(void *from, void *to, size_t bytes, void *aside);
// An address at a multiple of `bytes` where they fit, until somebody else maps something there; NULL if there is none.
void *td_os_find_place(size_t bytes);

// Asks for, or declines, transparent hugepages. Advice: failure does not matter.
void td_os_advise_hugepages(void *address, size_t bytes, bool wanted);

// Makes one hugepage of a segment, what is not resident reads as zeros, and asks for it to stay one. Returns 0 or the
// negated error, and then hugepages are declined: -EINVAL before Linux 6.1, -ENOMEM or -EAGAIN without a hugepage.
int td_os_collapse(void *address, size_t bytes);

// Whether the kernel gives hugepages of a segment's size to who asks for them, in this process; true where that cannot
// be told.
bool td_os_gives_hugepages(void);

// A monotonic clock that costs no system call, in ms; coarse, a few ms. Always 0 where there is none.
uint64_t td_os_clock_ms(void);

// Calls of mmap, munmap, mremap, madvise, msync and mincore by the functions above. Statistic.
uint64_t td_os_call_count(void);

#pragma GCC visibility pop

#endif  // BACKEND_OS_H_
