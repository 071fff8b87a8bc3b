// What rounding a size up to its class may cost.
#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

namespace {

size_t usable_size_for(size_t size) {
    void *object = opaque(malloc(size));
    size_t usable = malloc_usable_size(object);
    free(object);
    return usable;
}

TEST(size_classes, waste_at_most_an_eighth_above_128_bytes) {
    for (size_t size = 129; size <= size_t{1} << 20; size++) {
        size_t usable = usable_size_for(size);
        ASSERT_GE(usable, size);
        ASSERT_LE(usable - size, size / 8) << size << " bytes get " << usable;
    }
}

TEST(size_classes, waste_at_most_an_eighth_of_large_objects) {
    for (size_t size = size_t{1} << 20; size <= size_t{1} << 30; size += size / 100 + 1) {
        size_t usable = usable_size_for(size);
        ASSERT_GE(usable, size);
        ASSERT_LE(usable - size, size / 8) << size << " bytes get " << usable;
    }
}

TEST(size_classes, small_objects_are_rounded_to_few_bytes) {
    for (size_t size = 1; size <= 128; size++) {
        size_t usable = usable_size_for(size);
        ASSERT_GE(usable, size);
        ASSERT_LE(usable, size + 23) << size << " bytes get " << usable;
    }
}

TEST(size_classes, never_shrink_as_sizes_grow) {
    size_t before = 0;
    for (size_t size = 0; size <= 300000; size++) {
        size_t usable = usable_size_for(size);
        ASSERT_GE(usable, before) << size;
        before = usable;
    }
}

TEST(size_classes, are_the_same_for_calloc_and_operator_new) {
    for (size_t size : boundary_sizes(size_t{1} << 20)) {
        size_t usable = usable_size_for(size);
        void *zeroed = opaque(calloc(1, size));
        void *made = opaque(operator new(size));
        if (variant_is_tandem) {  // glibc's calloc may get a few bytes more out of its top chunk
            EXPECT_EQ(malloc_usable_size(zeroed), usable) << size;
            EXPECT_EQ(malloc_usable_size(made), usable) << size;
        }
        free(zeroed);
        operator delete(made);
    }
}

}  // namespace
