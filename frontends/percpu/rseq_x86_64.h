// The sequences for x86-64. See rseq.h for what each of them does.
//
// Labels: 0 the start, 1 the first instruction that is restarted, 2 behind the commit, 3 the abort handler, 4 the
// descriptor, 5 a loop, 6 its end.
#ifndef FRONTENDS_PERCPU_RSEQ_X86_64_H_
#define FRONTENDS_PERCPU_RSEQ_X86_64_H_

// What a registration names beside the area: the word in front of each abort handler.
#define TD_RSEQ_SIGNATURE 0x53053053
#define TD_RSEQ_HAS_BROKEN_KERNELS false

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
    ".long " TD_RSEQ_TEXT(TD_RSEQ_SIGNATURE) "\n3:\n\tjmp 0f\n\t.popsection\n"

// A sequence: announces itself, loads this CPU's slab, and does `work`, which ends in the store that commits. `index`,
// `area` and `slab` are registers, `slab32` is the latter's half. `before` is run at every start, when the index's
// offset is in `index`. The thread pointer is aligned as the area is, and more. (The fast paths are as short in bytes
// as they can be made: each line of code that is fetched takes a cycle.)
#define TD_RSEQ_SEQUENCE(exit, before, index, area, slab, slab32, work)                                                \
    TD_RSEQ_TABLES(exit)                                                                                               \
    "0:\n\t"                                                                                                           \
    "movq (%[table]), " index "\n\t" before "movq " index ", " area "\n\t"                                             \
    "andq $-32, " area "\n\t"                                                                                          \
    "leaq 4b(%%rip), " slab "\n\t"                                                                                     \
    "movq " slab ", %%fs:8(" area ")\n"                                                                                \
    "1:\n\t"                                                                                                           \
    "movl %%fs:(" index "), " slab32 "\n\t"                                                                            \
    "movq 8(%[table]," slab ",8), " slab "\n\t" work "2:\n"

// The zero flag says whether there was no object (flag outputs are known since GCC 6 and clang 9 here, but not so long
// on aarch64). `step` ends in the store that commits, and does not leave zero.
#define TD_RSEQ_POP(link, step)                                                                                        \
    __asm__ volatile(TD_RSEQ_SEQUENCE("2f",                                                                            \
                                      "testq %[next], %[next]\n\t"                                                     \
                                      "jz 2f\n\t",                                                                     \
                                      "%[next]", "%[object]", "%[bin]", "%k[bin]",                                     \
                                      "leaq (%[bin],%[code],8), %[bin]\n\t" link "shrq $16, %[object]\n\t"             \
                                      "jz 2f\n\t" step)                                                                \
                     : [object] "=&a"(object), [bin] "=&r"(bin), [next] "=&r"(next), [found] "=&r"(found),             \
                       "=@ccz"(is_missed)                                                                              \
                     : [table] "r"(td_rseq_table()), [code] "r"(class_code)                                            \
                     : "memory")

static inline TD_ALWAYS_INLINE void *td_rseq_pop(size_t class_code, bool has_two_stacks) {
    void *object;
    uint64_t bin, next, found;
    bool is_missed;
    if (has_two_stacks)
        TD_RSEQ_POP("movq (%[bin]), %[object]\n\t"
                    "movzwl %w[object], %k[next]\n\t",
                    "movq (%[bin],%[next],8), %[next]\n\t"
                    "movq %[next], (%[bin])\n");
    else  // a guess first, which the slot confirms: see frontends/slab.h
        TD_RSEQ_POP("movl 8(%[bin]), %k[next]\n\t"
                    "movzwl %w[next], %k[found]\n\t"
                    "movq (%[bin]), %[object]\n\t"
                    "movq (%[bin],%[found],8), %[found]\n\t"
                    "cmpq %[object], %[found]\n\t"
                    "je 5f\n\t"
                    "movq %[found], (%[bin])\n\t"
                    "movq %[found], %[object]\n"
                    "5:\n\t",
                    "addl $0xffff, %k[next]\n\t"
                    "movl %k[next], 8(%[bin])\n");
    if (td_unlikely(is_missed))
        return NULL;
    if (has_two_stacks)
        __builtin_prefetch(td_link_object(next), 1);
    if (object == NULL)
        __builtin_unreachable();
    return object;
}

static inline bool td_rseq_push(size_t class_code, void *object) {
    __asm__ goto(
        TD_RSEQ_SEQUENCE("%l[miss]", "", "%%rcx", "%%r11", "%%rdx", "%%edx",
                         "leaq (%%rdx,%[code],8), %%rdx\n\t"
                         "movl 8(%%rdx), %%eax\n\t"
                         "movzwl %%ax, %%ecx\n\t"
                         "subl $0xffff, %%eax\n\t"
                         "jb %l[miss]\n\t"
                         "cmpl %k[object], 2(%%rdx,%%rcx,8)\n\t"
                         "je %l[miss]\n\t"
                         "leaq (%[link],%%rcx), %%r11\n\t"
                         "movq %%r11, 8(%%rdx,%%rcx,8)\n\t"
                         "movl %%eax, 8(%%rdx)\n")
        :
        : [table] "r"(td_rseq_table()), [code] "S"(class_code), [link] "r"(td_link_to(object)), [object] "r"(object)
        : "memory", "cc", "rax", "rcx", "rdx", "r11"
        : miss);
    return true;
miss:
    return false;
}

