// calloc: zero whatever the memory was before, and no overflow.
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

namespace {

// Allocates `count` objects, fills them with ones and frees them.
void leave_dirt(size_t size, size_t count) {
    std::vector<void *> objects;
    for (size_t i = 0; i < count; i++) {
        objects.push_back(opaque(malloc(size)));
        memset(objects.back(), 0xff, malloc_usable_size(objects.back()));
    }
    for (void *object : objects) {
        free(opaque(object));
    }
}

// How many objects of a size make a test: many small ones, few large ones.
size_t count_of(size_t size) {
    return size < 1024 ? 2000 : size < 65536 ? 200 : 4;
}

void expect_zeroed(size_t size, size_t count) {
    std::vector<void *> objects;
    for (size_t i = 0; i < count; i++) {
        objects.push_back(opaque(calloc(1, size)));
        ASSERT_NE(objects.back(), nullptr);
        ASSERT_TRUE(is_zero(objects.back(), size)) << objects.back() << " of size " << size;
        memset(objects.back(), 0xee, size);
    }
    for (void *object : objects) {
        free(opaque(object));
    }
}

TEST(calloc, zeroes_fresh_and_used_memory) {
    for (size_t size : boundary_sizes(size_t{8} << 20)) {
        expect_zeroed(size, count_of(size));
        leave_dirt(size, count_of(size));
        expect_zeroed(size, count_of(size));
    }
}

TEST(calloc, zeroes_what_other_sizes_left) {
    for (size_t dirty : {16, 48, 640, 5000, 40000, 300000, 3000000}) {
        leave_dirt(dirty, (size_t{16} << 20) / dirty);
        for (size_t size : {24, 100, 2000, 20000, 200000, 2000000, 12000000}) {
            expect_zeroed(size, 1 + (size_t{8} << 20) / size / 4);
        }
    }
}

TEST(calloc, zeroes_memory_that_was_flushed_and_given_back) {
    for (size_t size : {16, 500, 4096, 70000, 1000000, 20000000}) {
        leave_dirt(size, count_of(size));
        tandem_flush();
        expect_zeroed(size, count_of(size));
        tandem_flush();
        malloc_trim(0);
        expect_zeroed(size, count_of(size));
        tandem_release_memory(4096);
        expect_zeroed(size, count_of(size));
    }
}

TEST(calloc, zeroes_what_realloc_cut_off) {
    for (size_t size : {size_t{4096}, size_t{100000}, size_t{1} << 20, size_t{6} << 20}) {
        for (int round = 0; round < 20; round++) {
            void *object = opaque(malloc(size));
            memset(object, 0xff, size);
            object = opaque(realloc(object, size / 3));
            expect_zeroed(size / 2, 2);
            free(object);
            expect_zeroed(size, 2);
        }
    }
}

TEST(calloc, multiplies_its_arguments) {
    for (size_t count : {1, 3, 7, 100, 1000}) {
        for (size_t size : {1, 2, 13, 64, 999}) {
            void *object = opaque(calloc(count, size));
            ASSERT_NE(object, nullptr);
            EXPECT_GE(malloc_usable_size(object), count * size);
            EXPECT_TRUE(is_zero(object, count * size));
            free(object);
        }
    }
}

TEST(calloc, of_nothing_is_unique) {
    for (auto arguments : {std::pair<size_t, size_t>{0, 8}, {8, 0}, {0, 0}, {0, SIZE_MAX}, {SIZE_MAX, 0}}) {
        void *first = opaque(calloc(arguments.first, arguments.second));
        void *second = opaque(calloc(arguments.first, arguments.second));
        EXPECT_NE(first, nullptr);
        EXPECT_NE(second, nullptr);
        EXPECT_NE(first, second);
        free(first);
        free(second);
    }
}

TEST(calloc, detects_products_that_overflow) {
    constexpr size_t half = SIZE_MAX / 2 + 1;
    constexpr size_t root = size_t{1} << (sizeof(size_t) * 4);
    const std::pair<size_t, size_t> products[] = {
        {half, 2},
        {2, half},
        {SIZE_MAX, SIZE_MAX},
        {root, root},
        {root + 1, root},
        {SIZE_MAX, 2},
        {half, 3},
        {half / 8, 16},
        {SIZE_MAX / 3, 3},
        {SIZE_MAX / 16 + 1, 16},
        {half, 1},
        {root, root / 2},
        {SIZE_MAX / 24 + 1, 24},
        {SIZE_MAX / 4096 + 1, 4096},
    };
    for (const auto &[count, size] : products) {
        errno = 0;
        EXPECT_EQ(opaque(calloc(opaque(count), opaque(size))), nullptr) << count << " * " << size;
        EXPECT_EQ(errno, ENOMEM) << count << " * " << size;
    }
}

}  // namespace
