#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>

#include "gtest/gtest.h"

extern "C" {
#include "base/fatal.h"
}

namespace {

const void *const somewhere = reinterpret_cast<const void *>(uintptr_t{0x7f0012345670});

TEST(fatal_death_test, each_misuse_has_its_line) {
    EXPECT_EXIT(td_fatal("what it is"), testing::KilledBySignal(SIGABRT), "^tandem: what it is\n$");
    EXPECT_EXIT(td_fatal_double_free(somewhere, 48), testing::KilledBySignal(SIGABRT),
                "^tandem: double free of 0x7f0012345670 \\(48-byte object\\)\n$");
    EXPECT_EXIT(td_fatal_freed("realloc", somewhere, 48), testing::KilledBySignal(SIGABRT),
                "^tandem: double free of 0x7f0012345670 \\(48-byte object\\)\n$");
    EXPECT_EXIT(td_fatal_freed("malloc_usable_size", somewhere, 48), testing::KilledBySignal(SIGABRT),
                "^tandem: malloc_usable_size of 0x7f0012345670, which is free \\(48-byte object\\)\n$");
    EXPECT_EXIT(td_fatal_foreign("free", somewhere), testing::KilledBySignal(SIGABRT),
                "^tandem: free of 0x7f0012345670, which was not allocated here\n$");
    EXPECT_EXIT(td_fatal_interior("realloc", somewhere, 65536), testing::KilledBySignal(SIGABRT),
                "^tandem: realloc of 0x7f0012345670, which points inside a 65536-byte object\n$");
    EXPECT_EXIT(td_fatal_wrong_size(somewhere, 100, 48), testing::KilledBySignal(SIGABRT),
                "^tandem: sized free of 0x7f0012345670 with size 100, but the object has 48 bytes\n$");
}

TEST(fatal, warnings_are_a_line_each_and_keep_errno) {
    errno = ENOTTY;
    testing::internal::CaptureStderr();
    td_warn("something");
    td_warn_unknown_option("speed");
    td_warn_bad_value("fast", "decay_ms");
    int errno_after = errno;
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "tandem: something\n"
              "tandem: unknown option \"speed\" in TANDEM_OPTIONS ignored\n"
              "tandem: bad value \"fast\" for option \"decay_ms\" in TANDEM_OPTIONS ignored\n");
    EXPECT_EQ(errno_after, ENOTTY);
}

TEST(fatal, long_lines_are_cut_and_end) {
    testing::internal::CaptureStderr();
    td_warn(std::string(5000, 'x').c_str());
    std::string line = testing::internal::GetCapturedStderr();
    EXPECT_LT(line.size(), 1000u);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
}

}  // namespace
