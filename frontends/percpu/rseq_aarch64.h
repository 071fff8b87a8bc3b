// The sequences for aarch64. See rseq.h for what each of them does.
//
// Labels: 0 the start, 1 the first instruction that is restarted, 2 behind the commit, 3 the abort handler, 4 the
// descriptor, 5 a loop, 6 its end. The loads of a slab's words depend on the load of its address, so they need no
// ordering beyond that.
#ifndef FRONTENDS_PERCPU_RSEQ_AARCH64_H_
#define FRONTENDS_PERCPU_RSEQ_AARCH64_H_

// What a registration names beside the area: the word in front of each abort handler.
#define TD_RSEQ_SIGNATURE 0xd428bc00
// Some kernels for aarch64 do not restart all sequences: see area.c.
#define TD_RSEQ_HAS_BROKEN_KERNELS true

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
    ".inst " TD_RSEQ_TEXT(TD_RSEQ_SIGNATURE) "\n3:\n\tb 0f\n\t.popsection\n"

// A sequence: announces itself, loads this CPU's slab, and does `work`, which ends in the store that commits. `slab`
// and `slab32` are one register. `clear` is run at every start, for what a try before has left behind.
#define TD_RSEQ_SEQUENCE(exit, clear, slab, slab32, work)                                                              \
    TD_RSEQ_TABLES(exit)                                                                                               \
    "0:\n\t" clear "adrp " slab ", 4b\n\t"                                                                             \
    "add " slab ", " slab ", :lo12:4b\n\t"                                                                             \
    "str " slab ", [%[area], #8]\n"                                                                                    \
    "1:\n\t"                                                                                                           \
    "ldr " slab32 ", [%[index]]\n\t"                                                                                   \
    "ldr " slab ", [%[slabs], " slab ", lsl #3]\n\t" work "2:\n"

#define TD_RSEQ_INPUTS                                                                                                 \
    [index] "r"(index), [area] "r"(index & -sizeof(struct td_rseq_area)), [slabs] "r"(td_percpu.slabs),                \
        [code] "r"(class_code)

// `link` loads what `object` is to be made of; `step` ends in the store that commits.
#define TD_RSEQ_POP(link, step)                                                                                        \
    __asm__ volatile(                                                                                                  \
        TD_RSEQ_SEQUENCE("2f", "", "%[slab]", "%w[slab]",                                                              \
                         "add %[bin], %[slab], %[code], lsl #3\n\t" link "lsr %[object], %[object], #16\n\t"           \
                         "cbz %[object], 2f\n\t" step)                                                                 \
        : [object] "=&r"(object), [slab] "=&r"(slab), [bin] "=&r"(bin), [next] "=&r"(next), [found] "=&r"(found)       \
        : TD_RSEQ_INPUTS                                                                                               \
        : "memory", "cc")

static inline TD_ALWAYS_INLINE void *td_rseq_pop(size_t class_code, bool has_two_stacks) {
    intptr_t offset = td_load_relaxed(&td_percpu.index_offset);
    if (td_unlikely(offset == 0))
        return NULL;
    uintptr_t index = td_rseq_index(offset);
    void *object;
    uint64_t slab, bin, next, found;
    if (has_two_stacks)
        TD_RSEQ_POP("ldr %[object], [%[bin]]\n\t"
                    "and %[next], %[object], #0xffff\n\t",
                    "ldr %[next], [%[bin], %[next], lsl #3]\n\t"
                    "str %[next], [%[bin]]\n");
    else  // a guess first, which the slot confirms: see frontends/slab.h
        TD_RSEQ_POP("ldr %w[next], [%[bin], #8]\n\t"
                    "and %w[found], %w[next], #0xffff\n\t"
                    "ldr %[object], [%[bin]]\n\t"
                    "ldr %[found], [%[bin], %[found], lsl #3]\n\t"
                    "cmp %[object], %[found]\n\t"
                    "b.eq 5f\n\t"
                    "str %[found], [%[bin]]\n\t"
                    "mov %[object], %[found]\n"
                    "5:\n\t",
                    "add %w[next], %w[next], #0x10, lsl #12\n\t"
                    "sub %w[next], %w[next], #1\n\t"
                    "str %w[next], [%[bin], #8]\n");
    if (td_unlikely(object == NULL))
        return NULL;
    if (has_two_stacks)
        __builtin_prefetch(td_link_object(next), 1);
    return object;
}

