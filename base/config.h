// The numbers that several files share, and those that TD_TINY changes; a number that one file needs stands there. A -D
// enters here and nowhere else.
//
// `TD_TINY` builds the variant whose caches hold next to nothing, so that tests walk the slow paths all the time.
#ifndef BASE_CONFIG_H_
#define BASE_CONFIG_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Some headers are also read by operator_new.cc.
#if defined(__cplusplus)
#define _Static_assert static_assert
#define _Noreturn [[noreturn]]
#endif

#if !defined(TD_TINY)
#define TD_TINY 0
#endif

#if defined(NDEBUG)
#define TD_DEBUG 0
#else
#define TD_DEBUG 1
#endif

// The backend's unit of memory. A span is a run of pages, a segment 256 of them.
#define TD_PAGE_SHIFT 13
#define TD_PAGE_BYTES ((size_t)1 << TD_PAGE_SHIFT)
#define TD_SEGMENT_SHIFT 21
#define TD_SEGMENT_BYTES ((size_t)1 << TD_SEGMENT_SHIFT)
#define TD_SEGMENT_PAGES ((size_t)1 << (TD_SEGMENT_SHIFT - TD_PAGE_SHIFT))

// Virtual addresses that the page map covers; the kernel hands out higher ones only where they are asked for.
#define TD_ADDRESS_BITS 48

// The smallest object, and malloc's alignment.
#define TD_MIN_OBJECT_BYTES ((size_t)16)
// The largest object that has a size class; what is larger is a span or a run of segments of its own.
#define TD_MAX_SMALL_BYTES ((size_t)64 << 10)
// The largest object that shares a segment with others.
#define TD_MAX_SPAN_BYTES (TD_SEGMENT_BYTES / 2)

// A page of the processor, at least: where memory is told apart by less than its whole address.
#define TD_SMALLEST_PAGE_BYTES ((size_t)4 << 10)

// A cache line of every CPU that Tandem runs on.
#define TD_CACHE_LINE 64

// A batch, which is what moves between a slab and the middle end at once, has no more objects than this.
#define TD_BATCH_MAX (TD_TINY ? 1 : 128)
// It has no more bytes of objects than this.
#define TD_BATCH_BYTES ((size_t)512 << 10)
// What a refill may hand out beyond the batch, to end on a cache line of objects.
#define TD_BATCH_SLACK 3

// Each of a bin's stacks holds no more objects than this.
#define TD_BIN_MAX (TD_TINY ? 2 : 128)
// It may be more for objects of a cache line or less, of which programs free more before they allocate as many again.
#define TD_BIN_LINE_MAX (TD_TINY ? 2 : 1024)
// It holds no more bytes of objects than this.
#define TD_BIN_BYTES ((size_t)1024 << 10)
// A bin that grows for the first time may hold so many objects in frees.
#define TD_BIN_MIN (TD_TINY ? 1 : 4)
// A bin swaps its stacks if that of frees has so many bytes of objects, or so many objects if these are fewer; else the
// middle end fills it up first. A swap costs as much as some allocations, and should be rare.
#define TD_SWAP_MIN_BYTES ((size_t)8 << 10)
#define TD_SWAP_MIN_OBJECTS (TD_TINY ? 1 : 128)

// Address space of a slab: headers, then slots. It has room for all bins at their largest, and for what is lost where
// several are moved at once.
#define TD_SLAB_BYTES ((size_t)320 << 10)
// The largest budget of a slab: what all its bins together may take in frees, in bytes of objects. (Their other stacks
// may hold as much again.) Each CPU's slab has this one.
#define TD_SLAB_BUDGET_BYTES ((size_t)2 << 20)

