// The sequences for aarch64. See rseq.h for what each of them does.
//
// Labels: 0 the start, 1 the first instruction that is restarted, 2 behind the commit, 3 the abort handler, 4 the
// descriptor, 5 a loop, 6 its end. The loads of a slab's words depend on the load of its address, so they need no
// ordering beyond that.
#ifndef FRONTENDS_PERCPU_RSEQ_AARCH64_H_
#define FRONTENDS_PERCPU_RSEQ_AARCH64_H_

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
    "ldr " slab32 ", [%[area], %[index]]\n\t"                                                                          \
    "cmp " slab32 ", %[max_cpus]\n\t"                                                                                  \
    "b.hs " miss "\n\t"                                                                                                \
    "ldr " slab ", [%[slabs], " slab ", lsl #3]\n\t"                                                                   \
    "cbz " slab ", " miss "\n\t"

#define TD_RSEQ_INPUTS                                                                                                 \
    [area] "r"(area), [index] "r"(td_percpu.index_offset), [slabs] "r"(td_percpu.slabs), [max_cpus] "I"(TD_MAX_CPUS),  \
        [class_offset] "r"(class_index * sizeof(struct td_slab_bin))

// `top_offset` is where the stack's top lies in the bin.
#define TD_RSEQ_POP(top_offset)                                                                                        \
    TD_RSEQ_TABLES("2f")                                                                                               \
    TD_RSEQ_BEGIN("mov %[object], #0\n\t", "%[slab]", "%w[slab]", "2f")                                                \
    "add %[bin], %[slab], %[class_offset]\n\t"                                                                         \
    "ldrh %w[top], [%[bin], #" top_offset "]\n\t"                                                                      \
    "ldr %[object], [%[slab], %[top], lsl #3]\n\t"                                                                     \
    "cbz %[object], 2f\n\t"                                                                                            \
    "sub %w[top], %w[top], #1\n\t"                                                                                     \
    "strh %w[top], [%[bin], #" top_offset "]\n"                                                                        \
    "2:\n"

static inline void *td_rseq_pop(struct td_rseq_area *area, size_t class_index) {
    void *object;
    uint64_t slab, bin, top;
    __asm__ volatile(TD_RSEQ_POP("0")
                     : [object] "=&r"(object), [slab] "=&r"(slab), [bin] "=&r"(bin), [top] "=&r"(top)
                     : TD_RSEQ_INPUTS
                     : "memory", "cc");
    return object;
}

static inline void *td_rseq_pop_last(struct td_rseq_area *area, size_t class_index) {
    void *object;
    uint64_t slab, bin, top;
    __asm__ volatile(TD_RSEQ_POP("2")
                     : [object] "=&r"(object), [slab] "=&r"(slab), [bin] "=&r"(bin), [top] "=&r"(top)
                     : TD_RSEQ_INPUTS
                     : "memory", "cc");
    return object;
}

static inline bool td_rseq_push(struct td_rseq_area *area, size_t class_index, void *object) {
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]") TD_RSEQ_BEGIN("", "x9", "w9", "%l[miss]") "add x10, x9, %[class_offset]\n\t"
                                                                                      "ldrh w11, [x10, #2]\n\t"
                                                                                      "ldrh w12, [x10, #4]\n\t"
                                                                                      "cmp w11, w12\n\t"
                                                                                      "b.hs %l[miss]\n\t"
                                                                                      "add x9, x9, x11, lsl #3\n\t"
                                                                                      "ldr x12, [x9]\n\t"
                                                                                      "cmp x12, %[object]\n\t"
                                                                                      "b.eq %l[miss]\n\t"
                                                                                      "str %[object], [x9, #8]\n\t"
                                                                                      "add w11, w11, #1\n\t"
                                                                                      "strh w11, [x10, #2]\n"
                                                                                      "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [object] "r"(object)
                 : "memory", "cc", "x9", "x10", "x11", "x12"
                 : miss);
    return true;
