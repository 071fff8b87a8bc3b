// malloc and operator new as the direct way: each is one line of code, 64 bytes, since what a pair of malloc and free
// waits for is that its lines are fetched (docs/performance.md); 68 where the compiler marks the targets of indirect
// branches. All else is left to td_alloc_any: larger sizes, empty stacks, CPUs without a slab, and every call until
// td_direct_open finds that the process has what it takes.
//
// The code is so short because all it needs lies at short distances from one address, its descriptor's:
//
//        0            32         64         72               80            1105  1112
//       +------------+----------+----------+----------------+-------------+-----+-----------+
//       | descriptor | of new   | size_end | rseq_cs_offset | codes[1025] |     | distances |  the first block
//       | of malloc  |          |          |                |             |     |           |
//       +------------+----------+----------+----------------+-------------+-----+-----------+
//       |                                                                       | distances |  one for each index
//       +-----------------------------------------------------------------------+-----------+
//
// A distance, of which each class has one for either way, leads from the descriptor to the class's bin in the CPU's
// slab. If it is 0 the descriptor is the bin, whose first word is 0 as that of an empty one. A size's code leads to the
// distance of its class, in words. From block to block it is 2 KiB, 8 times 256: the index is loaded a byte early, with
// the last byte of `node_id`, which is always 0, as its lowest.
#ifndef FRONTENDS_PERCPU_DIRECT_X86_64_H_
#define FRONTENDS_PERCPU_DIRECT_X86_64_H_

#include "frontends/percpu/rseq.h"

#pragma GCC visibility push(hidden)

// Indexes that have a block.
#define TD_DIRECT_CPUS 512

// Numbers for the assembler, in bytes: where the first block lies in its page, kept apart as TD_TABLE_PLACE is; where
// the parts of a block lie; and how far malloc's and new's descriptors are from each other.
#define TD_DIRECT_PLACE 2432
#define TD_DIRECT_SIZE_END 64
#define TD_DIRECT_RSEQ_CS_OFFSET 72
#define TD_DIRECT_CODES 80
#define TD_DIRECT_DISTANCES 1112
#define TD_DIRECT_WAY 32
// What all codes have beyond class codes, in words: the instruction's own distance, a byte, falls short by as much.
#define TD_DIRECT_ORIGIN 132

// Of two of a kind, one is malloc's and one new's: they are indexed by enum td_on_failure.
struct td_direct_block {
    struct td_rseq_cs descriptor[2];    // immutable once the way is open
    size_t size_end;                    // atomic, any thread; sizes below go the direct way: none while it is closed
    ptrdiff_t rseq_cs_offset;           // atomic, any thread; of the areas' field, from the thread pointer on
    uint8_t codes[TD_TABLE_BYTES + 1];  // td_class_code_table, and TD_DIRECT_ORIGIN; immutable once the way is open
    ptrdiff_t distances[TD_TABLE_CLASSES + 1][2];  // atomic, any thread
    char padding[408];
};

struct td_direct {
    char padding[TD_DIRECT_PLACE];
    struct td_direct_block blocks[TD_DIRECT_CPUS];
} TD_ALIGNED(TD_SMALLEST_PAGE_BYTES);

extern struct td_direct td_direct;

_Static_assert(offsetof(struct td_direct_block, size_end) == TD_DIRECT_SIZE_END, "a number above");
_Static_assert(offsetof(struct td_direct_block, rseq_cs_offset) == TD_DIRECT_RSEQ_CS_OFFSET, "a number above");
_Static_assert(offsetof(struct td_direct_block, distances) == TD_DIRECT_DISTANCES, "a number above");
_Static_assert(offsetof(struct td_direct_block, codes) == TD_DIRECT_CODES, "a number above");
_Static_assert(sizeof(struct td_rseq_cs) == TD_DIRECT_WAY, "a number above");
_Static_assert(sizeof(struct td_direct_block) == 8 << 8, "an index is loaded 8 bits up and scaled by 8");
_Static_assert(offsetof(struct td_rseq_cs, flags) + sizeof(uint32_t) == sizeof(td_link),
               "a descriptor begins as an empty bin");
_Static_assert(sizeof(ptrdiff_t[2]) == 2 * sizeof(td_link), "a class code is the way's first word");
_Static_assert(TD_DIRECT_ORIGIN + 2 * TD_TABLE_CLASSES <= UINT8_MAX, "codes are bytes");
_Static_assert(offsetof(struct td_rseq_area, mm_cid) - offsetof(struct td_rseq_area, rseq_cs) == 16 &&
                   offsetof(struct td_rseq_area, node_id) + sizeof(uint32_t) == offsetof(struct td_rseq_area, mm_cid),
               "the index is loaded from 15 bytes behind rseq_cs");
_Static_assert(TD_RETURN_NULL == 0 && TD_THROW == 1, "names below end so");