// What threads' slabs may have: frontends/perthread/budget.h has the rules that these numbers are for.
//
// The sum of all budgets, for each CPU; never less than TD_SLAB_BUDGET_BYTES in all.
#define TD_THREAD_BUDGETS_PER_CPU_BYTES ((size_t)1 << 20)
// The budget of a new thread's slab is its thread's share of that sum, but no more than this.
#define TD_SLAB_BUDGET_FIRST_BYTES ((size_t)16 << 10)
// No slab in use has a budget of less, whatever the sum.
#define TD_SLAB_BUDGET_MIN_BYTES ((size_t)4 << 10)
// A budget beyond this one has to be justified: by much memory in use, or by what it costs to do without.
#define TD_SLAB_BUDGET_SMALL_BYTES ((size_t)64 << 10)
// Much is in use if it is so many times what would be cached with the larger budget.
#define TD_MUCH_IN_USE_TIMES 2
// A bin gets no slots too often if one of so many slow paths is for want of the first ones.
#define TD_UNSERVED_SHARE 8
// Each slow path of a bin that is empty and full in turns justifies so much of a budget, where there are so many of
// them in a millisecond or more: then they take some hundredths of the time.
#define TD_CRAMPED_EARNS_BYTES ((size_t)16)
#define TD_CRAMPED_PER_MS 500
// Each slow path adds so much to the budget that a slab may claim: a thread that seldom walks one does with little.
#define TD_SLOW_PATH_EARNS_BYTES ((size_t)1 << 10)
// Up to so many threads for each CPU are few: they get a slab at their first call, and may have TD_SLAB_BUDGET_BYTES.
#define TD_FEW_THREADS (TD_TINY ? 0 : 8)
// A thread beyond those gets a slab once its calls have cost so much more without one: about what the slab's first
// refills cost.
#define TD_SLAB_WORTH_NS (TD_TINY ? 2000 : 90000)
// The largest object that such a thread keeps in its stash.
#define TD_STASH_OBJECT_BYTES ((size_t)512)
// A thread that only frees counts as one that calls after so many objects, which it frees to locked slabs.
#define TD_FIRST_FREES (TD_TINY ? 4 : 64)

// So many slabs of threads that exited, for each CPU, keep their objects for the next threads.
#define TD_WARM_SLABS (TD_TINY ? 1 : 8)

// Slabs that the per-CPU front end can index: as many as the CPUs that a kernel for x86-64 or aarch64 can be configured
// for today. With more, the locked slabs are used.
#define TD_MAX_CPUS 8192

// So many CPUs share a lane of the transfer caches.
#define TD_CPUS_PER_LANE 4
// There are no more lanes than this: with many CPUs more of them share one.
#define TD_LANES 16
// A lane may hold so many batches of a class at first.
#define TD_TRANSFER_BATCHES_MIN (TD_TINY ? 1 : 2)
// It never holds more batches of a class than this. What lies there unused goes back to the spans at every tick.
#define TD_TRANSFER_BATCHES_MAX (TD_TINY ? 1 : 256)
// It never holds more bytes of a class than this, unless it is fewer than TD_TRANSFER_BATCHES_MIN batches.
#define TD_TRANSFER_BYTES ((size_t)4 << 20)

// The maintenance runs at most once in this time.
#define TD_TICK_MS 100
// How long memory stays with a process that has stopped using it, unless an option says otherwise.
#define TD_DECAY_MS_DEFAULT 4000
// Ticks that a slab lies unused before another thread empties it.
#define TD_IDLE_TICKS 10

// Bytes in use from which on a heap counts as large and is given hugepages: the last of them may stay half empty, and
// so is the price of a few page faults saved in a small heap.
#define TD_HUGE_HEAP_BYTES ((size_t)12 << 20)

// How much of what was given back is used again within a tick when hugepages that were split are made whole.
#define TD_REUSED_BYTES_MIN ((size_t)4 << 20)

_Static_assert(TD_SEGMENT_PAGES == 256, "a page's index within its segment is a byte");
_Static_assert(TD_MAX_SPAN_BYTES % TD_PAGE_BYTES == 0, "spans are whole pages");
_Static_assert(TD_BIN_MAX >= TD_BATCH_MAX, "a bin takes a whole batch");
_Static_assert(sizeof(void *) == 8, "64-bit only");

#define td_likely(condition) __builtin_expect(!!(condition), 1)
#define td_unlikely(condition) __builtin_expect(!!(condition), 0)
// Keeps the compiler from knowing what the variable is, and from keeping addresses that it has computed from it.
#define TD_OPAQUE(variable) __asm__("" : "+r"(variable))
#define TD_NOINLINE __attribute__((noinline))
#define TD_ALWAYS_INLINE __attribute__((always_inline))
#define TD_ALIGNED(bytes) __attribute__((aligned(bytes)))

#endif  // BASE_CONFIG_H_
