// C23's free_sized and free_aligned_sized, and Tandem's tandem_alloc_at_least.
#include <cerrno>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

// Not in glibc 2.36.
extern "C" void free_sized(void *object, size_t size) __attribute__((weak));
extern "C" void free_aligned_sized(void *object, size_t alignment, size_t size) __attribute__((weak));

namespace {

size_t bytes_in_use() {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

class sized_free : public testing::Test {
    void SetUp() override {
        if (!variant_is_tandem) {
            GTEST_SKIP() << "not in glibc 2.36";
        }
        ASSERT_NE(free_sized, nullptr);
        ASSERT_NE(free_aligned_sized, nullptr);
    }
};

TEST_F(sized_free, takes_what_malloc_calloc_and_realloc_returned) {
    std::vector<size_t> sizes = boundary_sizes(size_t{5} << 20);
    size_t before = bytes_in_use();
    errno = 4711;
    for (size_t size : sizes) {
        for (int i = 0; i < 30; i++) {
            free_sized(opaque(malloc(size)), size);
            free_sized(opaque(calloc(1, size)), size);
            free_sized(opaque(calloc(size, 1)), size);
            free_sized(opaque(realloc(opaque(malloc(7)), size + 1)), size + 1);
        }
    }
    EXPECT_EQ(errno, 4711);
    EXPECT_LE(bytes_in_use(), before + (size_t{1} << 20));
    errno = 0;
}

TEST_F(sized_free, of_null_does_nothing) {
    free_sized(nullptr, 0);
    free_sized(nullptr, 100);
    free_aligned_sized(nullptr, 64, 100);
}

TEST_F(sized_free, takes_what_aligned_alloc_returned) {
    size_t before = bytes_in_use();
    for (size_t alignment = 1; alignment <= size_t{4} << 20; alignment *= 2) {
        for (size_t size : {size_t{0}, size_t{1}, size_t{48}, size_t{1000}, alignment, alignment * 3, size_t{100000}}) {
            for (int i = 0; i < 10; i++) {
                void *object = opaque(aligned_alloc(alignment, size));
                ASSERT_NE(object, nullptr);
                free_aligned_sized(object, alignment, size);
            }
        }
    }
    EXPECT_LE(bytes_in_use(), before + (size_t{1} << 20));
}

TEST_F(sized_free, gives_objects_to_their_own_size) {
    // Objects freed with a size serve again, and are as large as they have to be.
    for (size_t size : boundary_sizes(50000)) {
        std::vector<void *> objects;
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 50; i++) {
                objects.push_back(opaque(malloc(size)));
                ASSERT_GE(malloc_usable_size(objects.back()), size);
                fill_pattern(objects.back(), size, static_cast<uint64_t>(i));
            }
            for (size_t i = 0; i < objects.size(); i++) {
                ASSERT_TRUE(has_pattern(objects[i], size, i));
                free_sized(objects[i], size);
            }
            objects.clear();
        }
    }
}

class alloc_at_least : public testing::Test {
    void SetUp() override {
        if (!variant_is_tandem) {
            GTEST_SKIP() << "Tandem's own";
        }
    }
};

TEST_F(alloc_at_least, tells_the_usable_size) {
    for (size_t size : boundary_sizes(size_t{5} << 20)) {
        struct tandem_sized_pointer sized = tandem_alloc_at_least(size);
        ASSERT_NE(sized.pointer, nullptr);
        EXPECT_TRUE(is_aligned(sized.pointer, 16));
        EXPECT_GE(sized.size, size);
        EXPECT_EQ(sized.size, malloc_usable_size(sized.pointer));
        fill_pattern(sized.pointer, sized.size, 1);
        EXPECT_TRUE(has_pattern(sized.pointer, sized.size, 1));
        free(sized.pointer);
    }
}

TEST_F(alloc_at_least, is_freed_with_any_size_between) {
    for (size_t size : boundary_sizes(size_t{1} << 20)) {
        for (int share = 0; share <= 4; share++) {
            struct tandem_sized_pointer sized = tandem_alloc_at_least(size);
            ASSERT_NE(sized.pointer, nullptr);
            size_t between = size + (sized.size - size) / 4 * static_cast<size_t>(share);
            free_sized(sized.pointer, share == 4 ? sized.size : between);
        }
    }
}

TEST_F(alloc_at_least, fails_with_enomem) {
    for (size_t size : impossible_sizes()) {
        errno = 0;
        struct tandem_sized_pointer sized = tandem_alloc_at_least(opaque(size));
        EXPECT_EQ(sized.pointer, nullptr);
        EXPECT_EQ(sized.size, 0u);
        EXPECT_EQ(errno, ENOMEM);
    }
}

}  // namespace
