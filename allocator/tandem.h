// Tandem's extension API: what malloc(3) has no name for.
//
// Link `//allocator:tandem` and include this header. Every function may be called from any thread and whichever malloc
// the binary has: with one that is not Tandem, the functions answer "none", zero or NULL and change nothing, errno
// included.
#ifndef ALLOCATOR_TANDEM_H_
#define ALLOCATOR_TANDEM_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define TANDEM_VERSION "0.1.0"

// The version of the allocator that this process runs, "0.1.0"; "none" if malloc is not Tandem's.
const char *tandem_version(void);

// The front end behind malloc: "percpu", "perthread" or "none".
const char *tandem_front_end(void);

// How that front end works in this process: "rseq (glibc)", "rseq (own)" or "locked" for percpu, "thread-local" for
// perthread, "none" without Tandem. This is about the process. Some threads use slabs behind locks all the same: with
// percpu those for which the kernel registers no rseq area; with perthread those that exit, those that have freed up to
// 64 objects and allocated none, and new ones for their first 3,000 calls or more where 8 threads for each CPU have
// slabs already. With the option `check` the answer is the same, though no cache is used.
const char *tandem_mode(void);

// What names the slab that a thread uses: "mm_cid", "cpu_id", "cpu" (the locked mode), "thread" or "none".
const char *tandem_index(void);

// One line that says why `tandem_mode` and `tandem_index` are what they are. Never NULL, never freed.
const char *tandem_mode_reason(void);

// Gives the objects that the caller's cache (its CPU's or its thread's) holds back to the middle end, where other
// threads find them. Nothing goes to the operating system. A thread that has no slab of its own with perthread (see
// `tandem_mode`) gives back the few objects that it keeps itself. Does nothing with the option `check`.
void tandem_flush(void);

// Gives memory that no object uses back to the operating system: at least `bytes` of it if as much can go, more where
// only more can go at once; SIZE_MAX for all. What is locked (mlockall(2)) stays, and so do free pages of a hugepage of
// which more than a quarter is in use; the unused tails of objects of more than 1 MiB go, short ones excepted. First it
// empties the caches, then the middle end: the locked slabs, with percpu all CPUs' slabs, where the kernel can restart
// their sequences (membarrier(2)), with perthread the caller's and those that threads left when they exited. What other
// threads keep themselves stays, at most 4 MiB each. Returns the bytes given back.
size_t tandem_release_memory(size_t bytes);

// An object of at least `size` bytes and its usable size (P0901, `std::allocate_at_least`). Aligned as malloc(3)'s.
// On failure `pointer` is NULL, `size` 0 and errno ENOMEM; without Tandem always NULL, so be ready to call malloc. To
// be freed with free(3), or with free_sized(3) and any size between the one asked for and the one returned.
struct tandem_sized_pointer {
    void *pointer;
    size_t size;  // bytes
};
struct tandem_sized_pointer tandem_alloc_at_least(size_t size);

// Where every byte that Tandem mapped is: address space, whether it is resident or not. The first six add up to
// `mapped_bytes` exactly when no other thread allocates.
//
// `refills` and `flushes` count slow paths before it is known whether a batch moves. Those that find at once that
// a bin's two stacks can swap are not counted.
struct tandem_stats {
    uint64_t live_bytes;         // in objects that the program holds, rounded up to their size class or to pages
    uint64_t cached_bytes;       // in objects that front ends and transfer caches hold
    uint64_t free_bytes;         // free objects of spans, resident or not, and free pages that may be resident
    uint64_t fresh_bytes;        // whole free pages that are not resident: never touched, or given back
    uint64_t waste_bytes;        // tails: of spans, too short for an object, and behind large objects; resident or not
    uint64_t metadata_bytes;     // Tandem's own tables, slabs and descriptors, as mapped
    uint64_t mapped_bytes;       // the sum; what was given back is still in it
    uint64_t peak_mapped_bytes;  // the largest sum that this or an earlier call for statistics has seen
    uint64_t segments;           // those cut into spans; objects of more than 1 MiB have others to themselves
    uint64_t slabs;              // of CPUs or threads, locked ones, and those that threads left with their objects
    uint64_t refills;            // slow paths of allocations, most of which fetch a batch
    uint64_t flushes;            // slow paths of frees, many of which return one
    uint64_t transfer_hits;      // batches fetched that the transfer cache had, if only in part
    uint64_t transfer_misses;    // batches fetched of which it had nothing
    uint64_t central_locks;      // central free lists' locks taken, by calls for statistics as well
    uint64_t locks_contended;    // locks of any kind that were not free at the first try
    uint64_t system_calls;       // made for memory: mmap, munmap, mremap, madvise, msync, mincore
    uint64_t remote_fences;      // membarrier calls that empty a CPU's slab; not those that settle a double free
    uint64_t purged_bytes;       // given back to the operating system since the start
    uint64_t hugepages_rebuilt;  // made of pages that were there: split before, or from when the heap was small
};

// Fills `*stats`, whose size the caller says: later versions append fields. Those that the library does not know are
// zero, as are all without Tandem.
void tandem_get_stats(struct tandem_stats *stats, size_t bytes);

// Writes the statistics as text or as one JSON object, at most `capacity` bytes with the final NUL, as snprintf(3)
// does. Returns the length that the whole text has. Allocates nothing.
//
// Without Tandem the text is "tandem: none" and a newline, and the JSON `{}`. With it, that has a number for each field
// of `tandem_stats`, by the field's name, and
//
//   version, front_end, mode, index, reason   strings: what `tandem_version` to `tandem_mode_reason` return
//   classes                                   a list of {"object_bytes": N, "objects_out": N}: how many objects of a
//                                             size class are in use or in slabs (not those in transfer caches);
//                                             classes without any are left out
size_t tandem_stats_text(char *buffer, size_t capacity);
size_t tandem_stats_json(char *buffer, size_t capacity);

#if defined(__cplusplus)
}  // extern "C"
#endif

#endif  // ALLOCATOR_TANDEM_H_
