// Addresses inside of objects, and around them.
#include <cstdlib>

#include <malloc.h>

#include "tests/api/opaque.h"
#include "tests/misuse/wrong_program.h"
#include "tests/process/child.h"

namespace {

void free_inside(size_t size, size_t offset) {
    auto *object = static_cast<char *>(misuse::allocate(size));
    void *inside = object + offset;
    misuse::expect("free of %p, which points inside a %zu-byte object", inside, malloc_usable_size(object));
    free(opaque(inside));
}

WRONG_PROGRAM(interior_48_by_1) {
    free_inside(48, 1);
}
WRONG_PROGRAM(interior_48_by_8) {
    free_inside(48, 8);
}
WRONG_PROGRAM(interior_1000_by_999) {
    free_inside(1000, 999);
}
WRONG_PROGRAM(interior_48_by_16) {
    free_inside(48, 16);
}
WRONG_PROGRAM(interior_48_by_32) {
    free_inside(48, 32);
}
WRONG_PROGRAM(interior_1000_by_512) {
    free_inside(1000, 512);
}
WRONG_PROGRAM(interior_30000_by_4096) {
    free_inside(30000, 4096);
}
WRONG_PROGRAM(interior_30000_by_16384) {
    free_inside(30000, 16384);
}
WRONG_PROGRAM(interior_100000_by_16) {
    free_inside(100000, 16);
}
WRONG_PROGRAM(interior_100000_by_65536) {
    free_inside(100000, 65536);
}
WRONG_PROGRAM(interior_1M_by_16) {
    free_inside(1000000, 16);
}
WRONG_PROGRAM(interior_1M_by_500001) {
    free_inside(1000000, 500001);
}
WRONG_PROGRAM(interior_5M_by_1) {
    free_inside(5 << 20, 1);
}
WRONG_PROGRAM(interior_5M_by_4096) {
    free_inside(5 << 20, 4096);
}
WRONG_PROGRAM(interior_5M_by_2M) {
    free_inside(5 << 20, 2 << 20);
}
WRONG_PROGRAM(interior_5M_by_4M_and_16) {
    free_inside(5 << 20, (4 << 20) + 16);
}

WRONG_PROGRAM(interior_of_an_aligned_object) {
    auto *object = static_cast<char *>(opaque(memalign(4096, 5000)));
    misuse::expect("free of %p, which points inside a %zu-byte object", static_cast<void *>(object + 64),
                   malloc_usable_size(object));
    free(opaque(object + 64));
}

// Nothing is known of what may lie before or behind an object, but it is not an object that may be freed.
WRONG_PROGRAM(free_behind_a_large_object) {
    auto *object = static_cast<char *>(misuse::allocate(5 << 20));
    void *behind = object + malloc_usable_size(object) + 16;
    misuse::expect("free of %p, which was not allocated here", behind);
    free(opaque(behind));
}

// Nobody else in this process has an object of this size: what lies behind it was never handed out.
WRONG_PROGRAM(free_of_the_next_object) {
    auto *object = static_cast<char *>(misuse::allocate(9000));
    void *next = object + malloc_usable_size(object);
    misuse::expect("double free of %p (%zu-byte object)", next, malloc_usable_size(object));
    misuse::expect("free of %p, which", next);
    free(opaque(next));
}

}  // namespace
