// TANDEM_OPTIONS: what is said of bad ones, and that good ones do something.
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/api/every_allocation.h"
#include "tests/process/child.h"
#include "gtest/gtest.h"

namespace {

CHILD_ROLE(allocate_a_little) {
    for (size_t size : {10, 1000, 100000}) {
        void *object = opaque(malloc(size));
        fill_pattern(object, size, 1);
        free(object);
    }
    return 0;
}

child::outcome run_with_options(const std::string &options) {
    return child::run("allocate_a_little", child::with_environment({"TANDEM_OPTIONS=" + options}));
}

std::string unknown(const std::string &name) {
    return "tandem: unknown option \"" + name + "\" in TANDEM_OPTIONS ignored\n";
}

std::string bad_value(const std::string &name, const std::string &value) {
    return "tandem: bad value \"" + value + "\" for option \"" + name + "\" in TANDEM_OPTIONS ignored\n";
}

class options : public testing::Test {
    void SetUp() override {
        if (!variant_is_tandem) {
            GTEST_SKIP() << "Tandem's own";
        }
    }
};

void expect_message(const std::string &given, const std::string &message) {
    child::outcome outcome = run_with_options(given);
    EXPECT_TRUE(outcome.succeeded()) << given << ": " << outcome;
    EXPECT_EQ(outcome.err, message) << given;
    EXPECT_EQ(outcome.out, "") << given;
}

TEST_F(options, none_and_good_ones_say_nothing) {
    for (const char *given :
         {"", "decay_ms=0", "decay_ms=1", "decay_ms=10000", "hugepages=auto", "hugepages=never", "hugepages=always",
          "background_thread=0", "background_thread=1", "check=0", "check=1", "decay_ms=500,check=1,hugepages=never"}) {
        expect_message(given, "");
    }
    child::outcome outcome = child::run("allocate_a_little", child::with_environment({"TANDEM_OPTIONS"}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.err, "");
}

TEST_F(options, unknown_names_are_reported) {
    expect_message("nonsense=1", unknown("nonsense"));
    expect_message("Check=1", unknown("Check"));
    expect_message("chec=1", unknown("chec"));
    expect_message("checks=1", unknown("checks"));
    expect_message("=1", unknown(""));
}

TEST_F(options, bad_values_are_reported) {
    const std::pair<const char *, const char *> bad[] = {
        {"decay_ms", "soon"},
        {"decay_ms", "-1"},
        {"decay_ms", ""},
        {"decay_ms", "1x"},
        {"decay_ms", "1.5"},
        {"decay_ms", " 1"},
        {"decay_ms", "9999999999999999999999999"},
        {"hugepages", "yes"},
        {"hugepages", ""},
        {"hugepages", "Always"},
        {"hugepages", "autos"},
        {"check", "2"},
        {"check", "yes"},
        {"check", ""},
        {"check", "01"},
        {"stats", "1"},
        {"stats", "exi"},
        {"background_thread", "true"},
    };
    for (const auto &[name, value] : bad) {
        expect_message(std::string(name) + "=" + value, bad_value(name, value));
    }
}

TEST_F(options, a_bad_one_does_not_spoil_the_others) {
    expect_message("bogus=1,decay_ms=5,hugepages=maybe,check=1,also_bogus=",
                   unknown("bogus") + bad_value("hugepages", "maybe") + unknown("also_bogus"));
    child::outcome outcome = run_with_options("bogus=1,stats=exit,check=9");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    const std::string messages = unknown("bogus") + bad_value("check", "9");
    ASSERT_EQ(outcome.err.substr(0, messages.size()), messages) << outcome;
    EXPECT_NE(outcome.err.find(tandem_front_end(), messages.size()), std::string::npos) << outcome;
}

TEST_F(options, a_bad_value_leaves_an_earlier_good_one) {
    child::outcome outcome = run_with_options("stats=exit,stats=never");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    const std::string message = bad_value("stats", "never");
    ASSERT_EQ(outcome.err.substr(0, message.size()), message) << outcome;
    EXPECT_NE(outcome.err.find(tandem_front_end(), message.size()), std::string::npos) << outcome;
}

TEST_F(options, a_very_long_one_is_cut_or_reported_but_does_no_harm) {
    child::outcome outcome = run_with_options(std::string(50000, 'x') + "=" + std::string(50000, 'y'));
    EXPECT_TRUE(outcome.succeeded()) << outcome.status << ' ' << outcome.signal;
    EXPECT_EQ(outcome.err.substr(0, 26), "tandem: unknown option \"xx");
    EXPECT_EQ(outcome.err.back(), '\n');
}

TEST_F(options, a_value_is_not_taken_for_what_is_left_when_it_is_cut) {
    const std::string zeros(63, '0');
    expect_message("decay_ms=" + zeros + "4000", bad_value("decay_ms", zeros));
}

TEST_F(options, stats_at_exit) {
    child::outcome outcome = run_with_options("stats=exit");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.rfind("process ", 0), 0u) << outcome;
    EXPECT_LT(outcome.err.find("):\ntandem "), outcome.err.find('\n')) << outcome;
    for (const char *part : {tandem_version(), tandem_front_end(), tandem_mode()}) {
        EXPECT_NE(outcome.err.find(part), std::string::npos) << '"' << part << "\" is missing: " << outcome;
    }
    EXPECT_EQ(outcome.err.back(), '\n');
}

CHILD_ROLE(write_to_a_file_as_descriptor_2) {
    int file = open(child::arguments()[0].c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return file == STDERR_FILENO && write(file, "data", 4) == 4 ? 0 : 1;
}

TEST_F(options, no_stats_in_a_file_that_a_program_without_stderr_opens) {
    const std::string path = testing::TempDir() + "options_test_" + std::to_string(getpid());
    child::settings settings = child::with_environment({"TANDEM_OPTIONS=stats=exit"});
    settings.arguments = {path};
    settings.before_exec = [] { return close(STDERR_FILENO) == 0; };
    child::outcome outcome = child::run("write_to_a_file_as_descriptor_2", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    struct stat file = {};
    EXPECT_EQ(stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_size, 4);
    unlink(path.c_str());
}

CHILD_ROLE(exit_at_once) {
    _exit(7);
}

TEST_F(options, no_stats_when_the_program_leaves_by_underscore_exit) {
    child::outcome outcome = child::run("exit_at_once", child::with_environment({"TANDEM_OPTIONS=stats=exit"}));
    EXPECT_EQ(outcome.status, 7) << outcome;
    EXPECT_EQ(outcome.err, "");
}

CHILD_ROLE(free_much_and_wait) {
    std::vector<void *> objects;
    for (int i = 0; i < 20000; i++) {
        objects.push_back(opaque(malloc(3000)));
        memset(objects.back(), 1, 3000);
    }
    for (void *object : objects) {
        free(object);
    }
    tandem_flush();
    // Two seconds in which only the odd allocation gives the allocator a chance to purge.
    struct tandem_stats stats;
    for (int i = 0; i < 200; i++) {
        usleep(10000);
        void *object = opaque(malloc(200000));
        free(object);
    }
    tandem_get_stats(&stats, sizeof stats);
    printf("%llu\n", static_cast<unsigned long long>(stats.purged_bytes));
    return 0;
}

TEST_F(options, decay_ms_sets_how_soon_memory_is_given_back) {
    child::outcome soon = child::run("free_much_and_wait", child::with_environment({"TANDEM_OPTIONS=decay_ms=50"}));
    child::outcome late =
        child::run("free_much_and_wait", child::with_environment({"TANDEM_OPTIONS=decay_ms=1000000"}));
    ASSERT_TRUE(soon.succeeded()) << soon;
    ASSERT_TRUE(late.succeeded()) << late;
    EXPECT_GE(std::stoull(soon.out), 40000000u);
    EXPECT_LE(std::stoull(late.out), 4000000u);
}

}  // namespace
