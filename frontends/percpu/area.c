#define _GNU_SOURCE
#include "frontends/percpu/area.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "frontends/percpu/direct.h"

#if !defined(AT_RSEQ_FEATURE_SIZE)
#define AT_RSEQ_FEATURE_SIZE 27
#endif

// Bytes of the area as Linux 4.18 had it; every later kernel takes it.
#define AREA_BYTES 32

#define UNREGISTERED_AREA                                                                                              \
    { .cpu_id_start = TD_NO_INDEX, .cpu_id = TD_NO_INDEX, .mm_cid = TD_NO_INDEX }

// glibc 2.35 and later. Weak: other C libraries, and older ones, do not have them.
extern const ptrdiff_t __rseq_offset __attribute__((weak, visibility("default")));
extern const unsigned int __rseq_size __attribute__((weak, visibility("default")));

static __thread struct td_rseq_area own_area = UNREGISTERED_AREA;  // owner only
static __thread bool is_attached;                                  // owner only

struct td_percpu td_percpu;
struct td_slab td_no_slab;

static uint32_t mode;                                       // atomic, any thread: enum td_area_mode
static const char *reason = "no thread has allocated yet";  // atomic, any thread
static bool has_mm_cid;                                     // atomic, any thread
static bool is_fence_registered;                            // atomic, any thread

// Kernels from 6.19 to 7.0.13 do not restart a sequence that was preempted and went on on the same CPU, where
// TD_RSEQ_HAS_BROKEN_KERNELS says so.
static bool is_kernel_broken(void) {
    struct utsname name;
    if (!TD_RSEQ_HAS_BROKEN_KERNELS || uname(&name) != 0)
        return false;
    char *rest;
    unsigned long major = strtoul(name.release, &rest, 10);
    unsigned long minor = *rest == '.' ? strtoul(rest + 1, &rest, 10) : 0;
    unsigned long patch = *rest == '.' ? strtoul(rest + 1, &rest, 10) : 0;
    return (major == 6 && minor >= 19) || (major == 7 && minor == 0 && patch < 14);
}

// A bound of what the kernel names CPUs with, by the length of its mask of them; SIZE_MAX if it does not tell, and
// TD_MAX_CPUS + 1 if the mask is longer than this one, which has a bit for each slab to find.
static size_t max_cpus(void) {
    unsigned long mask[TD_MAX_CPUS / (8 * sizeof(unsigned long))];
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    return bytes > 0 ? (size_t)bytes * 8 : errno == EINVAL ? TD_MAX_CPUS + 1 : SIZE_MAX;
}

static bool register_own(void) {
    own_area.rseq_cs = 0;  // the kernel asks for it, and a sequence may have announced itself already
    return syscall(SYS_rseq, &own_area, AREA_BYTES, 0, TD_RSEQ_SIGNATURE) == 0;
}

static enum td_area_mode choose_mode(size_t cpus, const char **why) {
    if (is_kernel_broken()) {
        *why = "this kernel does not restart preempted sequences on aarch64";
        return TD_AREA_NONE;
    }
    if (cpus == TD_MAX_CPUS + 1) {
        *why = "the kernel may have more CPUs than Tandem has slabs for";
        return TD_AREA_NONE;
    }
    if (&__rseq_size != NULL && __rseq_size != 0) {
        *why = "glibc registered an rseq area for each thread";
        return TD_AREA_GLIBC;
    }
    if (register_own()) {
        *why = "the C library registered no rseq area, so Tandem did";
        return TD_AREA_OWN;
    }
    *why = errno == ENOSYS  ? "the kernel has no rseq"
           : errno == EPERM ? "the kernel does not permit rseq"
                            : "the kernel refused to register an rseq area";
    return TD_AREA_NONE;
}

// Fills the table for areas that glibc has registered, or for those that may be unregistered too: each page of it that
// is touched is 4 KiB of the process. Two threads that come here at once may find a slab of the other's.
static void fill_table(enum td_area_mode chosen, size_t cpus) {
    struct td_slab *expected = NULL;
    for (size_t i = 0; i < td_min(cpus, TD_MAX_CPUS); i++, expected = NULL)
        td_compare_exchange_relaxed(&td_percpu.slabs[i], &expected, &td_no_slab);
    if (chosen != TD_AREA_GLIBC)
        td_store_relaxed(&td_percpu.slabs[TD_NO_INDEX], &td_no_slab);
}

// Without restartable sequences, each thread's own area says for ever that there is no slab for it.
static void publish_index(enum td_area_mode chosen, size_t cpus) {
    ptrdiff_t area = chosen == TD_AREA_GLIBC ? __rseq_offset : (char *)&own_area - td_thread_pointer();
    size_t field = td_area_has_mm_cid() ? offsetof(struct td_rseq_area, mm_cid) : offsetof(struct td_rseq_area, cpu_id);
    bool is_direct = chosen == TD_AREA_GLIBC && td_area_has_mm_cid();
    fill_table(chosen, cpus);
    td_direct_init_free(is_direct, area);
    // What loads by it depends on it, and finds the table filled.
    td_store_release(&td_percpu.index_offset, area + (ptrdiff_t)field);
    if (is_direct)
        td_direct_open(area, cpus);
}

enum td_area_mode td_area_init(void) {
    enum td_area_mode known = (enum td_area_mode)td_load_acquire(&mode);
    if (td_likely(known != TD_AREA_UNKNOWN))
        return known;
    int saved_errno = errno;
    const char *why;
    size_t cpus = max_cpus();
    enum td_area_mode chosen = choose_mode(cpus, &why);
    size_t least = offsetof(struct td_rseq_area, mm_cid) + sizeof(uint32_t);
    td_store_relaxed(&has_mm_cid, getauxval(AT_RSEQ_FEATURE_SIZE) >= least);
    td_store_relaxed(&reason, why);
    publish_index(chosen, cpus);
    // Pairs with the acquire above. Two threads that come here at once choose alike.
    td_store_release(&mode, (uint32_t)chosen);
    errno = saved_errno;
    return chosen;
}

void td_area_attach(void) {
    int saved_errno = errno;
    enum td_area_mode known = td_area_init();
    // The thread that chose the mode has registered its area then.
    if (known == TD_AREA_OWN && own_area.cpu_id == TD_NO_INDEX)
        register_own();
    is_attached = true;
    errno = saved_errno;
}

bool td_area_is_attached(void) {
    return is_attached;
}

bool td_area_has_mm_cid(void) {
    return td_load_relaxed(&has_mm_cid);
}

const char *td_area_reason(void) {
    return td_load_relaxed(&reason);
}

bool td_area_fence(void) {
    int saved_errno = errno;
    if (!td_load_relaxed(&is_fence_registered)) {
        long result = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0);
        td_store_relaxed(&is_fence_registered, result == 0);
    }
    bool is_done = td_load_relaxed(&is_fence_registered) &&
                   syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0) == 0;
    errno = saved_errno;
    return is_done;
}
