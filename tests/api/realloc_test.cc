// realloc and reallocarray: contents through every change of size, failures that change nothing.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

namespace {

const std::vector<size_t> &transition_sizes() {
    static const std::vector<size_t> list = {
        1,       15,      16,       17,       40,     100,     128,     129,     1000,
        1024,    3000,    4096,     8192,     20000,  32768,   32769,   65536,   100000,
        131072,  200000,  262144,   262145,   500000, 1 << 20, 1500000, 2 << 20, (2 << 20) + 1,
        3000000, 4 << 20, 10000000, 32 << 20,
    };
    return list;
}

TEST(realloc, keeps_the_contents_through_every_transition) {
    for (size_t from : transition_sizes()) {
        for (size_t to : transition_sizes()) {
            void *object = opaque(malloc(from));
            ASSERT_NE(object, nullptr);
            size_t written = std::min(from, size_t{5} << 20);
            fill_pattern(object, written, to);
            object = opaque(realloc(object, to));
            ASSERT_NE(object, nullptr);
            ASSERT_GE(malloc_usable_size(object), to);
            ASSERT_TRUE(is_aligned(object, 16));
            ASSERT_TRUE(has_pattern(object, written, to, std::min(written, to))) << from << " to " << to;
            static_cast<char *>(object)[to - 1] = 1;
            free(opaque(object));
        }
    }
}

TEST(realloc, keeps_the_contents_of_aligned_objects) {
    for (size_t alignment : {64, 512, 4096, 65536, 4 << 20}) {
        for (size_t from : {1, 100, 5000, 70000, 3000000}) {
            for (size_t to : {1, 30, 4000, 100000, 300000, 6000000}) {
                void *object = opaque(memalign(alignment, from));
                ASSERT_NE(object, nullptr);
                fill_pattern(object, from, to);
                object = opaque(realloc(object, to));
                ASSERT_NE(object, nullptr);
                ASSERT_TRUE(has_pattern(object, from, to, std::min(from, to))) << alignment << from << " to " << to;
                free(opaque(object));
            }
        }
    }
}

// One object that grows or shrinks by a factor, with live neighbours that must not change.
void grow_and_shrink(double factor, size_t limit) {
    std::vector<void *> neighbours;
    size_t size = 1;
    void *object = opaque(malloc(size));
    fill_pattern(object, size, size);
    bool growing = true;
    while (growing || size > 1) {
        auto next = static_cast<double>(size);
        next = growing ? next * factor + 1 : next / factor;
        size_t to = std::max(size_t{1}, static_cast<size_t>(next));
        object = opaque(realloc(object, to));
        ASSERT_NE(object, nullptr);
        ASSERT_TRUE(has_pattern(object, size, size, std::min(size, to))) << size << " to " << to;
        fill_pattern(object, to, to);
        size = to;
        growing = growing && size < limit;
        neighbours.push_back(opaque(malloc(200 + neighbours.size())));
        fill_pattern(neighbours.back(), 200 + neighbours.size() - 1, neighbours.size());
    }
    for (size_t i = 0; i < neighbours.size(); i++) {
        EXPECT_TRUE(has_pattern(neighbours[i], 200 + i, i + 1));
        free(neighbours[i]);
    }
    free(object);
}

TEST(realloc, grows_and_shrinks_step_by_step) {
    grow_and_shrink(1.03, 200000);
    grow_and_shrink(1.3, size_t{8} << 20);
    grow_and_shrink(2, size_t{64} << 20);
}

TEST(realloc, large_objects_grow_beside_each_other) {
    std::vector<void *> objects(6, nullptr);
    size_t size = 0;
    for (int step = 0; step < 25; step++) {
        size_t grown = size + 200000;
        for (size_t i = 0; i < objects.size(); i++) {
            objects[i] = opaque(realloc(objects[i], grown));
            ASSERT_NE(objects[i], nullptr);
            ASSERT_TRUE(has_pattern(objects[i], size, i)) << size << " to " << grown;
            fill_pattern(objects[i], grown, i);
        }
        size = grown;
    }
    for (void *object : objects) {
        free(object);
    }
}

TEST(realloc, of_null_allocates) {
    for (size_t size : transition_sizes()) {
        void *object = opaque(realloc(opaque<void *>(nullptr), size));
        ASSERT_NE(object, nullptr);
        fill_pattern(object, std::min(size, size_t{1} << 20), 1);
        free(object);
    }
    void *first = opaque(realloc(opaque<void *>(nullptr), opaque<size_t>(0)));
    void *second = opaque(realloc(opaque<void *>(nullptr), opaque<size_t>(0)));
    EXPECT_NE(first, nullptr);
    EXPECT_NE(second, nullptr);
    EXPECT_NE(first, second);
    free(first);
    free(second);
}

TEST(realloc, to_zero_frees_and_returns_null) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{48}, size_t{5000}, size_t{100000}, size_t{30} << 20}) {
        size_t count = 1000 + (size_t{1} << 20) / (size + 1);
        size_t before = bytes_in_use();
        errno = 4711;
        for (size_t i = 0; i < count; i++) {
            void *object = opaque(malloc(size));
            ASSERT_NE(object, nullptr);
            ASSERT_EQ(opaque(realloc(opaque(object), opaque<size_t>(0))), nullptr);
        }
        EXPECT_EQ(errno, 4711);
        EXPECT_LT(bytes_in_use(), before + count * 16 / 2) << count << " objects of " << size << " bytes";
    }
    errno = 0;
}

