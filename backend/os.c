#define _GNU_SOURCE
#include "backend/os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/lock.h"

#if !defined(MREMAP_DONTUNMAP)
#define MREMAP_DONTUNMAP 4
#endif

#if !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25
#endif

#define HUGEPAGES "/sys/kernel/mm/transparent_hugepage"
#define SETTING_BYTES 64

static uint64_t call_count;  // statistic

static void count_call(void) {
    td_lock_check_none_held("a system call for memory under a lock");
    td_add_relaxed(&call_count, 1);
}

size_t td_os_page_bytes(void) {
    return getauxval(AT_PAGESZ);
}

static void *map(void *hint, size_t bytes, int flags) {
    count_call();
    void *memory = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

// Maps `alignment` more than asked for and cuts off what is before and behind the aligned part.
static void *map_with_slack(size_t bytes, size_t alignment) {
    if (bytes + alignment < bytes)
        return NULL;
    char *memory = map(NULL, bytes + alignment, 0);
    if (memory == NULL)
        return NULL;
    size_t head = -(uintptr_t)memory & (alignment - 1);
    size_t tail = alignment - head;
    if (head != 0)
        td_os_unmap(memory, head);
    td_os_unmap(memory + head + bytes, tail);
    return memory + head;
}

void *td_os_map(size_t bytes, size_t alignment) {
    int saved_errno = errno;
    char *memory = map(NULL, bytes, 0);
    if (memory != NULL && ((uintptr_t)memory & (alignment - 1)) != 0) {
        td_os_unmap(memory, bytes);
        memory = map_with_slack(bytes, alignment);
    }
    errno = saved_errno;
    return memory;
}

int td_os_map_at(void *address, size_t bytes) {
    int saved_errno = errno;
    void *memory = map(address, bytes, MAP_FIXED_NOREPLACE);
    int result = memory == NULL ? -errno : 0;
    errno = saved_errno;
    // Kernels before 4.17 take the flag for a hint.
    if (memory != NULL && memory != address) {
        td_os_unmap(memory, bytes);
        return -EEXIST;
    }
    return result;
}

int td_os_unmap(void *address, size_t bytes) {
    int saved_errno = errno;
    count_call();
    int result = munmap(address, bytes) != 0 ? -errno : 0;
    errno = saved_errno;
    return result;
}

int td_os_purge(void *address, size_t bytes) {
    int saved_errno = errno;
    count_call();
    int result = madvise(address, bytes, MADV_DONTNEED) != 0 ? -errno : 0;
    errno = saved_errno;
    return result;
}

bool td_os_is_locked(void *address, size_t bytes) {
    int saved_errno = errno;
    count_call();
    // For memory without a file this does nothing but look. MADV_COLD would split a hugepage. Not the C library's
    // msync: that is a cancellation point, and realloc may be none.
    bool is_locked = syscall(SYS_msync, address, bytes, MS_ASYNC | MS_INVALIDATE) != 0 && errno == EBUSY;
    errno = saved_errno;
    return is_locked;
}

bool td_os_is_resident(void *address) {
    int saved_errno = errno;
    size_t os_page = td_os_page_bytes();
    unsigned char vector;
    count_call();
    bool is_absent = mincore((void *)((uintptr_t)address & -os_page), os_page, &vector) == 0 && (vector & 1) == 0;
    errno = saved_errno;
    return !is_absent;
}

static void *remap(void *from, size_t bytes, int flags, void *to) {
    count_call();
    return mremap(from, bytes, bytes, MREMAP_MAYMOVE | flags, to);
}

// The pages of `from` are at `place` and did not get to `to`.
static int move_back(void *from, void *place, void *to, size_t bytes, int error) {
    memcpy(from, place, bytes);
    td_os_unmap(place, bytes);
    // The kernel may have unmapped `to` and somebody else mapped something since: it is ours only if nothing is there.
    return td_os_map_at(to, bytes) == 0 ? error : -ENOTRECOVERABLE;
}

int td_os_move(void *from, void *to, size_t bytes, void *aside) {
    int saved_errno = errno;
    int result = 0;
    // MREMAP_FIXED unmaps the target before much of what may fail. So first to where nothing is, which changes nothing
    // if it fails (`from` may be several mappings, say); then all that the second call moves is one mapping.
    void *place = remap(from, bytes, MREMAP_DONTUNMAP, aside);
    if (place == MAP_FAILED)
        result = -errno;
    else if (remap(place, bytes, MREMAP_FIXED, to) == MAP_FAILED)
        result = move_back(from, place, to, bytes, -errno);
    errno = saved_errno;
    return result;
}

void *td_os_find_place(size_t bytes) {
    void *memory = td_os_map(bytes, bytes);
    if (memory != NULL)
        td_os_unmap(memory, bytes);
    return memory;
}

void td_os_advise_hugepages(void *address, size_t bytes, bool wanted) {
    int saved_errno = errno;
    count_call();
    madvise(address, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    errno = saved_errno;
}

int td_os_collapse(void *address, size_t bytes) {
    int saved_errno = errno;
    td_os_advise_hugepages(address, bytes, true);
    count_call();
    int result = madvise(address, bytes, MADV_COLLAPSE) != 0 ? -errno : 0;
    if (result != 0)
        td_os_advise_hugepages(address, bytes, false);
    errno = saved_errno;
    return result;
}

// What a file of the kernel's says, "" if there is no such file. Past the C library, whose open others may have
// replaced.
static void read_setting(const char *path, char text[static SETTING_BYTES]) {
    memset(text, 0, SETTING_BYTES);
    long file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    syscall(SYS_read, file, text, SETTING_BYTES - 1);
    syscall(SYS_close, file);
}

// What is chosen in such a file, "a [b] c", has that name.
static bool is_chosen(const char *path, const char *name) {
    char text[SETTING_BYTES];
    read_setting(path, text);
    return strstr(text, name) != NULL;
}

// Advice on a segment asks for nothing where hugepages are longer, as on aarch64 with OS pages of 64 KiB.
static bool hugepages_have_other_size(void) {
    char text[SETTING_BYTES];
    read_setting(HUGEPAGES "/hpage_pmd_size", text);
    return text[0] != 0 && strcmp(text, "2097152\n") != 0;
}

_Static_assert(TD_SEGMENT_BYTES == 2097152, "a segment is a hugepage, by the name that the kernel has for it here");

bool td_os_gives_hugepages(void) {
    int saved_errno = errno;
    // prctl's 3 means: but where they are asked for. Since Linux 6.8 each size of pages has a file of its own as well.
    bool is_off =
        prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 || hugepages_have_other_size() ||
        (is_chosen(HUGEPAGES "/enabled", "[never]") && !is_chosen(HUGEPAGES "/hugepages-2048kB/enabled", "[always]") &&
         !is_chosen(HUGEPAGES "/hugepages-2048kB/enabled", "[madvise]"));
    errno = saved_errno;
    return !is_off;
}

uint64_t td_os_clock_ms(void) {
    struct timespec now;
    int saved_errno = errno;
    if (td_unlikely(clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)) {
        errno = saved_errno;
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t td_os_call_count(void) {
    return td_load_relaxed(&call_count);
}
