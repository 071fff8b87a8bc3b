// Programs that have the C++ library linked in, and of that only what they refer to: operator new throws all the same.
#include <string>

#include "tests/process/child.h"
#include "gtest/gtest.h"

namespace {

class static_library : public testing::TestWithParam<const char *> {};

TEST_P(static_library, bad_alloc_is_thrown) {
    child::outcome outcome = child::run_program({child::program(std::string("caught_as_") + GetParam())});
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "std::bad_alloc\n") << outcome;
}

INSTANTIATE_TEST_SUITE_P(any, static_library, testing::Values("bad_alloc", "exception"));

}  // namespace