TEST(realloc, to_a_size_that_fits_stays_in_place) {
    for (size_t size : transition_sizes()) {
        if (!variant_is_tandem && size >= 100000) {
            continue;  // glibc moves mappings
        }
        void *object = opaque(malloc(size));
        size_t usable = malloc_usable_size(object);
        for (size_t fitting : {usable, size, usable - (usable - size) / 2}) {
            void *moved = opaque(realloc(opaque(object), fitting));
            EXPECT_EQ(moved, object) << size << " to " << fitting;
            object = moved;
        }
        EXPECT_EQ(malloc_usable_size(object), usable);
        free(object);
    }
}

TEST(realloc, a_shrunk_object_gives_memory_back) {
    for (size_t from : {size_t{1} << 20, size_t{64} << 20}) {
        for (size_t to : {size_t{100}, size_t{10000}, from / 4}) {
            void *object = opaque(malloc(from));
            object = opaque(realloc(object, to));
            ASSERT_NE(object, nullptr);
            EXPECT_LE(malloc_usable_size(object), to * 2 + 4096) << from << " to " << to;
            free(object);
        }
    }
}

TEST(realloc, that_fails_changes_nothing) {
    for (size_t size : {size_t{10}, size_t{1000}, size_t{50000}, size_t{400000}, size_t{5} << 20}) {
        void *object = opaque(malloc(size));
        fill_pattern(object, size, 3);
        size_t usable = malloc_usable_size(object);
        for (size_t impossible : impossible_sizes()) {
            errno = 0;
            ASSERT_EQ(opaque(realloc(opaque(object), opaque(impossible))), nullptr) << impossible;
            EXPECT_EQ(errno, ENOMEM);
        }
        EXPECT_EQ(malloc_usable_size(object), usable);
        EXPECT_TRUE(has_pattern(object, size, 3));
        free(object);
    }
}

TEST(reallocarray, multiplies_and_keeps_the_contents) {
    void *object = opaque(reallocarray(nullptr, 10, 10));
    ASSERT_NE(object, nullptr);
    fill_pattern(object, 100, 1);
    object = opaque(reallocarray(object, 1000, 1000));
    ASSERT_NE(object, nullptr);
    EXPECT_GE(malloc_usable_size(object), 1000000u);
    EXPECT_TRUE(has_pattern(object, 100, 1));
    object = opaque(reallocarray(object, 7, 13));
    EXPECT_TRUE(has_pattern(object, 100, 1, 91));
    EXPECT_EQ(opaque(reallocarray(object, opaque<size_t>(0), 13)), nullptr);
}

TEST(reallocarray, detects_products_that_overflow) {
    constexpr size_t half = SIZE_MAX / 2 + 1;
    constexpr size_t root = size_t{1} << (sizeof(size_t) * 4);
    const std::pair<size_t, size_t> products[] = {
        {half, 2}, {2, half}, {SIZE_MAX, SIZE_MAX}, {root, root}, {SIZE_MAX / 24 + 1, 24}, {half, 1}, {root, root / 2},
    };
    void *object = opaque(malloc(100));
    fill_pattern(object, 100, 9);
    for (const auto &[count, size] : products) {
        errno = 0;
        EXPECT_EQ(opaque(reallocarray(opaque(object), opaque(count), opaque(size))), nullptr) << count << '*' << size;
        EXPECT_EQ(errno, ENOMEM);
        errno = 0;
        EXPECT_EQ(opaque(reallocarray(opaque<void *>(nullptr), opaque(count), opaque(size))), nullptr);
        EXPECT_EQ(errno, ENOMEM);
    }
    EXPECT_TRUE(has_pattern(object, 100, 9));
    free(object);
}

}  // namespace
