// A program that replaces some forms of operator new and delete, linked with Tandem and with Tandem preloaded.
#include "tests/process/child.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

void expect_own(const child::outcome &outcome) {
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "all by its own\n") << outcome;
}

TEST(replaced_operators, linked) {
    expect_own(child::run_program({child::program("replaced_operators")}));
}

TEST(replaced_operators, preloaded) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "nothing to preload";
    }
    expect_own(child::run_program({"tests/process/replaced_operators_system"}, "",
                                  child::with_environment({"LD_PRELOAD=" + child::preload()})));
}

}  // namespace
