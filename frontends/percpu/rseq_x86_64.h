// The sequences for x86-64. See rseq.h for what each of them does.
//
// Labels: 0 the start, 1 the first instruction that is restarted, 2 behind the commit, 3 the abort handler, 4 the
// descriptor, 5 a loop, 6 its end.
#ifndef FRONTENDS_PERCPU_RSEQ_X86_64_H_
#define FRONTENDS_PERCPU_RSEQ_X86_64_H_

// Where `index_offset` lies and the table behind it, as an address that the compiler knows nothing of: shorter
// instructions then lead to both.
static inline TD_ALWAYS_INLINE const intptr_t *td_rseq_table(void) {
    const intptr_t *table = &td_percpu.index_offset;
    TD_OPAQUE(table);
    return table;
}

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

// Announces the sequence and loads this CPU's slab; goes to `miss`, with the carry flag set, if it has none. `slab` and
// `slab32` are one register. `clear` is run at every start, for what a miss must not leave behind from a try before.
// (The fast paths are as short in bytes as they can be made: what limits them is how many lines of code are fetched.)
#define TD_RSEQ_BEGIN(clear, slab, slab32, miss)                                                                       \
    "0:\n\t" clear "leaq 4b(%%rip), " slab "\n\t"                                                                      \
    "movq " slab ", %%fs:8(%[area])\n"                                                                                 \
    "1:\n\t"                                                                                                           \
    "movl %%fs:(%[index]), " slab32 "\n\t"                                                                             \
    "movq 8(%[table]," slab ",8), " slab "\n\t"                                                                        \
    "cmpq $1, " slab "\n\t"                                                                                            \
    "jb " miss "\n\t"

// The thread pointer is aligned as the area is, and more.
#define TD_RSEQ_INPUTS                                                                                                 \
    [table] "r"(table), [index] "r"(index), [area] "r"(index & -(intptr_t)sizeof(struct td_rseq_area)),                \
        [class_index] "r"(class_index)

// `offset` is where the half of the bin lies that changes by `step`. The carry flag says whether there was no object
// (flag outputs are known since GCC 6 and clang 9 here, but not so long on aarch64): neither step carries.
#define TD_RSEQ_POP(offset, step)                                                                                      \
    __asm__ volatile(                                                                                                  \
        TD_RSEQ_TABLES("2f")                                                                                           \
            TD_RSEQ_BEGIN("", "%q[slab]", "%k[slab]", "2f") "movl " offset "(%[slab],%[class_index],8), %k[half]\n\t"  \
                                                            "movzwl %w[half], %k[top]\n\t"                             \
                                                            "movq (%[slab],%[top],8), %[object]\n\t"                   \
                                                            "cmpq $1, %[object]\n\t"                                   \
                                                            "jb 2f\n\t" step "movl %k[half], " offset                  \
                                                            "(%[slab],%[class_index],8)\n"                             \
                                                            "2:\n"                                                     \
        : [object] "=&a"(object), [slab] "=&r"(slab), [half] "=&r"(half), [top] "=&r"(top), "=@ccc"(is_missed)         \
        : TD_RSEQ_INPUTS                                                                                               \
        : "memory")

static inline TD_ALWAYS_INLINE void *td_rseq_pop(size_t class_index, bool has_two_stacks) {
    const intptr_t *table = td_rseq_table();
    intptr_t index = td_load_relaxed(table);
    if (td_unlikely(index == 0))
        return NULL;
    void *object;
    uint64_t slab, half, top;
    bool is_missed;
    if (has_two_stacks)
        TD_RSEQ_POP("0", "movq -8(%[slab],%[top],8), %[top]\n\t"
                         "prefetcht0 (%[top])\n\t"
                         "subl $1, %k[half]\n\t");
    else
        TD_RSEQ_POP("4", "addl $0xffff, %k[half]\n\t");
    if (td_unlikely(is_missed))
        return NULL;
    if (object == NULL)
        __builtin_unreachable();
    return object;
}

static inline bool td_rseq_push(size_t class_index, void *object) {
    const intptr_t *table = td_rseq_table();
    intptr_t index = td_load_relaxed(table);
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]")
                     TD_RSEQ_BEGIN("", "%%rdx", "%%edx", "%l[miss]") "movl 4(%%rdx,%[class_index],8), %%eax\n\t"
                                                                     "movzwl %%ax, %%ecx\n\t"
                                                                     "subl $0xffff, %%eax\n\t"
                                                                     "jb %l[miss]\n\t"
                                                                     "cmpq %[object], (%%rdx,%%rcx,8)\n\t"
                                                                     "je %l[miss]\n\t"
                                                                     "movq %[object], 8(%%rdx,%%rcx,8)\n\t"
                                                                     "movl %%eax, 4(%%rdx,%[class_index],8)\n"
                                                                     "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [object] "r"(object)
                 : "memory", "cc", "rax", "rcx", "rdx"
                 : miss);
    return true;
