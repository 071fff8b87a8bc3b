// Whatever a process calls first, the allocator is ready for it.
#include <string>
#include <vector>

#include "tests/process/child.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

class first_call : public testing::TestWithParam<const char *> {};

TEST_P(first_call, leaves_the_process_whole) {
    child::outcome outcome = child::run_program({child::program("first_call"), GetParam()});
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "whole\n") << outcome;
}

TEST(wrapped, by_other_names) {
    std::vector<std::string> environment;
    if (variant_is_tandem) {
        environment.push_back("LD_PRELOAD=" + child::preload());
    }
    child::outcome outcome = child::run_program({"tests/process/wrapper"}, "", child::with_environment(environment));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "wrapped\n") << outcome;
}

INSTANTIATE_TEST_SUITE_P(any, first_call,
                         testing::Values("small", "medium", "span", "large", "calloc", "realloc", "aligned_alloc",
                                         "free_sized", "free", "behind other keys", "without a key"));

}  // namespace