// A symbol for the assembler; `number` may be a sum.
#define TD_DIRECT_SET(name, number) ".set .L" #name ", " TD_DIRECT_TEXT(number) "\n\t"
#define TD_DIRECT_TEXT(number) #number

// Where things are from the descriptor on, and the descriptor's own name.
#define TD_DIRECT_NUMBERS(which)                                                                                       \
    TD_DIRECT_SET(way, which)                                                                                          \
    TD_DIRECT_SET(descriptor, TD_DIRECT_PLACE + TD_DIRECT_WAY * which)                                                 \
    TD_DIRECT_SET(size_end, TD_DIRECT_SIZE_END - TD_DIRECT_WAY * which)                                                \
    TD_DIRECT_SET(rseq_cs_offset, TD_DIRECT_RSEQ_CS_OFFSET - TD_DIRECT_WAY * which)                                    \
    TD_DIRECT_SET(distance, TD_DIRECT_DISTANCES - 8 * TD_DIRECT_ORIGIN - (TD_DIRECT_WAY - 8) * which)                  \
    TD_DIRECT_SET(codes, TD_DIRECT_CODES - TD_DIRECT_WAY * which)                                                      \
    ".globl td_direct_descriptor_" #which "\n\t"                                                                       \
    ".hidden td_direct_descriptor_" #which "\n\t"                                                                      \
    ".set td_direct_descriptor_" #which ", 4b\n"

// Labels are those of rseq_x86_64.h, and 5 the other way. Up to there it is 64 bytes.
#define TD_DIRECT_CODE                                                                                                 \
    "0:\n\t"                                                                                                           \
    "leaq td_direct + .Ldescriptor(%rip), %rdx\n\t"                                                                    \
    "cmpq .Lsize_end(%rdx), %rdi\n\t"                                                                                  \
    "jae 5f\n\t"                                                                                                       \
    "movzbl .Lcodes(%rdx,%rdi), %eax\n\t"                                                                              \
    "movq .Lrseq_cs_offset(%rdx), %rcx\n\t"                                                                            \
    "movq %rdx, %fs:(%rcx)\n"                                                                                          \
    "1:\n\t"                                                                                                           \
    "addl %fs:15(%rcx), %eax\n\t"                                                                                      \
    "addq .Ldistance(%rdx,%rax,8), %rdx\n\t"                                                                           \
    "movq (%rdx), %rax\n\t"                                                                                            \
    "movzwl %ax, %ecx\n\t"                                                                                             \
    "shrq $16, %rax\n\t"                                                                                               \
    "jz 5f\n\t"                                                                                                        \
    "movq (%rdx,%rcx,8), %rcx\n\t"                                                                                     \
    "movq %rcx, (%rdx)\n"                                                                                              \
    "2:\n\t"                                                                                                           \
    "shrq $16, %rcx\n\t"                                                                                               \
    "prefetcht0 (%rcx)\n\t"                                                                                            \
    "ret\n"                                                                                                            \
    "5:\n\t"                                                                                                           \
    "movl $.Lway, %esi\n\t"                                                                                            \
    "jmp td_alloc_any"

// Defines malloc or operator new; `way` is 0 or 1.
#define TD_DIRECT_ALLOC(name, way)                                                                                     \
    TD_EXPORT __attribute__((naked, aligned(64))) void *name(size_t size __attribute__((unused))) {                    \
        __asm__(TD_RSEQ_TABLES("5f") TD_DIRECT_NUMBERS(way) TD_DIRECT_CODE);                                           \
    }

// free and operator delete, and that with a size: here too one address leads to what they need, their descriptor's in
// td_percpu. They find the class by TD_PAGE_MAP_LOOKUP, which the file that defines them includes, and leave all else
// to another function: everything but NULL where the way is closed.
#define TD_DIRECT_FREE_PLACE 2432
#define TD_DIRECT_FREE_RSEQ_CS_OFFSET 104
#define TD_DIRECT_FREE_MASK 120
#define TD_DIRECT_FREE_SLABS 144

_Static_assert(offsetof(struct td_percpu, free_descriptor) == TD_DIRECT_FREE_PLACE &&
                   offsetof(struct td_percpu, free_mask) == TD_DIRECT_FREE_PLACE + TD_DIRECT_FREE_MASK &&
                   offsetof(struct td_percpu, free_rseq_cs_offset) ==
                       TD_DIRECT_FREE_PLACE + TD_DIRECT_FREE_RSEQ_CS_OFFSET &&
                   offsetof(struct td_percpu, slabs) == TD_DIRECT_FREE_PLACE + TD_DIRECT_FREE_SLABS &&
                   TD_TABLE_BYTES == 1024,
               "the numbers above and below");

