// The sequences for aarch64. See rseq.h for what each of them does.
//
// Labels: 0 the start, 1 the first instruction that is restarted, 2 behind the commit, 3 the abort handler, 4 the
// descriptor, 5 a loop, 6 its end. The loads of a slab's words depend on the load of its address, so they need no
// ordering beyond that.
#ifndef FRONTENDS_PERCPU_RSEQ_AARCH64_H_
#define FRONTENDS_PERCPU_RSEQ_AARCH64_H_

// The address of what names the slab.
static inline TD_ALWAYS_INLINE uintptr_t td_rseq_index(intptr_t index_offset) {
    return (uintptr_t)td_thread_pointer() + (uintptr_t)index_offset;
}

// The descriptor; the exit other than the end, for debuggers; and the abort handler, behind the signature that the
// kernel wants to see there.
#define TD_RSEQ_TABLES(exit)                                                                                           \
    ".pushsection __rseq_cs, \"aw\"\n\t"                                                                               \
    ".balign 32\n"                                                                                                     \
    "4:\n\t"                                                                                                           \
    ".long 0, 0\n\t"                                                                                                   \
    ".quad 1f, 2f - 1f, 3f\n\t"                                                                                        \
    ".popsection\n\t"                                                                                                  \
    ".pushsection __rseq_exit_point_array, \"aw\"\n\t"                                                                 \
    ".balign 8\n\t"                                                                                                    \
    ".quad 1f, " exit "\n\t"                                                                                           \
    ".popsection\n\t"                                                                                                  \
    ".pushsection __rseq_failure, \"ax\"\n\t"                                                                          \
    ".balign 4\n\t"                                                                                                    \
    ".inst 0xd428bc00\n"                                                                                               \
    "3:\n\t"                                                                                                           \
    "b 0f\n\t"                                                                                                         \
    ".popsection\n"

// Announces the sequence and loads this CPU's slab; goes to `miss` if it has none. `slab` and `slab32` are one
// register. `clear` is run at every start, for what a miss must not leave behind from a try before.
#define TD_RSEQ_BEGIN(clear, slab, slab32, miss)                                                                       \
    "0:\n\t" clear "adrp " slab ", 4b\n\t"                                                                             \
    "add " slab ", " slab ", :lo12:4b\n\t"                                                                             \
    "str " slab ", [%[area], #8]\n"                                                                                    \
    "1:\n\t"                                                                                                           \
    "ldr " slab32 ", [%[index]]\n\t"                                                                                   \
    "ldr " slab ", [%[slabs], " slab ", lsl #3]\n\t"                                                                   \
    "cbz " slab ", " miss "\n\t"

#define TD_RSEQ_INPUTS                                                                                                 \
    [index] "r"(index), [area] "r"(index & -sizeof(struct td_rseq_area)), [slabs] "r"(td_percpu.slabs),                \
        [class_offset] "r"(class_index * sizeof(union td_slab_bin))

// `offset` is where the half of the bin lies that `step` changes.
#define TD_RSEQ_POP(offset, step)                                                                                      \
    __asm__ volatile(                                                                                                  \
        TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("mov %[object], #0\n\t", "%[slab]", "%w[slab]",                             \
                                           "2f") "add %[bin], %[slab], %[class_offset]\n\t"                            \
                                                 "ldr %w[half], [%[bin], #" offset "]\n\t"                             \
                                                 "and %w[top], %w[half], #0xffff\n\t"                                  \
                                                 "ldr %[object], [%[slab], %[top], lsl #3]\n\t"                        \
                                                 "cbz %[object], 2f\n\t" step "str %w[half], [%[bin], #" offset "]\n"  \
                                                 "2:\n"                                                                \
        : [object] "=&r"(object), [slab] "=&r"(slab), [bin] "=&r"(bin), [half] "=&r"(half), [top] "=&r"(top)           \
        : TD_RSEQ_INPUTS                                                                                               \
        : "memory", "cc")

static inline TD_ALWAYS_INLINE void *td_rseq_pop(size_t class_index, bool has_two_stacks) {
    intptr_t offset = td_load_relaxed(&td_percpu.index_offset);
    if (td_unlikely(offset == 0))
        return NULL;
    uintptr_t index = td_rseq_index(offset);
    void *object;
    uint64_t slab, bin, half, top;
    if (has_two_stacks)
        TD_RSEQ_POP("0", "add %[top], %[slab], %[top], lsl #3\n\t"
                         "ldur %[top], [%[top], #-8]\n\t"
                         "prfm pstl1keep, [%[top]]\n\t"
                         "sub %w[half], %w[half], #1\n\t");
    else
        TD_RSEQ_POP("4", "add %w[half], %w[half], #0x10, lsl #12\n\t"
                         "sub %w[half], %w[half], #1\n\t");
    return object;
}

