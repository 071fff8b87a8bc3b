// malloc and free, and what every function that allocates must do alike.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include <unistd.h>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

namespace {

class every_c_function : public testing::TestWithParam<c_allocation> {};

TEST_P(every_c_function, returns_unique_objects_for_size_zero) {
    std::set<void *> objects;
    for (int i = 0; i < 100; i++) {
        void *object = GetParam().allocate(0);
        ASSERT_NE(object, nullptr);
        EXPECT_TRUE(objects.insert(object).second) << object << " twice";
    }
    for (void *object : objects) {
        free(object);
    }
}

TEST_P(every_c_function, returns_aligned_memory_of_the_size) {
    for (size_t size : boundary_sizes(size_t{1} << 21)) {
        void *first = GetParam().allocate(size);
        void *second = GetParam().allocate(size);
        ASSERT_NE(first, nullptr) << size;
        ASSERT_NE(second, nullptr) << size;
        EXPECT_TRUE(is_aligned(first, 16)) << first << " of size " << size;
        EXPECT_TRUE(is_aligned(second, 16)) << second << " of size " << size;
        ASSERT_GE(malloc_usable_size(first), size);
        ASSERT_GE(malloc_usable_size(second), size);
        fill_pattern(first, size, 1);
        fill_pattern(second, size, 2);
        EXPECT_TRUE(has_pattern(first, size, 1)) << size;
        EXPECT_TRUE(has_pattern(second, size, 2)) << size;
        free(first);
        free(second);
    }
}

TEST_P(every_c_function, fails_with_enomem_for_impossible_sizes) {
    for (size_t size : impossible_sizes()) {
        errno = 0;
        void *object = GetParam().allocate(opaque(size));
        EXPECT_EQ(object, nullptr) << size;
        EXPECT_EQ(errno, ENOMEM) << size;
    }
    void *object = GetParam().allocate(100);
    EXPECT_NE(object, nullptr) << "a failure must not spoil what comes after";
    free(object);
}

INSTANTIATE_TEST_SUITE_P(all, every_c_function, testing::ValuesIn(every_c_allocation()),
                         [](const auto &each) { return std::string(each.param.name); });

TEST(malloc, all_bytes_of_the_usable_size_belong_to_the_object) {
    std::vector<void *> objects;
    for (size_t size : boundary_sizes(100000)) {
        for (int i = 0; i < 4; i++) {
            void *object = opaque(malloc(size));
            ASSERT_NE(object, nullptr);
            size_t usable = malloc_usable_size(object);
            ASSERT_GE(usable, size);
            fill_pattern(object, usable, objects.size());
            objects.push_back(object);
        }
    }
    for (size_t i = 0; i < objects.size(); i++) {
        EXPECT_TRUE(has_pattern(objects[i], malloc_usable_size(objects[i]), i));
        free(objects[i]);
    }
}

TEST(malloc, live_objects_never_overlap) {
    std::vector<std::pair<uintptr_t, uintptr_t>> extents;
    for (int round = 0; round < 50; round++) {
        for (size_t size : boundary_sizes(70000)) {
            auto begin = reinterpret_cast<uintptr_t>(opaque(malloc(size)));
            ASSERT_NE(begin, 0u);
            extents.emplace_back(begin, begin + malloc_usable_size(reinterpret_cast<void *>(begin)));
        }
    }
    std::sort(extents.begin(), extents.end());
    for (size_t i = 1; i < extents.size(); i++) {
        ASSERT_LE(extents[i - 1].second, extents[i].first);
    }
    for (const auto &extent : extents) {
        free(reinterpret_cast<void *>(extent.first));
    }
}

TEST(malloc, gives_objects_of_a_power_of_two_their_natural_alignment) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "glibc aligns to 16 whatever the size";
    }
    for (size_t size = 16; size <= 32768; size *= 2) {
        std::vector<void *> objects;
        for (int i = 0; i < 200; i++) {
            objects.push_back(opaque(malloc(size)));
            ASSERT_TRUE(is_aligned(objects.back(), size)) << objects.back() << " of size " << size;
        }
        for (void *object : objects) {
            free(object);
        }
    }
}

TEST(malloc, a_freed_object_serves_again) {
    for (size_t size : {size_t{1} << 10, size_t{1} << 16, size_t{1} << 22}) {
        size_t before = bytes_from_system();
        for (size_t i = 0; i < (size_t{64} << 30) / 3 / size / (size < 65536 ? 16 : 1); i++) {
            auto *object = static_cast<char *>(opaque(malloc(size)));
            ASSERT_NE(object, nullptr);
            object[0] = 1;
            object[size - 1] = 1;
            free(opaque(object));
        }
        EXPECT_LT(bytes_from_system(), before + (size_t{100} << 20)) << size;
    }
}

