#define _GNU_SOURCE

#include "tests/vm/sequence.h"

#include <stddef.h>
#include <stdint.h>

// The kernel's `struct rseq_cs`.
struct descriptor {
    uint32_t version;
    uint32_t flags;
    uint64_t start;
    uint64_t length_bytes;
    uint64_t abort;
} __attribute__((aligned(32)));

_Static_assert(sizeof(struct descriptor) == 32, "as the kernel lays it out");

// The linker's names for the two ends of the section __rseq_cs; NULL in a program that has none.
extern const struct descriptor first_descriptor[] __asm__("__start___rseq_cs") __attribute__((weak));
extern const struct descriptor descriptors_end[] __asm__("__stop___rseq_cs") __attribute__((weak));

#if defined(__x86_64__)
static uint64_t program_counter(const ucontext_t *context) {
    return (uint64_t)context->uc_mcontext.gregs[REG_RIP];
}
#elif defined(__aarch64__)
static uint64_t program_counter(const ucontext_t *context) {
    return context->uc_mcontext.pc;
}
#else
#error "no restartable sequences on this architecture"
#endif

bool sequence_is_known(void) {
    return &first_descriptor[0] != &descriptors_end[0];
}

bool sequence_was_interrupted(const ucontext_t *context) {
    uint64_t where = program_counter(context);
    for (const struct descriptor *sequence = first_descriptor; sequence < descriptors_end; sequence++) {
        if (sequence->abort == where)
            return true;
    }
    return false;
}
