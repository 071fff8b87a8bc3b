#include <cstddef>
#include <cstdint>
#include <random>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/page_map.h"
#include "backend/segment.h"
}

namespace {

constexpr uintptr_t gib = uintptr_t{1} << 30;

const void *at(uintptr_t address) {
    return reinterpret_cast<const void *>(address);
}

TEST(page_map, knows_nothing_of_foreign_addresses) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 100000; i++) {
        const void *pointer = at(random() >> random() % 64);
        ASSERT_EQ(td_page_map_class(pointer), 0u) << pointer;
        ASSERT_EQ(td_page_map_run(pointer), nullptr) << pointer;
    }
    int local = 0;
    for (const void *pointer :
         {at(0), at(1), at(UINTPTR_MAX), at(uintptr_t{1} << 47), at(uintptr_t{1} << 48), at((uintptr_t{1} << 48) - 16),
          at(uintptr_t{1} << 63), static_cast<const void *>(&local), static_cast<const void *>(&gib)}) {
        EXPECT_EQ(td_page_map_class(pointer), 0u) << pointer;
        EXPECT_EQ(td_page_map_run(pointer), nullptr) << pointer;
    }
}

TEST(page_map, answers_for_each_page_and_each_segment) {
    constexpr uintptr_t base = 1000 * gib;
    ASSERT_TRUE(td_page_map_cover(base, TD_SEGMENT_BYTES * 2));
    struct td_segment_run run = {};
    td_page_map_set_run(base, 1, &run);
    td_page_map_set_class(base + 3 * TD_PAGE_BYTES, 2, 17);
    for (uintptr_t page = 0; page < TD_SEGMENT_PAGES; page++) {
        size_t expected = page == 3 || page == 4 ? 17 : 0;
        for (uintptr_t offset = 0; offset < TD_PAGE_BYTES; offset += TD_MIN_OBJECT_BYTES) {
            ASSERT_EQ(td_page_map_class(at(base + page * TD_PAGE_BYTES + offset)), expected);
        }
    }
    EXPECT_EQ(td_page_map_run(at(base)), &run);
    EXPECT_EQ(td_page_map_run(at(base + TD_SEGMENT_BYTES - 1)), &run);
    EXPECT_EQ(td_page_map_run(at(base + TD_SEGMENT_BYTES)), nullptr);
    EXPECT_EQ(td_page_map_run(at(base - 1)), nullptr);
    td_page_map_set_class(base + 3 * TD_PAGE_BYTES, 2, 0);
    EXPECT_EQ(td_page_map_class(at(base + 3 * TD_PAGE_BYTES)), 0u);
}

TEST(page_map, unaligned_pointers_have_no_class) {
    constexpr uintptr_t base = 2000 * gib;
    ASSERT_TRUE(td_page_map_cover(base, TD_SEGMENT_BYTES));
    td_page_map_set_class(base, 1, 5);
    for (uintptr_t offset = 0; offset < 4 * TD_MIN_OBJECT_BYTES; offset++) {
        size_t expected = offset % TD_MIN_OBJECT_BYTES == 0 ? 5 : 0;
        EXPECT_EQ(td_page_map_class(at(base + offset)), expected) << offset;
    }
}

TEST(page_map, has_no_aliases) {
    constexpr uintptr_t base = 3000 * gib;
    ASSERT_TRUE(td_page_map_cover(base, TD_SEGMENT_BYTES));
    td_page_map_set_class(base, 1, 5);
    for (unsigned bit = 13; bit < 64; bit++) {
        EXPECT_EQ(td_page_map_class(at(base ^ (uintptr_t{1} << bit))), 0u) << bit;
    }
}

TEST(page_map, ranges_may_cross_4_gib) {
    constexpr uintptr_t base = 4000 * gib - TD_SEGMENT_BYTES;
    struct td_segment_run run = {};
    ASSERT_TRUE(td_page_map_cover(base, 2 * TD_SEGMENT_BYTES));
    td_page_map_set_run(base, 2, &run);
    EXPECT_EQ(td_page_map_run(at(base)), &run);
    EXPECT_EQ(td_page_map_run(at(4000 * gib)), &run);
    EXPECT_EQ(td_page_map_run(at(4000 * gib + TD_SEGMENT_BYTES)), nullptr);
    td_page_map_set_run(base, 2, nullptr);
}

TEST(page_map, covers_no_more_than_48_bits) {
    constexpr uintptr_t end = uintptr_t{1} << TD_ADDRESS_BITS;
    EXPECT_TRUE(td_page_map_cover(end - TD_SEGMENT_BYTES, TD_SEGMENT_BYTES));
    EXPECT_FALSE(td_page_map_cover(end - TD_SEGMENT_BYTES, 2 * TD_SEGMENT_BYTES));
    EXPECT_FALSE(td_page_map_cover(end, TD_SEGMENT_BYTES));
}

TEST(page_map, says_so_when_there_is_no_memory_for_a_leaf) {
    fake_os::limit_mapping(0);
    EXPECT_FALSE(td_page_map_cover(5000 * gib, TD_SEGMENT_BYTES));
    fake_os::limit_mapping(SIZE_MAX);
    EXPECT_EQ(td_page_map_run(at(5000 * gib)), nullptr);
    EXPECT_TRUE(td_page_map_cover(5000 * gib, TD_SEGMENT_BYTES));
}

}  // namespace
