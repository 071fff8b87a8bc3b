// Runs every wrong program: it must end with SIGABRT and one line that says what was wrong, never with SIGSEGV (the
// heap's own state torn), never by exiting (misuse not noticed).
#include <csignal>
#include <sstream>
#include <string>
#include <vector>

#include "tests/process/child.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

// When the release build must have noticed. With `check=1` it is always at once.
enum noticed_when {
    noticed_at_once,
    noticed_when_drained,  // when the object leaves the front end's cache
    noticed_if_checked,    // in debug builds and with `check=1` only
};

struct wrong_program {
    const char *name;
    noticed_when when;
};

std::ostream &operator<<(std::ostream &stream, const wrong_program &program) {
    return stream << program.name;
}

const wrong_program every_program[] = {
    {"double_free_16", noticed_when_drained},
    {"double_free_48", noticed_when_drained},
    {"double_free_1000", noticed_when_drained},
    {"double_free_30000", noticed_when_drained},
    {"double_free_100000", noticed_when_drained},
    {"double_free_48_with_a_report", noticed_when_drained},
    {"double_free_30000_with_a_report", noticed_when_drained},
    {"double_free_5M_with_a_report", noticed_at_once},
    {"double_free_of_an_aligned_object", noticed_when_drained},
    {"double_free_by_delete", noticed_when_drained},
    {"double_free_after_other_frees", noticed_when_drained},
    {"double_free_before_other_frees", noticed_when_drained},
    {"double_free_after_flush", noticed_when_drained},
    {"double_free_after_drain", noticed_when_drained},
    {"double_free_by_two_threads", noticed_when_drained},
    {"double_free_by_one_of_many_threads", noticed_when_drained},
    {"double_free_1M", noticed_at_once},
    {"double_free_5M", noticed_at_once},
    {"double_free_300M", noticed_at_once},
    {"double_free_5M_after_drain", noticed_at_once},
    {"double_free_by_a_thread_to_be_cancelled", noticed_at_once},
#if defined(__x86_64__)
    {"double_free_without_membarrier", noticed_at_once},
#endif

    {"free_of_stack", noticed_at_once},
    {"free_of_stack_unaligned", noticed_at_once},
    {"free_of_static", noticed_at_once},
    {"free_of_static_page", noticed_at_once},
    {"free_of_constant", noticed_at_once},
    {"free_of_code", noticed_at_once},
    {"free_of_foreign_map", noticed_at_once},
    {"free_of_foreign_map_middle", noticed_at_once},
    {"free_of_foreign_huge_page", noticed_at_once},
    {"free_of_unmapped", noticed_at_once},
    {"free_of_program_break", noticed_at_once},
    {"free_of_1", noticed_at_once},
    {"free_of_16", noticed_at_once},
    {"free_of_page_one", noticed_at_once},
    {"free_of_wild", noticed_at_once},
    {"free_of_wild_unaligned", noticed_at_once},
    {"free_of_last_user_page", noticed_at_once},
    {"free_of_bit_47", noticed_at_once},
    {"free_of_bit_48", noticed_at_once},
    {"free_of_non_canonical", noticed_at_once},
    {"free_of_non_canonical_high", noticed_at_once},
    {"free_of_kernel_address", noticed_at_once},
    {"free_of_minus_one", noticed_at_once},
    {"free_of_minus_16", noticed_at_once},
    {"free_before_any_malloc", noticed_at_once},
    {"delete_of_static", noticed_at_once},

    {"interior_48_by_1", noticed_at_once},
    {"interior_48_by_8", noticed_at_once},
    {"interior_1000_by_999", noticed_at_once},
    {"interior_48_by_16", noticed_when_drained},
    {"interior_48_by_32", noticed_when_drained},
    {"interior_1000_by_512", noticed_when_drained},
    {"interior_30000_by_4096", noticed_when_drained},
    {"interior_30000_by_16384", noticed_when_drained},
    {"interior_100000_by_16", noticed_when_drained},
    {"interior_100000_by_65536", noticed_when_drained},
    {"interior_1M_by_16", noticed_at_once},
    {"interior_1M_by_500001", noticed_at_once},
    {"interior_5M_by_1", noticed_at_once},
    {"interior_5M_by_4096", noticed_at_once},
    {"interior_5M_by_2M", noticed_at_once},
    {"interior_5M_by_4M_and_16", noticed_at_once},
    {"interior_of_an_aligned_object", noticed_when_drained},
    {"free_behind_a_large_object", noticed_at_once},
    {"free_of_the_next_object", noticed_when_drained},

    {"realloc_of_stack", noticed_at_once},
    {"realloc_of_static", noticed_at_once},
    {"realloc_of_foreign_map", noticed_at_once},
    {"realloc_of_wild", noticed_at_once},
    {"realloc_of_non_canonical", noticed_at_once},
    {"realloc_inside_48_by_1", noticed_at_once},
    {"realloc_inside_48_by_16", noticed_when_drained},
    {"realloc_inside_30000_by_4096", noticed_when_drained},
    {"realloc_inside_100000_by_16", noticed_at_once},
    {"realloc_inside_5M_by_4096", noticed_at_once},
    {"realloc_of_freed_48", noticed_when_drained},
    {"realloc_of_freed_3000", noticed_when_drained},
    {"realloc_of_freed_to_zero", noticed_when_drained},
    {"usable_size_of_stack", noticed_at_once},
    {"usable_size_of_static", noticed_at_once},
    {"usable_size_of_foreign_map", noticed_at_once},
    {"usable_size_of_wild", noticed_at_once},
    {"usable_size_of_non_canonical", noticed_at_once},
    {"usable_size_inside_48_by_1", noticed_at_once},
    {"usable_size_inside_48_by_16", noticed_at_once},
    {"usable_size_inside_5M_by_4096", noticed_at_once},

    {"sized_free_48_as_100", noticed_if_checked},
    {"sized_free_100_as_48", noticed_if_checked},
    {"sized_free_48_as_49", noticed_if_checked},
    {"sized_free_48_as_16", noticed_if_checked},
    {"sized_free_48_as_1M", noticed_if_checked},
    {"sized_free_1M_as_48", noticed_if_checked},
    {"sized_free_5M_as_6M", noticed_if_checked},
    {"sized_free_48_as_huge", noticed_if_checked},
    {"sized_delete_48_as_100", noticed_if_checked},
    {"sized_array_delete_3000_as_100", noticed_if_checked},
    {"sized_aligned_delete_48_as_5000", noticed_if_checked},
    {"sized_aligned_free_48_as_5000", noticed_if_checked},
};

