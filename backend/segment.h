// Segments, the spans in them, and runs of whole segments.
//
// A segment is 2 MiB of memory, one hugepage where the kernel gives one, cut into 256 pages. What describes it lies
// elsewhere, in metadata, so that no overflow in the program reaches it. Every segment that Tandem mapped belongs to
// one run:
//
//   clean, dirty   free, to be reused; dirty ones may be resident
//   held           taken by a thread that works on it without the lock
//   large          one object of more than half a segment
//   spans          a single segment that is cut into spans; its run is the first member of its `struct td_segment`
//
// Functions here know one segment only, take no lock, and are called with the backend's lock held.
#ifndef BACKEND_SEGMENT_H_
#define BACKEND_SEGMENT_H_

#include "base/config.h"

#pragma GCC visibility push(hidden)

#define TD_SEGMENT_WORDS (TD_SEGMENT_PAGES / 64)
// A page holds at most 512 objects.
#define TD_PAGE_BITMAP_WORDS (TD_PAGE_BYTES / TD_MIN_OBJECT_BYTES / 64)

enum td_run_state { TD_RUN_CLEAN, TD_RUN_DIRTY, TD_RUN_HELD, TD_RUN_LARGE, TD_RUN_SPANS };

// What lies behind a large object in its run: large_tail.h.
enum td_tail_state { TD_TAIL_CLEAN, TD_TAIL_DIRTY, TD_TAIL_LISTED, TD_TAIL_HELD };

// Guarded by the backend's lock; a large run's `base` and `bytes` also by whoever owns the object.
struct td_segment_run {
    struct td_segment_run *next;  // the list of free runs, of segments, or of large objects' tails that it is in
    struct td_segment_run *prev;
    uintptr_t base;         // its first byte
    size_t segments;        // its length
    size_t bytes;           // of the large object, whole pages; after its end the size that it had
    uint64_t freed_ms;      // when it last became dirty; of a large run in the list of tails, its tail
    uint64_t failed_purge;  // the number of the last purge that a part of it stayed dirty in
    uint8_t state;          // enum td_run_state
    uint8_t tail;           // enum td_tail_state, of large runs
    bool is_huge;           // some of it is a place for hugepages: td_page_map_is_place. Of spans: all of it
};

enum td_span_state { TD_SPAN_FREE, TD_SPAN_SMALL, TD_SPAN_LARGE };

// A run of pages: the objects of one class, or one large object. Lies at its first page's index in `td_segment.spans`.
// The backend owns what is above the line, the central free list of the class (under its lock) what is below.
struct td_span {
    uintptr_t start;  // its first byte
    uint16_t pages;
    uint8_t class_index;  // 0: a large object; kept when the span is free, to name a double free
    uint8_t state;        // enum td_span_state
    // -----
    uint16_t free_objects;  // set bits in `free_bits`
    uint8_t bucket;         // the list of the central free list that it is in
    uint8_t age;            // the central free list's: since when objects were neither taken nor returned
    uint64_t *free_bits;    // a bit per object, set: free. Lies in `td_segment.free_bits`
    struct td_span *next;
    struct td_span *prev;
};

// What `rebuilds` is counted modulo.
#define TD_REBUILDS 252

