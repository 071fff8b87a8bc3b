#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>

#include "gtest/gtest.h"

extern "C" {
#include "backend/os.h"
}

namespace {

constexpr size_t mib = size_t{1} << 20;

// What the functions below, which stand in for the C library's, make of the system.
bool clock_fails;
const char *hugepage_bytes;  // what the kernel's file says; nullptr: its own

bool reads_as_zeros(const char *memory, size_t bytes) {
    return memory[0] == 0 && memcmp(memory, memory + 1, bytes - 1) == 0;
}

bool is_filled(const char *memory, char mark, size_t bytes) {
    return memory[0] == mark && memcmp(memory, memory + 1, bytes - 1) == 0;
}

TEST(os, maps_zeroed_memory_at_every_alignment) {
    for (size_t alignment = td_os_page_bytes(); alignment <= 64 * mib; alignment *= 2) {
        char *memory = static_cast<char *>(td_os_map(2 * mib, alignment));
        ASSERT_NE(memory, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % alignment, 0u);
        EXPECT_TRUE(reads_as_zeros(memory, 2 * mib));
        memset(memory, 0xa5, 2 * mib);
        td_os_unmap(memory, 2 * mib);
    }
}

TEST(os, refuses_what_no_address_space_has_and_keeps_errno) {
    errno = ENOTTY;
    EXPECT_EQ(td_os_map(SIZE_MAX - 2 * mib + 1, 2 * mib), nullptr);
    EXPECT_EQ(td_os_map(size_t{1} << 60, 2 * mib), nullptr);
    EXPECT_EQ(errno, ENOTTY);
}

TEST(os, purged_pages_read_as_zeros_and_their_neighbours_stay) {
    size_t page = td_os_page_bytes();
    char *memory = static_cast<char *>(td_os_map(4 * page, page));
    memset(memory, 0xa5, 4 * page);
    EXPECT_EQ(td_os_purge(memory + page, 2 * page), 0);
    EXPECT_TRUE(reads_as_zeros(memory + page, 2 * page));
    EXPECT_EQ(memory[page - 1], static_cast<char>(0xa5));
    EXPECT_EQ(memory[3 * page], static_cast<char>(0xa5));
    td_os_unmap(memory, 4 * page);
}

TEST(os, a_purge_of_locked_memory_fails_and_keeps_errno) {
    size_t page = td_os_page_bytes();
    char *memory = static_cast<char *>(td_os_map(page, page));
    memory[0] = 1;
    // The call itself: the sanitizers make mlock(2) do nothing.
    if (syscall(SYS_mlock, memory, page) != 0) {
        GTEST_SKIP() << "may not lock memory";
    }
    errno = ENOTTY;
    EXPECT_LT(td_os_purge(memory, page), 0);
    EXPECT_EQ(errno, ENOTTY);
    EXPECT_EQ(memory[0], 1);
    td_os_unmap(memory, page);
}

TEST(os, tells_whether_a_part_is_locked_and_keeps_errno) {
    size_t page = td_os_page_bytes();
    char *memory = static_cast<char *>(td_os_map(4 * page, page));
    errno = ENOTTY;
    EXPECT_FALSE(td_os_is_locked(memory, 4 * page));
    if (syscall(SYS_mlock, memory + 2 * page, page) != 0) {
        GTEST_SKIP() << "may not lock memory";
    }
    EXPECT_TRUE(td_os_is_locked(memory, 4 * page));
    EXPECT_FALSE(td_os_is_locked(memory, 2 * page));
    EXPECT_EQ(errno, ENOTTY);
    td_os_unmap(memory, 4 * page);
}

TEST(os, tells_whether_a_page_is_in_memory_and_keeps_errno) {
    size_t page = td_os_page_bytes();
    char *memory = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    td_os_advise_hugepages(memory, 2 * mib, false);
    memory[page] = 1;
    errno = ENOTTY;
    EXPECT_FALSE(td_os_is_resident(memory + page - 1));
    EXPECT_TRUE(td_os_is_resident(memory + page));
    EXPECT_TRUE(td_os_is_resident(memory + 2 * page - 1));
    td_os_unmap(memory, 2 * mib);
    EXPECT_TRUE(td_os_is_resident(memory)) << "nothing is there to be told";
    EXPECT_EQ(errno, ENOTTY);
}

TEST(os, a_hugepage_has_the_contents_of_the_pages_before_and_errno_is_kept) {
    char *memory = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    td_os_advise_hugepages(memory, 2 * mib, false);
    memset(memory + mib, 0xa5, 8192);
    errno = ENOTTY;
    int result = td_os_collapse(memory, 2 * mib);
    EXPECT_EQ(errno, ENOTTY);
    EXPECT_TRUE(reads_as_zeros(memory, mib));
    EXPECT_TRUE(is_filled(memory + mib, static_cast<char>(0xa5), 8192));
    EXPECT_TRUE(reads_as_zeros(memory + mib + 8192, mib - 8192));
    unsigned char is_resident[512];
    if (result == 0 && td_os_page_bytes() == 4096) {
        td_os_purge(memory, 4096);  // of the hugepage, the rest stays
        ASSERT_EQ(mincore(memory, 2 * mib, is_resident), 0);
        EXPECT_EQ(std::count(is_resident, is_resident + 512, 1), 511);
    }
    td_os_unmap(memory, 2 * mib);
}

TEST(os, moves_pages_with_their_contents) {
    char *from = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    char *to = static_cast<char *>(td_os_map(4 * mib, 2 * mib));
    memset(from, 0x5a, 2 * mib);
    ASSERT_EQ(td_os_move(from, to, 2 * mib, td_os_find_place(2 * mib)), 0);
    EXPECT_EQ(to[0], 0x5a);
    EXPECT_EQ(to[2 * mib - 1], 0x5a);
    EXPECT_TRUE(reads_as_zeros(to + 2 * mib, 2 * mib));
    EXPECT_TRUE(reads_as_zeros(from, 2 * mib));
    td_os_unmap(from, 2 * mib);
    td_os_unmap(to, 4 * mib);
}

TEST(os, a_move_that_is_refused_leaves_the_target_alone) {
    char *from = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    char *to = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    memset(from, 0x5a, 2 * mib);
    memset(to, 0x77, 2 * mib);
    ASSERT_EQ(mprotect(from + mib, td_os_page_bytes(), PROT_READ), 0);  // three mappings
    errno = ENOTTY;
    EXPECT_LT(td_os_move(from, to, 2 * mib, td_os_find_place(2 * mib)), 0);
    EXPECT_EQ(errno, ENOTTY);
    EXPECT_TRUE(is_filled(from, 0x5a, 2 * mib));
    EXPECT_TRUE(is_filled(to, 0x77, 2 * mib));
    td_os_unmap(from, 2 * mib);
    td_os_unmap(to, 2 * mib);
}

// From now on, the second part of a move fails in this process.
bool forbid_fixed_moves() {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MREMAP_MAYMOVE | MREMAP_FIXED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

void fail_half_way() {
    char *from = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    char *to = static_cast<char *>(td_os_map(4 * mib, 2 * mib));
    memset(from, 0x5a, 2 * mib);
    memset(to, 0x77, 2 * mib);
    td_os_unmap(to + 2 * mib, 2 * mib);
    if (!forbid_fixed_moves()) {
        _exit(0);  // not to be tested here
    }
    bool is_in_doubt = td_os_move(from, to, 2 * mib, td_os_find_place(2 * mib)) == -ENOTRECOVERABLE;
    bool is_untouched = is_filled(to, 0x77, 2 * mib) && is_filled(from, 0x5a, 2 * mib);
    bool is_known = td_os_move(from, to + 2 * mib, 2 * mib, td_os_find_place(2 * mib)) == -ENOMEM;
    bool is_ours = reads_as_zeros(to + 2 * mib, 2 * mib) && is_filled(from, 0x5a, 2 * mib);
    _exit(is_in_doubt && is_untouched && is_known && is_ours ? 0 : 1);
}

TEST(os_death_test, a_move_that_fails_half_way_brings_the_pages_back) {
    EXPECT_EXIT(fail_half_way(), testing::ExitedWithCode(0), "");
}

TEST(os, maps_at_an_address_only_where_nothing_is) {
    char *memory = static_cast<char *>(td_os_map(2 * mib, 2 * mib));
    memory[0] = 1;
    errno = ENOTTY;
    EXPECT_EQ(td_os_map_at(memory, mib), -EEXIST);
    EXPECT_EQ(memory[0], 1);
    td_os_unmap(memory, mib);
    EXPECT_EQ(td_os_map_at(memory, mib), 0);
    EXPECT_EQ(errno, ENOTTY);
    EXPECT_EQ(memory[0], 0);
    td_os_unmap(memory, 2 * mib);
}

TEST(os, the_clock_runs_forwards) {
    uint64_t before = td_os_clock_ms();
    EXPECT_GE(td_os_clock_ms(), before);
}

TEST(os, without_a_clock_time_stands_still_and_errno_is_kept) {
    clock_fails = true;
    errno = ENOTTY;
    EXPECT_EQ(td_os_clock_ms(), 0u);
    EXPECT_EQ(errno, ENOTTY);
    clock_fails = false;
    EXPECT_NE(td_os_clock_ms(), 0u);
}

TEST(os, hugepages_of_another_size_than_a_segments_are_none) {
    bool are_given = td_os_gives_hugepages();
    errno = ENOTTY;
    hugepage_bytes = "536870912\n";
    EXPECT_FALSE(td_os_gives_hugepages());
    EXPECT_EQ(errno, ENOTTY);
    hugepage_bytes = "2097152\n";
    EXPECT_EQ(td_os_gives_hugepages(), are_given);
    hugepage_bytes = nullptr;
}

TEST(os, counts_its_calls) {
    uint64_t before = td_os_call_count();
    void *memory = td_os_map(mib, td_os_page_bytes());
    td_os_purge(memory, mib);
    td_os_unmap(memory, mib);
    EXPECT_EQ(td_os_call_count(), before + 3);
}

}  // namespace

// Instead of the C library's: the clock fails when told to.
extern "C" int clock_gettime(clockid_t clock, struct timespec *now) noexcept {
    if (clock_fails) {
        errno = EPERM;
        return -1;
    }
    return static_cast<int>(syscall(SYS_clock_gettime, clock, now));
}

// Instead of the C library's: opens what the test has for the size of hugepages.
extern "C" long syscall(long number, ...) noexcept {
    va_list list;
    va_start(list, number);
    long arguments[6];
    for (long &each : arguments) {
        each = va_arg(list, long);
    }
    va_end(list);
    static auto next = reinterpret_cast<long (*)(long, ...)>(dlsym(RTLD_NEXT, "syscall"));
    const char *path = reinterpret_cast<const char *>(arguments[1]);
    if (number == SYS_openat && hugepage_bytes != nullptr && strstr(path, "/hpage_pmd_size") != nullptr) {
        int file = memfd_create("hpage_pmd_size", 0);
        EXPECT_GT(write(file, hugepage_bytes, strlen(hugepage_bytes)), 0);
        lseek(file, 0, SEEK_SET);
        return file;
    }
    return next(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
