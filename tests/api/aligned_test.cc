// posix_memalign, aligned_alloc, memalign, valloc and pvalloc.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/every_allocation.h"
#include "tests/api/opaque.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

struct aligned_function {
    const char *name;
    void *(*allocate)(size_t alignment, size_t size);
};

void *posix_memalign_or_null(size_t alignment, size_t size) {
    void *object = nullptr;
    errno = posix_memalign(&object, alignment, size);
    return errno == 0 ? object : nullptr;
}

std::ostream &operator<<(std::ostream &stream, const aligned_function &function) {
    return stream << function.name;
}

class aligned : public testing::TestWithParam<aligned_function> {};

TEST_P(aligned, objects_of_every_alignment_and_size) {
    for (size_t alignment = sizeof(void *); alignment <= size_t{16} << 20; alignment *= 2) {
        std::vector<std::pair<void *, size_t>> objects;
        for (size_t size : {size_t{0}, size_t{1}, size_t{24}, size_t{1000}, alignment - 1, alignment, alignment + 1,
                            3 * alignment, size_t{100000}}) {
            for (int i = 0; i < 3; i++) {
                void *object = opaque(GetParam().allocate(alignment, size));
                ASSERT_NE(object, nullptr) << alignment << ' ' << size;
                ASSERT_TRUE(is_aligned(object, alignment)) << object << " for " << alignment << ' ' << size;
                ASSERT_TRUE(is_aligned(object, 16)) << object;
                ASSERT_GE(malloc_usable_size(object), size);
                fill_pattern(object, std::min(size, size_t{1} << 20), objects.size());
                objects.emplace_back(object, std::min(size, size_t{1} << 20));
            }
        }
        for (size_t i = 0; i < objects.size(); i++) {
            EXPECT_TRUE(has_pattern(objects[i].first, objects[i].second, i)) << alignment;
            free(objects[i].first);
        }
    }
}

TEST_P(aligned, all_bytes_of_the_usable_size_belong_to_the_object) {
    std::vector<void *> objects;
    for (size_t alignment = 32; alignment <= 65536; alignment *= 2) {
        for (size_t size : {size_t{1}, alignment - 8, alignment + 8, size_t{700}, size_t{9000}}) {
            objects.push_back(opaque(GetParam().allocate(alignment, size)));
            ASSERT_NE(objects.back(), nullptr);
            fill_pattern(objects.back(), malloc_usable_size(objects.back()), objects.size());
        }
    }
    for (size_t i = 0; i < objects.size(); i++) {
        EXPECT_TRUE(has_pattern(objects[i], malloc_usable_size(objects[i]), i + 1));
        free(objects[i]);
    }
}

TEST_P(aligned, huge_alignments) {
    for (size_t alignment : {size_t{64} << 20, size_t{1} << 30, size_t{8} << 30}) {
        void *object = opaque(GetParam().allocate(alignment, 100));
        ASSERT_NE(object, nullptr) << alignment;
        EXPECT_TRUE(is_aligned(object, alignment));
        fill_pattern(object, 100, 1);
        free(opaque(object));
    }
}

TEST_P(aligned, the_largest_power_of_two_fails_with_enomem) {
    for (size_t size : {size_t{1}, size_t{4096}, SIZE_MAX / 2}) {
        errno = 0;
        EXPECT_EQ(opaque(GetParam().allocate(opaque(SIZE_MAX / 2 + 1), size)), nullptr);
        EXPECT_EQ(errno, ENOMEM) << size;
    }
}