miss:
    return false;
}

static inline size_t td_rseq_pop_batch(struct td_rseq_area *area, size_t class_index, size_t top_offset, void **objects,
                                       size_t count) {
    size_t top_of_bin = class_index * sizeof(struct td_slab_bin) + top_offset;
    uint64_t slab, bin, top, moved, object;
    __asm__ volatile(
        TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("mov %[moved], #0\n\t", "%[slab]", "%w[slab]",
                                           "2f") "add %[bin], %[slab], %[top_of_bin]\n\t"
                                                 "ldrh %w[top], [%[bin]]\n"
                                                 "5:\n\t"
                                                 "cmp %[moved], %[count]\n\t"
                                                 "b.hs 6f\n\t"
                                                 "ldr %[object], [%[slab], %[top], lsl #3]\n\t"
                                                 "cbz %[object], 6f\n\t"
                                                 "str %[object], [%[objects], %[moved], lsl #3]\n\t"
                                                 "sub %[top], %[top], #1\n\t"
                                                 "add %[moved], %[moved], #1\n\t"
                                                 "b 5b\n"
                                                 "6:\n\t"
                                                 "strh %w[top], [%[bin]]\n"
                                                 "2:\n"
        : [slab] "=&r"(slab), [bin] "=&r"(bin), [top] "=&r"(top), [moved] "=&r"(moved), [object] "=&r"(object)
        : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [top_of_bin] "r"(top_of_bin)
        : "memory", "cc");
    return moved;
}

static inline size_t td_rseq_push_batch(struct td_rseq_area *area, size_t class_index, void *const *objects,
                                        size_t count) {
    uint64_t slab, bin, top, moved, from, object;
    __asm__ volatile(TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("mov %[moved], #0\n\t", "%[slab]", "%w[slab]",
                                                        "2f") "add %[bin], %[slab], %[class_offset]\n\t"
                                                              "ldrh %w[top], [%[bin], #2]\n\t"
                                                              "ldrh %w[moved], [%[bin], #4]\n\t"
                                                              "sub %[moved], %[moved], %[top]\n\t"
                                                              "cmp %[moved], %[count]\n\t"
                                                              "csel %[moved], %[moved], %[count], ls\n\t"
                                                              "sub %[from], %[count], %[moved]\n\t"
                                                              "add %[slab], %[slab], #8\n"
                                                              "5:\n\t"
                                                              "cmp %[from], %[count]\n\t"
                                                              "b.hs 6f\n\t"
                                                              "ldr %[object], [%[objects], %[from], lsl #3]\n\t"
                                                              "str %[object], [%[slab], %[top], lsl #3]\n\t"
                                                              "add %[top], %[top], #1\n\t"
                                                              "add %[from], %[from], #1\n\t"
                                                              "b 5b\n"
                                                              "6:\n\t"
                                                              "strh %w[top], [%[bin], #2]\n"
                                                              "2:\n"
                     : [slab] "=&r"(slab), [bin] "=&r"(bin), [top] "=&r"(top), [moved] "=&r"(moved), [from] "=&r"(from),
                       [object] "=&r"(object)
                     : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count)
                     : "memory", "cc");
    return moved;
}

static inline bool td_rseq_replace_bin(struct td_rseq_area *area, const struct td_slab *expected_slab,
                                       size_t class_index, uint64_t expected, uint64_t desired) {
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]")
                     TD_RSEQ_BEGIN("", "x9", "w9", "%l[miss]") "cmp x9, %[expected_slab]\n\t"
                                                               "b.ne %l[miss]\n\t"
                                                               "ldr x10, [x9, %[class_offset]]\n\t"
                                                               "cmp x10, %[expected]\n\t"
                                                               "b.ne %l[miss]\n\t"
                                                               "str %[desired], [x9, %[class_offset]]\n"
                                                               "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [expected_slab] "r"(expected_slab), [expected] "r"(expected), [desired] "r"(desired)
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
