// Sized frees with a size that the object has not.
#include <cstdlib>
#include <new>

#include <malloc.h>

#include "tests/api/opaque.h"
#include "tests/misuse/wrong_program.h"
#include "tests/process/child.h"

extern "C" void free_sized(void *object, size_t size) __attribute__((weak));
extern "C" void free_aligned_sized(void *object, size_t alignment, size_t size) __attribute__((weak));

namespace {

void expect_wrong_size(void *object, size_t size) {
    misuse::expect("sized free of %p with size %zu, but the object has %zu bytes", object, size,
                   malloc_usable_size(object));
}

void free_with(size_t size, size_t wrong_size) {
    void *object = misuse::allocate(size);
    expect_wrong_size(object, wrong_size);
    free_sized(opaque(object), wrong_size);
}

WRONG_PROGRAM(sized_free_48_as_100) {
    free_with(48, 100);
}
WRONG_PROGRAM(sized_free_100_as_48) {
    free_with(100, 48);
}
WRONG_PROGRAM(sized_free_48_as_49) {
    free_with(48, 49);
}
WRONG_PROGRAM(sized_free_48_as_16) {
    free_with(48, 16);
}
WRONG_PROGRAM(sized_free_48_as_1M) {
    free_with(48, 1 << 20);
}
WRONG_PROGRAM(sized_free_1M_as_48) {
    free_with(1 << 20, 48);
}
WRONG_PROGRAM(sized_free_5M_as_6M) {
    free_with(5 << 20, 6 << 20);
}
WRONG_PROGRAM(sized_free_48_as_huge) {
    free_with(48, SIZE_MAX);
}

WRONG_PROGRAM(sized_delete_48_as_100) {
    void *object = opaque(operator new(48));
    expect_wrong_size(object, 100);
    operator delete (opaque(object), size_t{100});
}

WRONG_PROGRAM(sized_array_delete_3000_as_100) {
    void *object = opaque(operator new[](3000));
    expect_wrong_size(object, 100);
    operator delete[](opaque(object), size_t{100});
}

WRONG_PROGRAM(sized_aligned_delete_48_as_5000) {
    void *object = opaque(operator new (48, std::align_val_t{64}));
    expect_wrong_size(object, 5000);
    operator delete (opaque(object), size_t{5000}, std::align_val_t{64});
}

WRONG_PROGRAM(sized_aligned_free_48_as_5000) {
    void *object = opaque(aligned_alloc(64, 48));
    expect_wrong_size(object, 5000);
    free_aligned_sized(opaque(object), 64, 5000);
}

}  // namespace