#define TD_DIRECT_FREE_NUMBERS(which)                                                                                  \
    TD_DIRECT_SET(free_descriptor, TD_DIRECT_FREE_PLACE + TD_DIRECT_WAY * which)                                       \
    TD_DIRECT_SET(free_mask, TD_DIRECT_FREE_MASK - TD_DIRECT_WAY * which)                                              \
    TD_DIRECT_SET(free_rseq_cs_offset, TD_DIRECT_FREE_RSEQ_CS_OFFSET - TD_DIRECT_WAY * which)                          \
    TD_DIRECT_SET(free_slabs, TD_DIRECT_FREE_SLABS - TD_DIRECT_WAY * which)                                            \
    ".globl td_direct_free_descriptor_" #which "\n\t"                                                                  \
    ".hidden td_direct_free_descriptor_" #which "\n\t"                                                                 \
    ".set td_direct_free_descriptor_" #which ", 4b\n"

#define TD_DIRECT_FREE_BEGIN                                                                                           \
    "0:\n\t"                                                                                                           \
    "leaq td_percpu + .Lfree_descriptor(%rip), %r9\n\t"
// With a size, in rsi: larger ones are left to others before anything is looked up.
#define TD_DIRECT_FREE_BEGIN_SIZED                                                                                     \
    "0:\n\t"                                                                                                           \
    "cmpq $1024, %rsi\n\t"                                                                                             \
    "ja 5f\n\t"                                                                                                        \
    "leaq td_percpu + .Lfree_descriptor(%rip), %r9\n\t"

// The class code, in r10. With a size it is that size's, which the page map only confirms: see td_push_sized.
#define TD_DIRECT_CLASS "movzbl (%rdx,%rax), %r10d\n\t"
#define TD_DIRECT_CLASS_OF_SIZE(codes)                                                                                 \
    "leaq " #codes "(%rip), %rcx\n\t"                                                                                  \
    "movzbl (%rcx,%rsi), %r10d\n\t"                                                                                    \
    "cmpb %r10b, (%rdx,%rax)\n\t"                                                                                      \
    "jne 5f\n\t"

#define TD_DIRECT_PUSH                                                                                                 \
    "movq .Lfree_rseq_cs_offset(%r9), %rcx\n\t"                                                                        \
    "movq %r9, %fs:(%rcx)\n"                                                                                           \
    "1:\n\t"                                                                                                           \
    "movl %fs:16(%rcx), %edx\n\t"                                                                                      \
    "movq .Lfree_slabs(%r9,%rdx,8), %rdx\n\t"                                                                          \
    "leaq (%rdx,%r10,8), %rdx\n\t"                                                                                     \
    "movl 8(%rdx), %eax\n\t"                                                                                           \
    "movzwl %ax, %ecx\n\t"                                                                                             \
    "subl $0xffff, %eax\n\t"                                                                                           \
    "jb 5f\n\t"                                                                                                        \
    "cmpl %edi, 2(%rdx,%rcx,8)\n\t"                                                                                    \
    "je 5f\n\t"                                                                                                        \
    "addq %rcx, %r8\n\t"                                                                                               \
    "movq %r8, 8(%rdx,%rcx,8)\n\t"                                                                                     \
    "movl %eax, 8(%rdx)\n"                                                                                             \
    "2:\n\t"                                                                                                           \
    "ret\n"                                                                                                            \
    "5:\n\t"

#define TD_DIRECT_FREE_AS(signature, way, begin, class, other)                                                         \
    TD_EXPORT __attribute__((naked, aligned(64))) signature {                                                          \
        __asm__(TD_RSEQ_TABLES("5f") TD_DIRECT_FREE_NUMBERS(way)                                                       \
                    begin TD_PAGE_MAP_LOOKUP(".Lfree_mask(%r9)") class TD_DIRECT_PUSH "jmp " #other);                  \
    }

// Defines free, or a function like it; `other` is td_free_any, or does the same. And one with a size behind the
// pointer, of which `codes` has the class codes, or zeros. Each has a `way` of its own, from 0 to 2; with 0 the code is
// three bytes longer.
#define TD_DIRECT_FREE(name, way, specifier)                                                                           \
    TD_DIRECT_FREE_AS(void name(void *pointer __attribute__((unused))) specifier, way, TD_DIRECT_FREE_BEGIN,           \
                      TD_DIRECT_CLASS, td_free_any)
#define TD_DIRECT_FREE_SIZED(name, way, codes, other)                                                                  \
    TD_DIRECT_FREE_AS(void name(void *pointer __attribute__((unused)), size_t size __attribute__((unused))) noexcept,  \
                      way, TD_DIRECT_FREE_BEGIN_SIZED, TD_DIRECT_CLASS_OF_SIZE(codes), other)

#pragma GCC visibility pop

#endif  // FRONTENDS_PERCPU_DIRECT_X86_64_H_