static inline bool td_rseq_push(size_t class_code, void *object) {
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    __asm__ goto(TD_RSEQ_SEQUENCE("%l[miss]", "", "x9", "w9",
                                  "add x10, x9, %[code], lsl #3\n\t"
                                  "ldr w11, [x10, #8]\n\t"
                                  "cmp w11, #0x10, lsl #12\n\t"
                                  "b.lo %l[miss]\n\t"
                                  "and w12, w11, #0xffff\n\t"
                                  "add x9, x10, x12, lsl #3\n\t"
                                  "add x12, x12, %[link]\n\t"
                                  "ldr x13, [x9]\n\t"
                                  "add x13, x13, #1\n\t"
                                  "cmp x13, x12\n\t"
                                  "b.eq %l[miss]\n\t"
                                  "str x12, [x9, #8]\n\t"
                                  "sub w11, w11, #0x10, lsl #12\n\t"
                                  "add w11, w11, #1\n\t"
                                  "str w11, [x10, #8]\n")
                 :
                 : TD_RSEQ_INPUTS, [link] "r"(td_link_to(object))
                 : "memory", "cc", "x9", "x10", "x11", "x12", "x13"
                 : miss);
    return true;
miss:
    return false;
}

// `word` holds what the bin is to have where `load` found it: `link` makes `object` out of it or by it, `step` makes it
// the one below, and `commit` stores it.
#define TD_RSEQ_POP_BATCH(load, link, step, commit)                                                                    \
    __asm__ volatile(                                                                                                  \
        TD_RSEQ_SEQUENCE("2f", "mov %[moved], #0\n\t", "%[slab]", "%w[slab]",                                          \
                         "add %[bin], %[slab], %[code], lsl #3\n\t" load "5:\n\t"                                      \
                         "cmp %[moved], %[count]\n\t"                                                                  \
                         "b.hs 6f\n\t" link "cbz %[object], 6f\n\t"                                                    \
                         "str %[object], [%[objects], %[moved], lsl #3]\n\t" step "add %[moved], %[moved], #1\n\t"     \
                         "b 5b\n"                                                                                      \
                         "6:\n\t" commit)                                                                              \
        : [slab] "=&r"(slab), [bin] "=&r"(bin), [word] "=&r"(word), [moved] "=&r"(moved), [object] "=&r"(object)       \
        : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [push] "r"(TD_SLAB_PUSH)                         \
        : "memory", "cc")

static inline size_t td_rseq_pop_batch(size_t class_index, void **objects, size_t count) {
    size_t class_code = td_class_code(class_index);
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    uint64_t slab, bin, word, moved, object;
    if (td_class_has_two_stacks(class_index))
        TD_RSEQ_POP_BATCH("ldr %[word], [%[bin]]\n", "lsr %[object], %[word], #16\n\t",
                          "and %[word], %[word], #0xffff\n\t"
                          "ldr %[word], [%[bin], %[word], lsl #3]\n\t",
                          "str %[word], [%[bin]]\n");
    else
        TD_RSEQ_POP_BATCH("ldr %w[word], [%[bin], #8]\n",
                          "and %w[object], %w[word], #0xffff\n\t"
                          "ldr %[object], [%[bin], %[object], lsl #3]\n\t"
                          "lsr %[object], %[object], #16\n\t",
                          "sub %w[word], %w[word], %w[push]\n\t", "str %w[word], [%[bin], #8]\n");
    return moved;
}