struct td_segment {
    struct td_segment_run run;
    struct td_segment *purgeable_next;  // the list of purgeable.h that it is in
    struct td_segment *purgeable_prev;
    struct td_segment_run *free_run;       // the descriptor that it will have when it is a free run again
    uint16_t used_pages;                   // set bits in `used`
    uint16_t longest_free;                 // pages in the longest free run
    uint16_t list;                         // the page heap's: `longest_free` when it was listed last
    uint16_t dirty_free;                   // pages that are dirty and not used
    uint16_t purgeable;                    // of those, how many may go back: none of a hugepage that is much used
    uint8_t rebuilds;                      // see td_backend_rebuilds; written with the lock, others read it
    bool is_split;                         // was a hugepage until the purge split it, or is to become one now
    bool is_pinned;                        // stays a segment though its last span is freed
    uint64_t turn;                         // the last round of the purge that it had its turn in; or 0
    uint64_t whole_since;                  // when it was looked at and seen as a hugepage much in use; or 0
    uint64_t used[TD_SEGMENT_WORDS];       // a bit per page
    uint64_t dirty[TD_SEGMENT_WORDS];      // a bit per page, set: was handed out since it was last clean
    uint8_t first_page[TD_SEGMENT_PAGES];  // of the span that a page belongs to
    struct td_span spans[TD_SEGMENT_PAGES];
    uint64_t free_bits[TD_SEGMENT_PAGES][TD_PAGE_BITMAP_WORDS];
};

_Static_assert(sizeof(struct td_segment_run) <= TD_CACHE_LINE, "a run's descriptor is one cache line");
_Static_assert(offsetof(struct td_segment, run) == 0, "a run in state spans is a segment");

static inline struct td_segment *td_segment_of_run(struct td_segment_run *run) {
    return (struct td_segment *)run;
}

static inline uintptr_t td_run_end(const struct td_segment_run *run) {
    return run->base + run->segments * TD_SEGMENT_BYTES;
}

// The segment of a span that is in use.
static inline struct td_segment *td_segment_of_span(const struct td_span *span) {
    const struct td_span *first = span - (span->start >> TD_PAGE_SHIFT) % TD_SEGMENT_PAGES;
    return (struct td_segment *)((uintptr_t)first - offsetof(struct td_segment, spans));
}

// A hugepage with more pages in use than this one stays whole.
#define TD_HUGE_USED_MAX_PAGES (TD_SEGMENT_PAGES / 4)

// Makes `segment` describe an empty segment at `base`. With `is_dirty` its pages may hold anything, else zeros. The
// descriptor is all zeros, or one that has ended.
void td_segment_init(struct td_segment *segment, uintptr_t base, bool is_dirty);
// It is a segment no more.
void td_segment_end(struct td_segment *segment);

// Takes the first free run of `pages` whose first page is a multiple of `align_pages` (a power of two); NULL if there
// is none. `*was_clean` tells whether all of it reads as zeros.
struct td_span *td_segment_take_span(struct td_segment *segment, size_t pages, size_t align_pages, bool *was_clean);

// Gives the span's pages back; they stay dirty.
void td_segment_return_span(struct td_segment *segment, struct td_span *span);

// Cuts or extends the span to `pages`, in place. False, and nothing has changed, if the pages behind are not free.
bool td_segment_resize_span(struct td_segment *segment, struct td_span *span, size_t pages);

// The span whose pages hold `address`, in use or (if its pages were not reused) freed. Never NULL.
struct td_span *td_segment_span_at(struct td_segment *segment, uintptr_t address);

// Finds the next range of free dirty pages from `*page` on: sets `*page` and `*pages`, or returns false.
bool td_segment_next_dirty_range(const struct td_segment *segment, size_t *page, size_t *pages);

// Keeps free dirty pages from being taken while they are given back to the operating system, and frees them again.
void td_segment_hold_pages(struct td_segment *segment, size_t page, size_t pages);
void td_segment_release_pages(struct td_segment *segment, size_t page, size_t pages, bool are_clean);

// Bytes of the segment's objects, large ones and those in caches included.
size_t td_segment_used_bytes(const struct td_segment *segment);
// Bytes of its large objects.
size_t td_segment_large_bytes(const struct td_segment *segment);

// Whether the segment is a place for hugepages.
void td_segment_set_huge(struct td_segment *segment, bool is_huge);

// All of the segment is resident.
void td_segment_set_dirty(struct td_segment *segment);

// Aborts if the segment's counts do not match its bitmaps. Debug builds only.
void td_segment_check(const struct td_segment *segment);

#pragma GCC visibility pop

#endif  // BACKEND_SEGMENT_H_