static inline bool td_rseq_push(size_t class_index, void *object) {
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]") TD_RSEQ_BEGIN("", "x9", "w9", "%l[miss]") "add x10, x9, %[class_offset]\n\t"
                                                                                      "ldr w11, [x10, #4]\n\t"
                                                                                      "cmp w11, #0x10, lsl #12\n\t"
                                                                                      "b.lo %l[miss]\n\t"
                                                                                      "and w12, w11, #0xffff\n\t"
                                                                                      "add x9, x9, x12, lsl #3\n\t"
                                                                                      "ldr x12, [x9]\n\t"
                                                                                      "cmp x12, %[object]\n\t"
                                                                                      "b.eq %l[miss]\n\t"
                                                                                      "str %[object], [x9, #8]\n\t"
                                                                                      "sub w11, w11, #0x10, lsl #12\n\t"
                                                                                      "add w11, w11, #1\n\t"
                                                                                      "str w11, [x10, #4]\n"
                                                                                      "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [object] "r"(object)
                 : "memory", "cc", "x9", "x10", "x11", "x12"
                 : miss);
    return true;
miss:
    return false;
}

static inline size_t td_rseq_pop_batch(size_t class_index, bool has_two_stacks, void **objects, size_t count) {
    size_t half_of_bin = class_index * sizeof(union td_slab_bin) + td_slab_pop_offset(has_two_stacks);
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    uint64_t slab, bin, half, moved, object;
    __asm__ volatile(
        TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("mov %[moved], #0\n\t", "%[slab]", "%w[slab]",
                                           "2f") "add %[bin], %[slab], %[half_of_bin]\n\t"
                                                 "ldr %w[half], [%[bin]]\n"
                                                 "5:\n\t"
                                                 "cmp %[moved], %[count]\n\t"
                                                 "b.hs 6f\n\t"
                                                 "and %w[object], %w[half], #0xffff\n\t"
                                                 "ldr %[object], [%[slab], %[object], lsl #3]\n\t"
                                                 "cbz %[object], 6f\n\t"
                                                 "str %[object], [%[objects], %[moved], lsl #3]\n\t"
                                                 "sub %w[half], %w[half], %w[step]\n\t"
                                                 "add %[moved], %[moved], #1\n\t"
                                                 "b 5b\n"
                                                 "6:\n\t"
                                                 "str %w[half], [%[bin]]\n"
                                                 "2:\n"
        : [slab] "=&r"(slab), [bin] "=&r"(bin), [half] "=&r"(half), [moved] "=&r"(moved), [object] "=&r"(object)
        : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [half_of_bin] "r"(half_of_bin),
          [step] "r"(td_slab_pop_step(has_two_stacks))
        : "memory", "cc");
    return moved;
}

static inline size_t td_rseq_push_batch(size_t class_index, void *const *objects, size_t count) {
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    uint64_t slab, bin, half, top, moved, from, object;
    __asm__ volatile(TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("mov %[moved], #0\n\t", "%[slab]", "%w[slab]",
                                                        "2f") "add %[bin], %[slab], %[class_offset]\n\t"
                                                              "ldr %w[half], [%[bin], #4]\n\t"
                                                              "lsr %w[moved], %w[half], #16\n\t"
                                                              "cmp %[moved], %[count]\n\t"
                                                              "csel %[moved], %[moved], %[count], ls\n\t"
                                                              "sub %[from], %[count], %[moved]\n\t"
                                                              "add %[slab], %[slab], #8\n"
                                                              "5:\n\t"
                                                              "cmp %[from], %[count]\n\t"
                                                              "b.hs 6f\n\t"
                                                              "and %w[top], %w[half], #0xffff\n\t"
                                                              "ldr %[object], [%[objects], %[from], lsl #3]\n\t"
                                                              "str %[object], [%[slab], %[top], lsl #3]\n\t"
                                                              "add %w[half], %w[half], %w[step]\n\t"
                                                              "add %[from], %[from], #1\n\t"
                                                              "b 5b\n"
                                                              "6:\n\t"
                                                              "str %w[half], [%[bin], #4]\n"
                                                              "2:\n"
                     : [slab] "=&r"(slab), [bin] "=&r"(bin), [half] "=&r"(half), [top] "=&r"(top), [moved] "=&r"(moved),
                       [from] "=&r"(from), [object] "=&r"(object)
                     : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [step] "r"(TD_SLAB_PUSH)
                     : "memory", "cc");
    return moved;
}

static inline bool td_rseq_replace_bin(const struct td_slab *expected_slab, size_t class_index, uint64_t expected,
                                       uint64_t desired) {
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]") TD_RSEQ_BEGIN("", "x9", "w9", "%l[miss]") "cmp x9, %[expected_slab]\n\t"
                                                                                      "b.ne %l[miss]\n\t"
                                                                                      "add x9, x9, %[class_offset]\n\t"
                                                                                      "ldr w10, [x9]\n\t"
                                                                                      "cmp w10, %w[expected]\n\t"
                                                                                      "b.ne %l[miss]\n\t"
                                                                                      "ldr w10, [x9, #4]\n\t"
                                                                                      "cmp w10, %w[expected_free]\n\t"
                                                                                      "b.ne %l[miss]\n\t"
                                                                                      "str %[desired], [x9]\n"
                                                                                      "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [expected_slab] "r"(expected_slab), [expected] "r"(expected),
                   [expected_free] "r"(expected >> 32), [desired] "r"(desired)
                 : "memory", "cc", "x9", "x10"
                 : miss);
    return true;
miss:
    return false;
}

#undef TD_RSEQ_POP
#undef TD_RSEQ_TABLES
#undef TD_RSEQ_BEGIN
#undef TD_RSEQ_INPUTS

#endif  // FRONTENDS_PERCPU_RSEQ_AARCH64_H_
