// The sequences for x86-64. See rseq.h for what each of them does.
//
// Labels: 0 the start, 1 the first instruction that is restarted, 2 behind the commit, 3 the abort handler, 4 the
// descriptor, 5 a loop, 6 its end.
#ifndef FRONTENDS_PERCPU_RSEQ_X86_64_H_
#define FRONTENDS_PERCPU_RSEQ_X86_64_H_

// The descriptor; the exit other than the end, for debuggers; and the abort handler, behind the signature that the
// kernel wants to see there (as an operand of ud1, so that it disassembles).
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
    ".byte 0x0f, 0xb9, 0x3d\n\t"                                                                                       \
    ".long 0x53053053\n"                                                                                               \
    "3:\n\t"                                                                                                           \
    "jmp 0f\n\t"                                                                                                       \
    ".popsection\n"

// Announces the sequence and loads this CPU's slab; goes to `miss` if it has none. `slab` and `slab32` are one
// register. `clear` is run at every start, for what a miss must not leave behind from a try before.
#define TD_RSEQ_BEGIN(clear, slab, slab32, miss)                                                                       \
    "0:\n\t" clear "leaq 4b(%%rip), " slab "\n\t"                                                                      \
    "movq " slab ", 8(%[area])\n"                                                                                      \
    "1:\n\t"                                                                                                           \
    "movl (%[area],%[index]), " slab32 "\n\t"                                                                          \
    "cmpl %[max_cpus], " slab32 "\n\t"                                                                                 \
    "jae " miss "\n\t"                                                                                                 \
    "movq 8(%[percpu]," slab ",8), " slab "\n\t"                                                                       \
    "testq " slab ", " slab "\n\t"                                                                                     \
    "jz " miss "\n\t"

#define TD_RSEQ_INPUTS                                                                                                 \
    [area] "r"(area), [index] "r"(td_percpu.index_offset), [percpu] "r"(&td_percpu), [max_cpus] "i"(TD_MAX_CPUS),      \
        [class_index] "r"(class_index)

// `top_offset` is where the stack's top lies in the bin.
#define TD_RSEQ_POP(top_offset)                                                                                        \
    TD_RSEQ_TABLES("2f")                                                                                               \
    TD_RSEQ_BEGIN("xorl %k[object], %k[object]\n\t", "%q[slab]", "%k[slab]", "2f")                                     \
    "movzwl " top_offset "(%[slab],%[class_index],8), %k[top]\n\t"                                                     \
    "movq (%[slab],%[top],8), %[object]\n\t"                                                                           \
    "testq %[object], %[object]\n\t"                                                                                   \
    "jz 2f\n\t"                                                                                                        \
    "decl %k[top]\n\t"                                                                                                 \
    "movw %w[top], " top_offset "(%[slab],%[class_index],8)\n"                                                         \
    "2:\n"

static inline void *td_rseq_pop(struct td_rseq_area *area, size_t class_index) {
    void *object;
    uint64_t slab, top;
    __asm__ volatile(TD_RSEQ_POP("0")
                     : [object] "=&r"(object), [slab] "=&r"(slab), [top] "=&r"(top)
                     : TD_RSEQ_INPUTS
                     : "memory", "cc");
    return object;
}

static inline void *td_rseq_pop_last(struct td_rseq_area *area, size_t class_index) {
    void *object;
    uint64_t slab, top;
    __asm__ volatile(TD_RSEQ_POP("2")
                     : [object] "=&r"(object), [slab] "=&r"(slab), [top] "=&r"(top)
                     : TD_RSEQ_INPUTS
                     : "memory", "cc");
    return object;
}

static inline bool td_rseq_push(struct td_rseq_area *area, size_t class_index, void *object) {
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]")
                     TD_RSEQ_BEGIN("", "%%rax", "%%eax", "%l[miss]") "movzwl 2(%%rax,%[class_index],8), %%ecx\n\t"
                                                                     "cmpw %%cx, 4(%%rax,%[class_index],8)\n\t"
                                                                     "jbe %l[miss]\n\t"
                                                                     "cmpq %[object], (%%rax,%%rcx,8)\n\t"
                                                                     "je %l[miss]\n\t"
                                                                     "movq %[object], 8(%%rax,%%rcx,8)\n\t"
                                                                     "incl %%ecx\n\t"
                                                                     "movw %%cx, 2(%%rax,%[class_index],8)\n"
                                                                     "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [object] "r"(object)
                 : "memory", "cc", "rax", "rcx"
                 : miss);
    return true;
