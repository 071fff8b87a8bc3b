#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
}

namespace {

class size_class : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }
};

size_t smallest_class_that_fits(size_t size) {
    size_t class_index = 1;
    while (td_class_bytes(class_index) < size) {
        class_index++;
    }
    return class_index;
}

TEST_F(size_class, every_size_has_the_smallest_class_that_fits) {
    for (size_t size = 0; size <= TD_MAX_SMALL_BYTES; size++) {
        ASSERT_EQ(td_class_of(size), smallest_class_that_fits(size)) << size;
    }
}

TEST_F(size_class, the_formula_agrees_with_the_table) {
    for (size_t size = 129; size <= TD_TABLE_BYTES; size++) {
        ASSERT_EQ(td_class_of_medium(size), td_class_of_code(td_class_code_table[size])) << size;
    }
}

TEST_F(size_class, classes_ascend_from_the_smallest_object_to_the_largest) {
    EXPECT_EQ(td_class_bytes(0), 0u);
    EXPECT_EQ(td_class_bytes(1), TD_MIN_OBJECT_BYTES);
    EXPECT_EQ(td_class_bytes(TD_CLASS_COUNT - 1), TD_MAX_SMALL_BYTES);
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        ASSERT_GT(td_class_bytes(i), td_class_bytes(i - 1)) << i;
        ASSERT_EQ(td_class_bytes(i) % TD_MIN_OBJECT_BYTES, 0u) << i;
        ASSERT_EQ(td_class_info[i].object_bytes, td_class_bytes(i)) << i;
    }
}

TEST_F(size_class, wastes_at_most_an_eighth_above_128_bytes) {
    for (size_t size = 129; size <= TD_MAX_SMALL_BYTES; size++) {
        size_t waste = td_class_bytes(td_class_of(size)) - size;
        ASSERT_LE(waste * 8, size) << size;
    }
}

TEST_F(size_class, the_reciprocal_finds_every_byte_of_every_span) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        const struct td_class_info &info = td_class_info[i];
        size_t span_bytes = info.span_pages * TD_PAGE_BYTES;
        size_t index = 0, within = 0;
        for (size_t offset = 0; offset < span_bytes; offset++) {
            ASSERT_EQ(td_class_object_index(&info, offset), index) << "class " << i << " offset " << offset;
            if (++within == info.object_bytes) {
                index++;
                within = 0;
            }
        }
    }
}

TEST_F(size_class, a_spans_tail_is_at_most_a_32nd) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        const struct td_class_info &info = td_class_info[i];
        size_t span_bytes = info.span_pages * TD_PAGE_BYTES;
        size_t used_bytes = size_t{info.span_objects} * info.object_bytes;
        ASSERT_LE(used_bytes, span_bytes) << i;
        ASSERT_LT(span_bytes - used_bytes, info.object_bytes) << i;
        ASSERT_LE((span_bytes - used_bytes) * 32, span_bytes) << i;
    }
}

TEST_F(size_class, a_spans_objects_have_their_bits_in_its_pages) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        size_t bits = td_class_info[i].span_pages * (TD_PAGE_BYTES / TD_MIN_OBJECT_BYTES);
        ASSERT_GE(bits, td_class_info[i].span_objects) << i;
        ASSERT_LE(td_class_info[i].span_pages * TD_PAGE_BYTES, TD_MAX_SPAN_BYTES) << i;
    }
}

// A span starts at a page at least, so its objects are aligned as far as their size and the span's alignment are.
TEST_F(size_class, powers_of_two_are_naturally_aligned) {
    for (size_t bytes = TD_MIN_OBJECT_BYTES; bytes <= TD_MAX_SMALL_BYTES; bytes *= 2) {
        const struct td_class_info &info = td_class_info[td_class_of(bytes)];
        ASSERT_EQ(info.object_bytes, bytes);
        ASSERT_EQ(info.align_pages * TD_PAGE_BYTES % bytes, 0u) << bytes;
    }
}

TEST_F(size_class, batches_and_bins_are_within_their_bounds) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        const struct td_class_info &info = td_class_info[i];
        ASSERT_GE(info.batch, 1u) << i;
        ASSERT_LE(info.batch, size_t{TD_BATCH_MAX}) << i;
        ASSERT_LE(info.bin_max, info.object_bytes <= TD_CACHE_LINE ? TD_BIN_LINE_MAX : TD_BIN_MAX) << i;
        ASSERT_GE(info.bin_max, 2u) << i;
        ASSERT_GE(info.swap_min, 1u) << i;
        ASSERT_GE(info.transfer_max, size_t{TD_TRANSFER_BATCHES_MIN}) << i;
    }
}

}  // namespace
