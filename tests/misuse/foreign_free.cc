// Addresses that malloc never returned.
#include <cstdlib>

#include <sys/mman.h>
#include <unistd.h>

#include "tests/api/opaque.h"
#include "tests/misuse/wrong_program.h"
#include "tests/process/child.h"

namespace {

void free_foreign(void *address) {
    free(opaque(misuse::allocate(100)));  // an allocator in use
    misuse::expect("free of %p, which was not allocated here", address);
    free(opaque(address));
}

void free_number(uint64_t number) {
    free_foreign(reinterpret_cast<void *>(number));
}

alignas(64) char static_bytes[4096];
alignas(64) const char constant_bytes[] = "constant";

void *map(size_t size) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

WRONG_PROGRAM(free_of_stack) {
    alignas(64) char bytes[256];
    free_foreign(bytes);
}

WRONG_PROGRAM(free_of_stack_unaligned) {
    char bytes[256];
    free_foreign(bytes + 3);
}

WRONG_PROGRAM(free_of_static) {
    free_foreign(static_bytes);
}

WRONG_PROGRAM(free_of_static_page) {
    free_foreign(reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(static_bytes) + 4095) & ~uintptr_t{4095}));
}

WRONG_PROGRAM(free_of_constant) {
    free_foreign(const_cast<char *>(constant_bytes));
}

WRONG_PROGRAM(free_of_code) {
    free_foreign(reinterpret_cast<void *>(&free_number));
}

WRONG_PROGRAM(free_of_foreign_map) {
    free_foreign(map(1 << 20));
}

WRONG_PROGRAM(free_of_foreign_map_middle) {
    free_foreign(static_cast<char *>(map(1 << 20)) + 4096);
}

WRONG_PROGRAM(free_of_foreign_huge_page) {
    auto bytes = reinterpret_cast<uintptr_t>(map(8 << 20));
    free_foreign(reinterpret_cast<void *>((bytes + (2 << 20) - 1) & ~uintptr_t{(2 << 20) - 1}));
}

WRONG_PROGRAM(free_of_unmapped) {
    void *bytes = map(1 << 20);
    munmap(bytes, 1 << 20);
    free_foreign(bytes);
}

WRONG_PROGRAM(free_of_program_break) {
    free_foreign(sbrk(4096));
}

WRONG_PROGRAM(free_of_1) {
    free_number(1);
}
WRONG_PROGRAM(free_of_16) {
    free_number(16);
}
WRONG_PROGRAM(free_of_page_one) {
    free_number(0x1000);
}
WRONG_PROGRAM(free_of_wild) {
    free_number(0x123456789ab0);
}
WRONG_PROGRAM(free_of_wild_unaligned) {
    free_number(0x2bad2bad2bad);
}
WRONG_PROGRAM(free_of_last_user_page) {
    free_number(0x7ffffffff000);
}
WRONG_PROGRAM(free_of_bit_47) {
    free_number(0x800000000000);
}
WRONG_PROGRAM(free_of_bit_48) {
    free_number(0x1000000000000);
}
WRONG_PROGRAM(free_of_non_canonical) {
    free_number(0x00dead0000000010);
}
WRONG_PROGRAM(free_of_non_canonical_high) {
    free_number(0xdeadbeefdeadbeef);
}
WRONG_PROGRAM(free_of_kernel_address) {
    free_number(0xffffffff81000000);
}
WRONG_PROGRAM(free_of_minus_one) {
    free_number(~uint64_t{0});
}
WRONG_PROGRAM(free_of_minus_16) {
    free_number(~uint64_t{15});
}

// The first call into the allocator is a wrong one: nothing is initialised yet but what the C++ runtime needed.
WRONG_PROGRAM(free_before_any_malloc) {
    misuse::expect("free of %p, which was not allocated here", static_cast<void *>(static_bytes));
    free(opaque<void *>(static_bytes));
}

WRONG_PROGRAM(delete_of_static) {
    misuse::expect("free of %p, which was not allocated here", static_cast<void *>(static_bytes));
    operator delete(opaque<void *>(static_bytes));
}

}  // namespace
