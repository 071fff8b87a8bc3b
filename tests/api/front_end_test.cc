// Which allocator this is: that the binary has the front end that it was built with, and can say so.
#include <cstdio>
#include <set>
#include <string>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

namespace {

using strings = std::set<std::string>;

TEST(front_end, is_the_one_that_this_binary_was_built_with) {
    EXPECT_STREQ(tandem_front_end(), variant_front_end);
    EXPECT_STREQ(tandem_version(), variant_is_tandem ? TANDEM_VERSION : "none");
}

TEST(front_end, is_in_one_of_its_modes) {
    const std::string front_end = tandem_front_end();
    const std::string mode = tandem_mode();
    const std::string index = tandem_index();
    if (front_end == "percpu") {
        EXPECT_TRUE((strings{"rseq (glibc)", "rseq (own)", "locked"}.count(mode))) << mode;
        const strings indexes = mode == "locked" ? strings{"cpu"} : strings{"mm_cid", "cpu_id"};
        EXPECT_TRUE(indexes.count(index)) << index << " in mode " << mode;
    } else if (front_end == "perthread") {
        EXPECT_EQ(mode, "thread-local");
        EXPECT_EQ(index, "thread");
    } else {
        EXPECT_EQ(mode, "none");
        EXPECT_EQ(index, "none");
    }
}

TEST(front_end, says_in_one_line_why) {
    const std::string reason = tandem_mode_reason();
    printf("%s, %s, %s: %s\n", tandem_front_end(), tandem_mode(), tandem_index(), reason.c_str());
    EXPECT_FALSE(reason.empty());
    EXPECT_EQ(reason.find('\n'), std::string::npos) << reason;
}

TEST(front_end, stays_in_its_mode) {
    std::string before = tandem_mode();
    for (int i = 0; i < 10000; i++) {
        free(opaque(malloc(100)));
    }
    tandem_flush();
    EXPECT_EQ(before, tandem_mode());
}

}  // namespace
