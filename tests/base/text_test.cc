#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "gtest/gtest.h"

extern "C" {
#include "base/text.h"
}

namespace {

// What `write` leaves in a buffer of `capacity` bytes.
template <typename writer> std::string written(size_t capacity, writer write) {
    std::string buffer(capacity + 1, '#');
    struct td_text text = {&buffer[0], capacity, 0};
    write(&text);
    td_text_end(&text);
    EXPECT_EQ(buffer[capacity], '#') << "wrote beyond the capacity";
    return capacity != 0 ? std::string(buffer.c_str()) : std::string();
}

TEST(text, writes_strings_one_behind_the_other) {
    EXPECT_EQ(written(32,
                      [](struct td_text *text) {
                          td_text_string(text, "free");
                          td_text_string(text, "");
                          td_text_string(text, " of");
                      }),
              "free of");
}

TEST(text, writes_numbers) {
    for (uint64_t value : {uint64_t{0}, uint64_t{9}, uint64_t{10}, uint64_t{48}, uint64_t{1} << 32, UINT64_MAX}) {
        EXPECT_EQ(written(32, [value](struct td_text *text) { td_text_decimal(text, value); }), std::to_string(value));
    }
}

TEST(text, writes_pointers) {
    auto pointer_text = [](uintptr_t address) {
        return written(
            32, [address](struct td_text *text) { td_text_pointer(text, reinterpret_cast<const void *>(address)); });
    };
    EXPECT_EQ(pointer_text(0), "0x0");
    EXPECT_EQ(pointer_text(0x7fab12345670), "0x7fab12345670");
    EXPECT_EQ(pointer_text(UINTPTR_MAX), "0xffffffffffffffff");
}

TEST(text, is_cut_at_its_capacity_and_counts_on) {
    for (size_t capacity = 0; capacity <= 8; capacity++) {
        std::string whole = "abc12";
        size_t length = 0;
        std::string cut = written(capacity, [&length](struct td_text *text) {
            td_text_string(text, "abc");
            td_text_decimal(text, 12);
            length = text->length;
        });
        EXPECT_EQ(length, whole.size());
        EXPECT_EQ(cut, whole.substr(0, capacity != 0 ? capacity - 1 : 0));
    }
}

}  // namespace
