// fork where handlers of others, or the C library, wait for a thread that allocates: the allocator's own come last.
#include <string>

#include "tests/process/child.h"
#include "tests/process/variant.h"
#include "gtest/gtest.h"

namespace {

class fork_order : public testing::TestWithParam<const char *> {};

TEST_P(fork_order, with_the_allocator_linked_in) {
    const std::string program =
        std::string("tests/process/forker_") + (variant::is_tandem ? variant::front_end : "system");
    child::outcome outcome = child::run_program({program, GetParam()});
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "done\n") << outcome;
}

TEST_P(fork_order, with_the_allocator_preloaded) {
    if (!variant::is_tandem) {
        GTEST_SKIP() << "glibc is not preloaded";
    }
    const std::string library = std::string("allocator/libtandem_") + variant::front_end + ".so";
    child::outcome outcome = child::run_program({"tests/process/forker_system", GetParam()}, "",
                                                child::with_environment({"LD_PRELOAD=" + library}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "done\n") << outcome;
}

INSTANTIATE_TEST_SUITE_P(any, fork_order, testing::Values("library", "streams", "first thread"));

}  // namespace