TEST(malloc, two_to_the_40_bytes_come_or_do_not_but_errno_tells) {
    errno = 0;
    void *object = opaque(malloc(size_t{1} << 40));
    EXPECT_TRUE(object != nullptr || errno == ENOMEM);
    free(object);
}

// Weak, as the C library may lack them.
extern "C" void *__libc_malloc(size_t size) __attribute__((weak));
extern "C" void __libc_free(void *pointer) __attribute__((weak));
extern "C" void *__libc_calloc(size_t count, size_t size) __attribute__((weak));
extern "C" void *__libc_realloc(void *pointer, size_t size) __attribute__((weak));
extern "C" void *__libc_memalign(size_t alignment, size_t size) __attribute__((weak));
extern "C" void *__libc_valloc(size_t size) __attribute__((weak));
extern "C" void *__libc_pvalloc(size_t size) __attribute__((weak));

TEST(malloc, under_other_names_is_the_same) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "a C library may have other names or none";
    }
    constexpr size_t size = size_t{3} << 20;
    const auto expect_own = [&](void *object, size_t alignment) {
        ASSERT_NE(object, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(object) % alignment, 0u);
        EXPECT_GE(malloc_usable_size(object), size);
        memset(object, 1, size);
        size_t before = bytes_in_use();
        __libc_free(opaque(object));
        EXPECT_LE(bytes_in_use() + size, before);
    };
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    expect_own(__libc_malloc(size), 16);
    expect_own(__libc_realloc(malloc(100), size), 16);
    expect_own(__libc_memalign(size_t{1} << 20, size), size_t{1} << 20);
    expect_own(__libc_valloc(size), page);
    expect_own(__libc_pvalloc(size - 1), page);
    free(opaque(malloc(size)));
    void *zeros = opaque(__libc_calloc(size / 8, 8));
    ASSERT_NE(zeros, nullptr);
    EXPECT_EQ(*static_cast<char *>(zeros), 0);
    EXPECT_EQ(memcmp(zeros, static_cast<char *>(zeros) + 1, size - 1), 0);
    expect_own(zeros, 16);
    EXPECT_EQ(opaque(__libc_calloc(SIZE_MAX / 2, 4)), nullptr);
}

TEST(free, of_null_does_nothing) {
    free(opaque<void *>(nullptr));
}

TEST(free, keeps_errno) {
    for (size_t size : {size_t{0}, size_t{40}, size_t{5000}, size_t{100000}, size_t{3} << 20, size_t{200} << 20}) {
        std::vector<void *> objects;
        for (size_t i = 0; i < 1 + (size_t{1} << 20) / (size + 1); i++) {
            objects.push_back(opaque(malloc(size)));
            ASSERT_NE(objects.back(), nullptr);
        }
        errno = 4711;
        for (void *object : objects) {
            free(object);
            ASSERT_EQ(errno, 4711) << size;
        }
        free(opaque<void *>(nullptr));
        EXPECT_EQ(errno, 4711);
    }
    errno = 0;
}

TEST(malloc_usable_size, is_zero_for_null) {
    EXPECT_EQ(malloc_usable_size(opaque<void *>(nullptr)), 0u);
}

TEST(malloc_usable_size, does_not_change_while_an_object_lives) {
    for (size_t size : boundary_sizes(size_t{4} << 20)) {
        void *object = opaque(malloc(size));
        size_t usable = malloc_usable_size(object);
        fill_pattern(object, usable, 0);
        EXPECT_EQ(malloc_usable_size(object), usable);
        free(object);
    }
}

// glibc keeps cfree for old binaries only, so a weak reference may find none there.
extern "C" void cfree(void *object) __attribute__((weak));

TEST(cfree, frees) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "glibc has it for old binaries only";
    }
    ASSERT_NE(cfree, nullptr);
    errno = 4711;
    cfree(nullptr);
    constexpr size_t size = size_t{10} << 20;
    size_t before = bytes_in_use();
    for (int i = 0; i < 3000; i++) {
        void *object = opaque(malloc(size));
        ASSERT_NE(object, nullptr);
        memset(object, 1, 4096);
        cfree(object);
    }
    EXPECT_EQ(errno, 4711);
    EXPECT_LT(bytes_in_use(), before + size);
    errno = 0;
}

}  // namespace
