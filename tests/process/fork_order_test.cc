// fork where handlers of others, or the C library, wait for a thread that allocates: the allocator's own come last.
#include <string>

#include "tests/process/child.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

class fork_order : public testing::TestWithParam<const char *> {};

TEST_P(fork_order, with_the_allocator_linked_in) {
    child::outcome outcome = child::run_program({child::program("forker"), GetParam()});
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "done\n") << outcome;
}

TEST_P(fork_order, with_the_allocator_preloaded) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "glibc is not preloaded";
    }
    child::outcome outcome = child::run_program({"tests/process/forker_system", GetParam()}, "",
                                                child::with_environment({"LD_PRELOAD=" + child::preload()}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "done\n") << outcome;
}

INSTANTIATE_TEST_SUITE_P(any, fork_order, testing::Values("library", "streams", "first thread"));

}  // namespace
