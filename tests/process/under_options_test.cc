// Everything that a program does, under each of TANDEM_OPTIONS' values.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/process/child.h"
#include "tests/process/exercise.h"
#include "tests/process/seccomp_filter.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

class under_options : public testing::TestWithParam<const char *> {};

CHILD_ROLE(exercise_under_options) {
    return exercise_everything() ? 0 : 1;
}

TEST_P(under_options, everything_works) {
    const std::string options = std::string("TANDEM_OPTIONS=") + GetParam();
    child::outcome outcome = child::run("exercise_under_options", child::with_environment({options}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.err, "") << outcome;
}

INSTANTIATE_TEST_SUITE_P(each, under_options,
                         testing::Values("check=1", "decay_ms=0", "decay_ms=3600000", "hugepages=always",
                                         "hugepages=never", "background_thread=1", "background_thread=1,decay_ms=0",
                                         "background_thread=1,check=1,hugepages=always,decay_ms=10"));

uint64_t purged_bytes() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats.purged_bytes;
}

// Frees much and then never calls the allocator again.
CHILD_ROLE(free_much_and_sleep) {
    std::vector<void *> objects(20000);
    for (void *&object : objects) {
        object = opaque(malloc(3000));
        memset(object, 1, 3000);
    }
    for (void *object : objects) {
        free(object);
    }
    for (int i = 0; i < 2000 && purged_bytes() < 40000000; i++) {
        usleep(10000);
    }
    return purged_bytes() < 40000000;
}

TEST(background_thread, gives_memory_back_while_the_program_sleeps) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "Tandem's own";
    }
    child::outcome outcome =
        child::run("free_much_and_sleep", child::with_environment({"TANDEM_OPTIONS=background_thread=1,decay_ms=100"}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

size_t thread_count() {
    auto tasks = std::filesystem::directory_iterator("/proc/self/task");
    return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

CHILD_ROLE(wait_to_be_alone) {
    for (int i = 0; i < 100000 && thread_count() > 1; i++) {
        sched_yield();
    }
    return thread_count() == 1 ? 0 : 1;
}

TEST(background_thread, ends_where_it_may_not_sleep) {
    child::settings settings = child::with_environment({"TANDEM_OPTIONS=background_thread=1"});
    settings.before_exec = [] { return forbid_system_calls({SYS_clock_nanosleep}, EPERM); };
    child::outcome outcome = child::run("wait_to_be_alone", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

}  // namespace
