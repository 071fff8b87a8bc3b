#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <random>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/metadata.h"
}

namespace {

TEST(metadata, hands_out_zeroed_memory_that_nobody_else_has) {
    std::map<uintptr_t, size_t> taken;  // bytes by begin
    std::mt19937 random(1);
    for (int i = 0; i < 3000; i++) {
        size_t alignment = size_t{8} << random() % 10;
        size_t bytes = random() % 8 == 0 ? 1 + random() % 300000 : 1 + random() % 500;
        char *memory = static_cast<char *>(td_metadata_alloc(bytes, alignment));
        ASSERT_NE(memory, nullptr);
        uintptr_t begin = reinterpret_cast<uintptr_t>(memory);
        ASSERT_EQ(begin % alignment, 0u);
        ASSERT_TRUE(fake_os::is_mapped(begin, bytes));
        ASSERT_EQ(memory[0], 0);
        ASSERT_EQ(memory[bytes - 1], 0);
        memory[0] = memory[bytes - 1] = 1;
        auto after = taken.lower_bound(begin);
        ASSERT_TRUE(after == taken.end() || after->first >= begin + bytes);
        ASSERT_TRUE(after == taken.begin() || std::prev(after)->first + std::prev(after)->second <= begin);
        taken[begin] = bytes;
    }
}

TEST(metadata, counts_what_is_mapped) {
    size_t mapped = 0;
    td_metadata_alloc(1, 8);
    td_metadata_alloc(size_t{5} << 20, 64);
    for (const fake_os::range &each : fake_os::mapped()) {
        mapped += each.bytes;
    }
    EXPECT_EQ(td_metadata_bytes(), mapped);
}

TEST(metadata, has_none_when_the_system_has_none) {
    size_t before = td_metadata_bytes();
    fake_os::limit_mapping(0);
    EXPECT_EQ(td_metadata_alloc(size_t{4} << 20, 64), nullptr);
    fake_os::limit_mapping(SIZE_MAX);
    EXPECT_EQ(td_metadata_bytes(), before);
    EXPECT_NE(td_metadata_alloc(size_t{4} << 20, 64), nullptr);
}

}  // namespace
