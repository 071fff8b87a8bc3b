// Restartable sequences on the slab of the CPU that the thread runs on.
//
// A sequence announces itself in the thread's rseq area, reads which CPU it is on, and works on that CPU's slab; its
// last instruction is the one store that makes it so. If the thread is preempted, migrated or signalled in between, the
// kernel sends it back to the start, so no other thread was on the slab between the first instruction and the last.
// Nothing but `rseq_cs` is ever written in the area. The kernel's contract is rseq(2) and
// Documentation/userspace-api/rseq.
#ifndef FRONTENDS_PERCPU_RSEQ_H_
#define FRONTENDS_PERCPU_RSEQ_H_

#include "base/arch.h"
#include "frontends/slab.h"

#pragma GCC visibility push(hidden)

// The part of the kernel's `struct rseq` that Tandem uses, as <linux/rseq.h> of Linux 6.3 has it.
struct td_rseq_area {
    uint32_t cpu_id_start;
    uint32_t cpu_id;
    uint64_t rseq_cs;
    uint32_t flags;
    uint32_t node_id;
    uint32_t mm_cid;
    uint32_t padding;
} TD_ALIGNED(32);

// What a sequence announces itself with: the kernel's `struct rseq_cs`, as <linux/rseq.h> has it.
struct td_rseq_cs {
    uint32_t version;
    uint32_t flags;
    uint64_t start_ip;
    uint64_t post_commit_offset;
    uint64_t abort_ip;
} TD_ALIGNED(32);

_Static_assert(offsetof(struct td_slab_bin, alloc) == 0 && offsetof(struct td_slab_bin, free_half) == 8 &&
                   offsetof(struct td_slab_bin, shape) == 12,
               "the sequences find them there");
_Static_assert(TD_LINK_SHIFT == 16, "the sequences shift by this");
_Static_assert(TD_SLAB_PUSH == -0xffffu, "the sequences subtract this");
_Static_assert(offsetof(struct td_rseq_area, rseq_cs) == 8, "the sequences write there");
_Static_assert(offsetof(struct td_rseq_area, mm_cid) == 24, "the kernel's layout");

// As TD_SLAB_PLACE, but kept apart from where sequences load as well: the rseq areas, which glibc has at the begin of a
// page or at its end, and the table below, as far as its first 190 entries. That one's place is a multiple of 16 that
// is little else, which few objects have.
#define TD_CPU_SLAB_PLACE ((size_t)1024 + TD_SLAB_PLACE)
#define TD_TABLE_PLACE ((size_t)2576)

// What a sequence finds a slab with. All zeros at first, so that it takes no room in the file.
struct td_percpu {
    char padding[TD_TABLE_PLACE - 144];
    // For free and operator delete on x86-64 (see direct_x86_64.h), immutable once td_area_init has decided: their
    // descriptors; where the areas' `rseq_cs` lies, from the thread pointer on; and the bits of td_link_to(pointer)
    // that they leave a pointer to others for, none till then. The latter two at places where no object begins.
    struct td_rseq_cs free_descriptor[3];
    char padding_2[8];
    ptrdiff_t free_rseq_cs_offset;
    char padding_3[8];
    uint64_t free_mask;
    char padding_4[8];
    // Atomic, any thread. Where the field of the rseq area lies that names a slab, in bytes from the thread pointer on,
    // which is the same for all threads: `mm_cid`, or `cpu_id` where the kernel has no mm_cid. 0 until td_area_init has
    // decided. It says where the area is as well, as each word more that is loaded takes half a cycle.
    intptr_t index_offset;
    // Atomic, any thread. `td_no_slab`: not made yet, or being emptied by another thread; that of TD_NO_INDEX for ever.
    // td_area_init fills it as far as there are indexes, before it decides.
    struct td_slab *slabs[TD_MAX_CPUS + 1];
} TD_ALIGNED(TD_SMALLEST_PAGE_BYTES);

extern struct td_percpu td_percpu;

// A slab of zeros, without objects or room for them, so that no sequence has to ask whether it has found one. It stays
// so: what sequences store here is what they found.
extern struct td_slab td_no_slab;

// The index that areas of Tandem's own have which are not registered. Others name a CPU that the kernel may have, which
// td_area_init makes sure to be less. The C library registers each thread's area or ends the process; that none is
// unregistered while its thread lives, or threads are made by one that did so, is taken for granted. So is that the
// process does not go on under a kernel that may have more CPUs, as after a restore from a checkpoint.
#define TD_NO_INDEX TD_MAX_CPUS

_Static_assert((TD_CPU_SLAB_PLACE - TD_SLAB_PLACE) % 1024 == 0, "kept apart from the objects of each bin");
_Static_assert(TD_CPU_SLAB_PLACE + offsetof(struct td_slab, history) <= offsetof(struct td_percpu, free_rseq_cs_offset),
               "as above, but for what refills and overflows alone store");
_Static_assert(offsetof(struct td_percpu, free_rseq_cs_offset) % TD_MIN_OBJECT_BYTES == 8 &&
                   offsetof(struct td_percpu, free_mask) % TD_MIN_OBJECT_BYTES == 8,
               "kept apart from the first words of objects");
_Static_assert(offsetof(struct td_percpu, slabs) == TD_TABLE_PLACE, "the paddings leave no gap");
_Static_assert(sizeof(struct td_rseq_area) == 32, "the sequences find the area that a field is in by rounding down");

// A number for the assembler, from the name that it has.
#define TD_RSEQ_TEXT(number) TD_RSEQ_TEXT_OF(number)
#define TD_RSEQ_TEXT_OF(number) #number

#if defined(__x86_64__)
#include "frontends/percpu/rseq_x86_64.h"
#elif defined(__aarch64__)
#include "frontends/percpu/rseq_aarch64.h"
#else
#error "Tandem runs on x86-64 and aarch64"
#endif

// Each architecture's file defines TD_RSEQ_SIGNATURE, TD_RSEQ_HAS_BROKEN_KERNELS, and:
//
//   void *td_rseq_pop(class_code, has_two_stacks)
//       an object of the stack that allocations pop from; NULL if that is empty or there is no slab
//   bool td_rseq_push(class_code, object)
//       false if the bin is full, there is no slab, or `object` is what was pushed last, or resembles it
//   size_t td_rseq_pop_batch(class_index, objects, count)
//   size_t td_rseq_push_batch(class_index, objects, count)
//   bool td_rseq_replace_bin(slab, class_index, expected, desired)
//       as td_slab_ops has them
//
// All but td_rseq_pop need td_area_init to have run. Before a free it has: the object was allocated.

#pragma GCC visibility pop

#endif  // FRONTENDS_PERCPU_RSEQ_H_