static inline size_t td_rseq_push_batch(size_t class_index, void *const *objects, size_t count) {
    size_t class_code = td_class_code(class_index);
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    uint64_t slab, bin, half, top, moved, from, link;
    __asm__ volatile(TD_RSEQ_SEQUENCE("2f", "", "%[slab]", "%w[slab]",
                                      "add %[bin], %[slab], %[code], lsl #3\n\t"
                                      "ldr %w[half], [%[bin], #8]\n\t"
                                      "lsr %w[moved], %w[half], #16\n\t"
                                      "cmp %[moved], %[count]\n\t"
                                      "csel %[moved], %[moved], %[count], ls\n\t"
                                      "sub %[from], %[count], %[moved]\n"
                                      "5:\n\t"
                                      "cmp %[from], %[count]\n\t"
                                      "b.hs 6f\n\t"
                                      "and %[top], %[half], #0xffff\n\t"
                                      "add %w[half], %w[half], %w[step]\n\t"
                                      "ldr %[link], [%[objects], %[from], lsl #3]\n\t"
                                      "orr %[link], %[top], %[link], lsl #16\n\t"
                                      "add %[top], %[top], #1\n\t"
                                      "str %[link], [%[bin], %[top], lsl #3]\n\t"
                                      "add %[from], %[from], #1\n\t"
                                      "b 5b\n"
                                      "6:\n\t"
                                      "str %w[half], [%[bin], #8]\n")
                     : [slab] "=&r"(slab), [bin] "=&r"(bin), [half] "=&r"(half), [top] "=&r"(top), [moved] "=&r"(moved),
                       [from] "=&r"(from), [link] "=&r"(link)
                     : TD_RSEQ_INPUTS, [objects] "r"(objects), [count] "r"(count), [step] "r"(TD_SLAB_PUSH)
                     : "memory", "cc");
    return moved;
}

// A pair of registers may be stored in two steps, with an interrupt between them; exclusively it is stored at once or,
// as after an interrupt, not at all, and then everything begins anew. (Between the exclusive load and store there must
// be no other, or they need never succeed.)
static inline bool td_rseq_replace_bin(const struct td_slab *expected_slab, size_t class_index,
                                       struct td_slab_bin expected, struct td_slab_bin desired) {
    size_t class_code = td_class_code(class_index);
    uintptr_t index = td_rseq_index(td_load_relaxed(&td_percpu.index_offset));
    __asm__ goto(TD_RSEQ_SEQUENCE("%l[miss]", "", "x9", "w9",
                                  "cmp x9, %[expected_slab]\n\t"
                                  "b.ne %l[miss]\n\t"
                                  "add x10, x9, %[code], lsl #3\n\t"
                                  "ldr x16, [%[desired], #8]\n\t"
                                  "ldr x15, [x10, %[slot], lsl #3]\n\t"
                                  "ldp x11, x12, [%[expected]]\n\t"
                                  "ldxp x13, x14, [x10]\n\t"
                                  "cmp x11, x13\n\t"
                                  "ccmp x12, x14, #0, eq\n\t"
                                  "b.ne %l[miss]\n\t"
                                  "stxp w13, x15, x16, [x10]\n") "cbnz w13, 0b\n"
                 :
                 : TD_RSEQ_INPUTS, [expected_slab] "r"(expected_slab), [expected] "r"(&expected),
                   [desired] "r"(&desired), [slot] "r"(td_link_slot(desired.alloc))
                 : "memory", "cc", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16"
                 : miss);
    return true;
miss:
    return false;
}

#undef TD_RSEQ_POP
#undef TD_RSEQ_POP_BATCH
#undef TD_RSEQ_TABLES
#undef TD_RSEQ_SEQUENCE
#undef TD_RSEQ_INPUTS

#endif  // FRONTENDS_PERCPU_RSEQ_AARCH64_H_
