// Tandem's extension API: what malloc(3) has no name for.
//
// Link `//allocator:tandem` and include this header. Every function may be called from any thread and whichever malloc
// the binary has: with one that is not Tandem, the functions answer "none", zero or NULL and change nothing.
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
// perthread, "none" without Tandem.
const char *tandem_mode(void);

// What names the slab that a thread uses: "mm_cid", "cpu_id", "cpu" (the locked mode), "thread" or "none".
const char *tandem_index(void);

// One line that says why `tandem_mode` and `tandem_index` are what they are. Never NULL, never freed.
const char *tandem_mode_reason(void);

// Gives the objects that the caller's cache (its CPU's or its thread's) holds back to the middle end.
void tandem_flush(void);

// Gives memory that no object uses back to the operating system, `bytes` of it or as much as there is; SIZE_MAX for
// all. Empties the middle end first, and those caches that can be emptied from outside. Returns the bytes given back.
size_t tandem_release_memory(size_t bytes);

// An object of at least `size` bytes and its usable size (P0901, `std::allocate_at_least`). Aligned as malloc(3)'s.
// On failure `pointer` is NULL, `size` 0 and errno ENOMEM. To be freed with free(3), or with free_sized(3) and any size
// between the one asked for and the one returned.
struct tandem_sized_pointer {
    void *pointer;
    size_t size;  // bytes
};
struct tandem_sized_pointer tandem_alloc_at_least(size_t size);

// Where every byte that Tandem mapped is. The first six add up to `mapped_bytes` exactly when no other thread
// allocates.
struct tandem_stats {
    uint64_t live_bytes;      // in objects that the program holds, rounded up to their size class
    uint64_t cached_bytes;    // in objects that front ends and transfer caches hold
    uint64_t free_bytes;      // free objects and pages that were used before and may be resident
    uint64_t fresh_bytes;     // pages never touched, or given back to the operating system
    uint64_t waste_bytes;     // tails of spans too short for an object
    uint64_t metadata_bytes;  // Tandem's own tables, slabs and descriptors, as mapped
    uint64_t mapped_bytes;    // the sum
    uint64_t peak_mapped_bytes;
    uint64_t segments;         // segments in use
    uint64_t slabs;            // front-end caches that exist
    uint64_t refills;          // batches fetched by front ends
    uint64_t flushes;          // batches returned by front ends
    uint64_t transfer_hits;    // batches fetched that the transfer cache had
    uint64_t transfer_misses;  // batches fetched that it did not have
    uint64_t central_locks;    // central free lists' locks taken
    uint64_t locks_contended;  // locks of any kind that were not free at the first try
    uint64_t system_calls;     // made for memory: mmap, munmap, mremap, madvise, mprotect
    uint64_t remote_fences;    // membarrier calls
    uint64_t purged_bytes;     // given back to the operating system since the start
};

// Fills `*stats`; all zeros without Tandem.
void tandem_get_stats(struct tandem_stats *stats);

// Writes the statistics as text or as one JSON object, at most `capacity` bytes with the final NUL, as snprintf(3)
// does. Returns the length that the whole text has. Allocates nothing.
size_t tandem_stats_text(char *buffer, size_t capacity);
size_t tandem_stats_json(char *buffer, size_t capacity);

#if defined(__cplusplus)
}  // extern "C"
#endif

#endif  // ALLOCATOR_TANDEM_H_