class misuse : public testing::TestWithParam<wrong_program> {};

// The lines that the program said it may end with.
std::vector<std::string> expected_lines(const child::outcome &outcome) {
    const std::string prefix = "expect ";
    std::vector<std::string> lines;
    std::istringstream stream(outcome.out);
    for (std::string line; std::getline(stream, line);) {
        if (line.compare(0, prefix.size(), prefix) == 0) {
            lines.push_back(line.substr(prefix.size()));
        }
    }
    return lines;
}

// Whether stderr is exactly one line and that line is an expected one; "..., which" is the start of several messages.
bool is_expected_message(const std::string &written, const std::vector<std::string> &expected) {
    if (written.empty() || written.find('\n') != written.size() - 1) {
        return false;
    }
    for (const std::string &line : expected) {
        const std::string unfinished = ", which";
        bool is_start = line.size() > unfinished.size() &&
                        line.compare(line.size() - unfinished.size(), unfinished.size(), unfinished) == 0;
        if (written == line + "\n" || (is_start && written.compare(0, line.size(), line) == 0)) {
            return true;
        }
    }
    return false;
}

void expect_noticed(const child::outcome &outcome, bool at_once) {
    EXPECT_EQ(outcome.signal, SIGABRT) << outcome;
    std::vector<std::string> expected = expected_lines(outcome);
    ASSERT_FALSE(expected.empty()) << "the program did not come to its wrong call: " << outcome;
    EXPECT_TRUE(is_expected_message(outcome.err, expected)) << outcome;
    if (at_once) {
        EXPECT_EQ(outcome.out.find("survived"), std::string::npos) << outcome;
    }
}

TEST_P(misuse, is_noticed) {
    if (GetParam().when == noticed_if_checked && !variant_is_debug) {
        GTEST_SKIP() << "a release build looks at sizes with check=1 only";
    }
    expect_noticed(child::run(GetParam().name), GetParam().when != noticed_when_drained);
}

TEST_P(misuse, is_noticed_at_once_if_checked) {
    expect_noticed(child::run(GetParam().name, child::with_environment({"TANDEM_OPTIONS=check=1"})), true);
}

INSTANTIATE_TEST_SUITE_P(programs, misuse, testing::ValuesIn(every_program),
                         [](const auto &each) { return std::string(each.param.name); });

}  // namespace