miss:
    return false;
}

static inline size_t td_rseq_pop_batch(size_t class_index, bool has_two_stacks, void **objects, size_t count) {
    size_t half_of_bin = class_index * sizeof(union td_slab_bin) + td_slab_pop_offset(has_two_stacks);
    const intptr_t *table = td_rseq_table();
    intptr_t index = td_load_relaxed(table);
    uint64_t slab, half, top, moved, object;
    __asm__ volatile(
        TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("xorl %k[moved], %k[moved]\n\t", "%q[slab]", "%k[slab]",
                                           "2f") "movl (%[slab],%[half_of_bin]), %k[half]\n"
                                                 "5:\n\t"
                                                 "cmpq %[count], %[moved]\n\t"
                                                 "jae 6f\n\t"
                                                 "movzwl %w[half], %k[top]\n\t"
                                                 "movq (%[slab],%[top],8), %[object]\n\t"
                                                 "testq %[object], %[object]\n\t"
                                                 "jz 6f\n\t"
                                                 "movq %[object], (%[objects],%[moved],8)\n\t"
                                                 "subl %[step], %k[half]\n\t"
                                                 "incq %[moved]\n\t"
                                                 "jmp 5b\n"
                                                 "6:\n\t"
                                                 "movl %k[half], (%[slab],%[half_of_bin])\n"
                                                 "2:\n"
        : [slab] "=&r"(slab), [half] "=&r"(half), [top] "=&r"(top), [moved] "=&r"(moved), [object] "=&r"(object)
        : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [half_of_bin] "r"(half_of_bin),
          [step] "ri"(td_slab_pop_step(has_two_stacks))
        : "memory", "cc");
    return moved;
}

static inline size_t td_rseq_push_batch(size_t class_index, void *const *objects, size_t count) {
    const intptr_t *table = td_rseq_table();
    intptr_t index = td_load_relaxed(table);
    uint64_t slab, half, top, moved, from, object;
    __asm__ volatile(TD_RSEQ_TABLES("2f") TD_RSEQ_BEGIN("xorl %k[moved], %k[moved]\n\t", "%q[slab]", "%k[slab]",
                                                        "2f") "movl 4(%[slab],%[class_index],8), %k[half]\n\t"
                                                              "movl %k[half], %k[moved]\n\t"
                                                              "shrl $16, %k[moved]\n\t"
                                                              "cmpq %[count], %[moved]\n\t"
                                                              "cmovaq %[count], %[moved]\n\t"
                                                              "movq %[count], %[from]\n\t"
                                                              "subq %[moved], %[from]\n"
                                                              "5:\n\t"
                                                              "cmpq %[count], %[from]\n\t"
                                                              "jae 6f\n\t"
                                                              "movzwl %w[half], %k[top]\n\t"
                                                              "movq (%[objects],%[from],8), %[object]\n\t"
                                                              "movq %[object], 8(%[slab],%[top],8)\n\t"
                                                              "subl $0xffff, %k[half]\n\t"
                                                              "incq %[from]\n\t"
                                                              "jmp 5b\n"
                                                              "6:\n\t"
                                                              "movl %k[half], 4(%[slab],%[class_index],8)\n"
                                                              "2:\n"
                     : [slab] "=&r"(slab), [half] "=&r"(half), [top] "=&r"(top), [moved] "=&r"(moved),
                       [from] "=&r"(from), [object] "=&r"(object)
                     : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count)
                     : "memory", "cc");
    return moved;
}

static inline bool td_rseq_replace_bin(const struct td_slab *expected_slab, size_t class_index, uint64_t expected,
                                       uint64_t desired) {
    const intptr_t *table = td_rseq_table();
    intptr_t index = td_load_relaxed(table);
    __asm__ goto(TD_RSEQ_TABLES("%l[miss]") TD_RSEQ_BEGIN(
                     "", "%%rax", "%%eax", "%l[miss]") "cmpq %[expected_slab], %%rax\n\t"
                                                       "jne %l[miss]\n\t"
                                                       "cmpl %k[expected], (%%rax,%[class_index],8)\n\t"
                                                       "jne %l[miss]\n\t"
                                                       "cmpl %k[expected_free], 4(%%rax,%[class_index],8)\n\t"
                                                       "jne %l[miss]\n\t"
                                                       "movq %[desired], (%%rax,%[class_index],8)\n"
                                                       "2:\n"
                 :
                 : TD_RSEQ_INPUTS, [expected_slab] "r"(expected_slab), [expected] "r"(expected),
                   [expected_free] "r"(expected >> 32), [desired] "r"(desired)
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