miss:
    return false;
}

static inline size_t td_rseq_pop_batch(struct td_rseq_area *area, size_t class_index, size_t top_offset, void **objects,
                                       size_t count) {
    size_t top_of_bin = class_index * sizeof(struct td_slab_bin) + top_offset;
    uint64_t slab, top, moved, object;
    __asm__ volatile(TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("xorl %k[moved], %k[moved]\n\t", "%q[slab]", "%k[slab]",
                                                        "2f") "movzwl (%[slab],%[top_of_bin]), %k[top]\n"
                                                              "5:\n\t"
                                                              "cmpq %[count], %[moved]\n\t"
                                                              "jae 6f\n\t"
                                                              "movq (%[slab],%[top],8), %[object]\n\t"
                                                              "testq %[object], %[object]\n\t"
                                                              "jz 6f\n\t"
                                                              "movq %[object], (%[objects],%[moved],8)\n\t"
                                                              "decl %k[top]\n\t"
                                                              "incq %[moved]\n\t"
                                                              "jmp 5b\n"
                                                              "6:\n\t"
                                                              "movw %w[top], (%[slab],%[top_of_bin])\n"
                                                              "2:\n"
                     : [slab] "=&r"(slab), [top] "=&r"(top), [moved] "=&r"(moved), [object] "=&r"(object)
                     : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [top_of_bin] "r"(top_of_bin)
                     : "memory", "cc");
    return moved;
}

static inline size_t td_rseq_push_batch(struct td_rseq_area *area, size_t class_index, void *const *objects,
                                        size_t count) {
    uint64_t slab, top, moved, from, object;
    __asm__ volatile(
        TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("xorl %k[moved], %k[moved]\n\t", "%q[slab]", "%k[slab]",
                                           "2f") "movzwl 2(%[slab],%[class_index],8), %k[top]\n\t"
                                                 "movzwl 4(%[slab],%[class_index],8), %k[moved]\n\t"
                                                 "subl %k[top], %k[moved]\n\t"
                                                 "cmpq %[count], %[moved]\n\t"
                                                 "cmovaq %[count], %[moved]\n\t"
                                                 "movq %[count], %[from]\n\t"
                                                 "subq %[moved], %[from]\n"
                                                 "5:\n\t"
                                                 "cmpq %[count], %[from]\n\t"
                                                 "jae 6f\n\t"
                                                 "movq (%[objects],%[from],8), %[object]\n\t"
                                                 "movq %[object], 8(%[slab],%[top],8)\n\t"
                                                 "incl %k[top]\n\t"
                                                 "incq %[from]\n\t"
                                                 "jmp 5b\n"
                                                 "6:\n\t"
                                                 "movw %w[top], 2(%[slab],%[class_index],8)\n"
                                                 "2:\n"
        : [slab] "=&r"(slab), [top] "=&r"(top), [moved] "=&r"(moved), [from] "=&r"(from), [object] "=&r"(object)
        : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count)
        : "memory", "cc");
    return moved;
}

static inline bool td_rseq_replace_bin(struct td_rseq_area *area, const struct td_slab *expected_slab,
                                       size_t class_index, uint64_t expected, uint64_t desired) {
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]")
                     TD_RSEQ_BEGIN("", "%%rax", "%%eax", "%l[miss]") "cmpq %[expected_slab], %%rax\n\t"
                                                                     "jne %l[miss]\n\t"
                                                                     "cmpq %[expected], (%%rax,%[class_index],8)\n\t"
                                                                     "jne %l[miss]\n\t"
                                                                     "movq %[desired], (%%rax,%[class_index],8)\n"
                                                                     "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [expected_slab] "r"(expected_slab), [expected] "r"(expected), [desired] "r"(desired)
                 : "memory", "cc", "rax"
                 : miss);
    return true;
miss:
    return false;
}

#undef TD_RSEQ_POP
#undef TD_RSEQ_TABLES
#undef TD_RSEQ_BEGIN
#undef TD_RSEQ_INPUTS

#endif  // FRONTENDS_PERCPU_RSEQ_X86_64_H_
