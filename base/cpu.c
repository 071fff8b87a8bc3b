#define _GNU_SOURCE
#include "base/cpu.h"

#include <errno.h>
#include <sched.h>

size_t td_current_cpu(void) {
    int saved_errno = errno;
    int cpu = sched_getcpu();
    errno = saved_errno;
    return cpu < 0 ? 0 : (size_t)cpu;
}
