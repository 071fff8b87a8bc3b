#define _GNU_SOURCE

#include "tests/vm/affinity.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>

#include "tests/vm/verdict.h"

static cpu_set_t allowed;  // immutable after init

unsigned affinity_init(void) {
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        fail("sched_getaffinity: %s", strerror(errno));
    return (unsigned)CPU_COUNT(&allowed);
}

static void choose_cpus(cpu_set_t *chosen, struct random *random) {
    bool one = random_below(random, 2) == 0;
    unsigned the_one = (unsigned)random_below(random, (uint64_t)CPU_COUNT(&allowed));
    unsigned seen = 0;
    CPU_ZERO(chosen);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        if (seen == the_one || (!one && random_below(random, 2) == 0))
            CPU_SET(cpu, chosen);
        seen++;
    }
}

void affinity_shuffle(pid_t tid, struct random *random) {
    cpu_set_t chosen;
    choose_cpus(&chosen, random);
    if (sched_setaffinity(tid, sizeof(chosen), &chosen) != 0 && errno != ESRCH) {
        fail("sched_setaffinity: %s", strerror(errno));
    }
}
