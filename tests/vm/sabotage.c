#include "tests/vm/sabotage.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

enum sabotage sabotage = SABOTAGE_NONE;

static const char *const names[SABOTAGE_COUNT] = {
    [SABOTAGE_NONE] = "none", [SABOTAGE_DOUBLE] = "double",   [SABOTAGE_FREE_TWICE] = "free-twice",
    [SABOTAGE_LOSE] = "lose", [SABOTAGE_CORRUPT] = "corrupt", [SABOTAGE_HANG] = "hang",
    [SABOTAGE_ABI] = "abi",
};

enum sabotage sabotage_by_name(const char *name) {
    int found = 0;
    while (found < SABOTAGE_COUNT && strcmp(names[found], name) != 0)
        found++;
    return (enum sabotage)found;
}

void sabotage_rseq_ids(void) {
    if (&__rseq_size == NULL || __rseq_size == 0)
        return;
    volatile uint32_t *cpu_id_start = (volatile uint32_t *)((char *)__builtin_thread_pointer() + __rseq_offset);
    // The kernel looks at the area when it has preempted or moved the thread: give it the occasion.
    for (int i = 0; i < 100; i++) {
        *cpu_id_start = UINT32_C(0x7fff);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}