TEST_P(aligned, sums_of_size_and_alignment_do_not_overflow) {
    for (size_t alignment = 16; alignment <= size_t{1} << 40; alignment *= 4) {
        for (size_t size : impossible_sizes()) {
            errno = 0;
            EXPECT_EQ(opaque(GetParam().allocate(opaque(alignment), opaque(size))), nullptr)
                << alignment << ' ' << size;
            EXPECT_EQ(errno, ENOMEM);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(all, aligned,
                         testing::Values(aligned_function{"posix_memalign", posix_memalign_or_null},
                                         aligned_function{"aligned_alloc", aligned_alloc},
                                         aligned_function{"memalign", memalign}),
                         [](const auto &each) { return std::string(each.param.name); });

// As hopeless sizes do.
TEST_P(aligned, hopeless_alignments_leave_the_caches_as_they_are) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "asks Tandem for statistics";
    }
    const auto cached_bytes = [] {
        struct tandem_stats stats;
        tandem_get_stats(&stats, sizeof stats);
        return stats.cached_bytes;
    };
    std::vector<void *> objects(100);
    for (void *&object : objects) {
        object = opaque(malloc(500));
    }
    for (void *object : objects) {
        free(opaque(object));
    }
    const size_t before = cached_bytes();
    EXPECT_GT(before, 0u);
    for (size_t alignment : {size_t{1} << 46, size_t{1} << 62, size_t{1} << 63}) {
        EXPECT_EQ(GetParam().allocate(opaque(alignment), 16), nullptr) << alignment;
    }
    EXPECT_EQ(cached_bytes(), before);
}

TEST(posix_memalign, rejects_bad_alignments) {
    for (size_t alignment : {size_t{0}, size_t{1}, size_t{2}, size_t{4}, size_t{3}, size_t{9}, size_t{24}, size_t{100},
                             size_t{4097}, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX - 7}) {
        void *object = &object;
        EXPECT_EQ(posix_memalign(&object, opaque(alignment), 100), EINVAL) << alignment;
        EXPECT_EQ(object, &object) << "must be left alone";
    }
}

TEST(posix_memalign, leaves_the_pointer_alone_when_memory_is_out) {
    for (size_t size : impossible_sizes()) {
        void *object = &object;
        EXPECT_EQ(posix_memalign(&object, 64, opaque(size)), ENOMEM);
        EXPECT_EQ(object, &object);
    }
}

TEST(posix_memalign, of_nothing_is_unique) {
    void *first = nullptr;
    void *second = nullptr;
    EXPECT_EQ(posix_memalign(&first, 64, 0), 0);
    EXPECT_EQ(posix_memalign(&second, 64, 0), 0);
    EXPECT_NE(first, nullptr);
    EXPECT_NE(second, nullptr);
    EXPECT_NE(first, second);
    free(first);
    free(second);
}

TEST(aligned_alloc, rejects_alignments_that_are_no_power_of_two) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "glibc rounds them up before 2.38";
    }
    for (size_t alignment : {size_t{0}, size_t{3}, size_t{24}, size_t{100}, size_t{4097}, SIZE_MAX}) {
        errno = 0;
        EXPECT_EQ(opaque(aligned_alloc(opaque(alignment), 100)), nullptr) << alignment;
        EXPECT_EQ(errno, EINVAL) << alignment;
    }
}

TEST(aligned_alloc, takes_small_alignments_and_sizes_that_are_no_multiple) {
    for (size_t alignment : {1, 2, 4, 8, 16, 4096}) {
        void *object = opaque(aligned_alloc(alignment, 101));
        ASSERT_NE(object, nullptr) << alignment;
        EXPECT_TRUE(is_aligned(object, alignment));
        EXPECT_TRUE(is_aligned(object, 16));
        free(object);
    }
}

TEST(memalign, rounds_bad_alignments_up) {
    const std::pair<size_t, size_t> alignments[] = {
        {0, 16}, {1, 16}, {3, 16}, {17, 32}, {24, 32}, {33, 64}, {100, 128}, {4097, 8192}, {3000000, 4194304},
    };
    for (const auto &[alignment, rounded] : alignments) {
        for (int i = 0; i < 20; i++) {
            void *object = opaque(memalign(opaque(alignment), 50));
            ASSERT_NE(object, nullptr) << alignment;
            EXPECT_TRUE(is_aligned(object, rounded)) << object << " for " << alignment;
            free(object);
        }
    }
}

TEST(memalign, rejects_alignments_that_cannot_be_rounded) {
    for (size_t alignment : {SIZE_MAX, SIZE_MAX / 2 + 2}) {
        errno = 0;
        EXPECT_EQ(opaque(memalign(opaque(alignment), 1)), nullptr);
        EXPECT_EQ(errno, EINVAL);
    }
}

TEST(valloc, returns_whole_pages) {
    auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (size_t size : {size_t{0}, size_t{1}, page - 1, page, page + 1, size_t{100000}, size_t{5} << 20}) {
        void *object = opaque(valloc(size));
        ASSERT_NE(object, nullptr);
        EXPECT_TRUE(is_aligned(object, page));
        EXPECT_GE(malloc_usable_size(object), size);
        free(object);
    }
}

TEST(pvalloc, rounds_the_size_to_whole_pages) {
    auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (size_t size : {size_t{1}, page - 1, page, page + 1, size_t{100000}, size_t{5} << 20}) {
        void *object = opaque(pvalloc(size));
        ASSERT_NE(object, nullptr);
        EXPECT_TRUE(is_aligned(object, page));
        EXPECT_GE(malloc_usable_size(object), (size + page - 1) / page * page);
        free(object);
    }
    void *nothing = opaque(pvalloc(0));
    ASSERT_NE(nothing, nullptr);
    EXPECT_TRUE(is_aligned(nothing, page));
    free(nothing);
}

}  // namespace