// `word` holds what the bin is to have where `load` found it: `link` takes what `object` is made of out of it or by it,
// `step` makes it the one below, and `commit` stores it.
#define TD_RSEQ_POP_BATCH(load, link, step, commit)                                                                    \
    __asm__ volatile(                                                                                                  \
        TD_RSEQ_SEQUENCE("2f", "xorl %k[moved], %k[moved]\n\t", "%[word]", "%[object]", "%[bin]", "%k[bin]",           \
                         "leaq (%[bin],%[code],8), %[bin]\n\t" load "5:\n\t"                                           \
                         "cmpq %[count], %[moved]\n\t"                                                                 \
                         "jae 6f\n\t" link "shrq $16, %[object]\n\t"                                                   \
                         "jz 6f\n\t"                                                                                   \
                         "movq %[object], (%[objects],%[moved],8)\n\t" step "incq %[moved]\n\t"                        \
                         "jmp 5b\n"                                                                                    \
                         "6:\n\t" commit)                                                                              \
        : [bin] "=&r"(bin), [word] "=&r"(word), [moved] "=&r"(moved), [object] "=&r"(object)                           \
        : [table] "r"(td_rseq_table()), [code] "r"(class_code), [objects] "r"(objects), [count] "r"(count)             \
        : "memory", "cc")

static inline size_t td_rseq_pop_batch(size_t class_index, void **objects, size_t count) {
    size_t class_code = td_class_code(class_index);
    uint64_t bin, word, moved, object;
    if (td_class_has_two_stacks(class_index))
        TD_RSEQ_POP_BATCH("movq (%[bin]), %[word]\n", "movq %[word], %[object]\n\t",
                          "movzwl %w[word], %k[word]\n\t"
                          "movq (%[bin],%[word],8), %[word]\n\t",
                          "movq %[word], (%[bin])\n");
    else
        TD_RSEQ_POP_BATCH("movl 8(%[bin]), %k[word]\n",
                          "movzwl %w[word], %k[object]\n\t"
                          "movq (%[bin],%[object],8), %[object]\n\t",
                          "addl $0xffff, %k[word]\n\t", "movl %k[word], 8(%[bin])\n");
    return moved;
}

static inline size_t td_rseq_push_batch(size_t class_index, void *const *objects, size_t count) {
    size_t class_code = td_class_code(class_index);
    uint64_t bin, half, top, moved, from, link;
    __asm__ volatile(TD_RSEQ_SEQUENCE("2f", "", "%q[half]", "%[top]", "%[bin]", "%k[bin]",
                                      "leaq (%[bin],%[code],8), %[bin]\n\t"
                                      "movl 8(%[bin]), %k[half]\n\t"
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
                                      "movq (%[objects],%[from],8), %[link]\n\t"
                                      "shlq $16, %[link]\n\t"
                                      "addq %[top], %[link]\n\t"
                                      "movq %[link], 8(%[bin],%[top],8)\n\t"
                                      "subl $0xffff, %k[half]\n\t"
                                      "incq %[from]\n\t"
                                      "jmp 5b\n"
                                      "6:\n\t"
                                      "movl %k[half], 8(%[bin])\n")
                     : [bin] "=&r"(bin), [half] "=&r"(half), [top] "=&r"(top), [moved] "=&r"(moved), [from] "=&r"(from),
                       [link] "=&r"(link)
                     : [table] "r"(td_rseq_table()), [code] "r"(class_code), [objects] "r"(objects), [count] "r"(count)
                     : "memory", "cc");
    return moved;
}

static inline bool td_rseq_replace_bin(const struct td_slab *expected_slab, size_t class_index,
                                       struct td_slab_bin expected, struct td_slab_bin desired) {
    size_t class_code = td_class_code(class_index);
    __asm__ goto(TD_RSEQ_SEQUENCE("%l[miss]", "", "%%rcx", "%%rdx", "%%rax", "%%eax",
                                  "cmpq %[expected_slab], %%rax\n\t"
                                  "jne %l[miss]\n\t"
                                  "leaq (%%rax,%[code],8), %%rcx\n\t"
                                  "movq (%[expected]), %%rdx\n\t"
                                  "cmpq %%rdx, (%%rcx)\n\t"
                                  "jne %l[miss]\n\t"
                                  "movl 8(%[expected]), %%edx\n\t"
                                  "cmpl %%edx, 8(%%rcx)\n\t"
                                  "jne %l[miss]\n\t"
                                  "movl 12(%[expected]), %%edx\n\t"
                                  "cmpl %%edx, 12(%%rcx)\n\t"
                                  "jne %l[miss]\n\t"
                                  "movq (%%rcx,%[slot],8), %%xmm0\n\t"
                                  "movhps 8(%[desired]), %%xmm0\n\t"
                                  "movaps %%xmm0, (%%rcx)\n")
                 :
                 : [table] "r"(td_rseq_table()), [code] "r"(class_code), [expected_slab] "r"(expected_slab),
                   [expected] "r"(&expected), [desired] "r"(&desired), [slot] "r"(td_link_slot(desired.alloc))
                 : "memory", "cc", "rax", "rcx", "rdx", "xmm0"
                 : miss);
    return true;
miss:
    return false;
}

#undef TD_RSEQ_POP
#undef TD_RSEQ_POP_BATCH
#undef TD_RSEQ_SEQUENCE

#endif  // FRONTENDS_PERCPU_RSEQ_X86_64_H_
