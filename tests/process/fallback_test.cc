// Where restartable sequences or membarrier are not to be had: another mode, said so, and nothing else changes.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/process/child.h"
#include "tests/process/exercise.h"
#include "tests/process/seccomp_filter.h"
#include "gtest/gtest.h"

// glibc's, from 2.35 on.
extern "C" const unsigned int __rseq_size __attribute__((weak));

namespace {

constexpr const char *rseq_off = "GLIBC_TUNABLES=glibc.pthread.rseq=0";

void print_mode() {
    printf("%s\n%s\n%s\n", tandem_mode(), tandem_index(), tandem_mode_reason());
}

CHILD_ROLE(exercise) {
    print_mode();
    bool good = exercise_everything();
    print_mode();
    return good ? 0 : 1;
}

// The filter comes when the process is already running: its threads to come are refused what the first ones have.
// (Where glibc registers, it ends a process in which that fails later on; so only membarrier is forbidden there.)
CHILD_ROLE(exercise_before_and_after_a_filter) {
    bool good = exercise_everything();
    bool is_filtered = child::arguments()[0] == "both" ? forbid_system_calls({SYS_rseq, SYS_membarrier}, ENOSYS)
                                                       : forbid_system_calls({SYS_membarrier}, ENOSYS);
    if (!is_filtered) {
        return child::status_unprepared;
    }
    good = exercise_everything() && good;
    for (int i = 0; i < 20 && good; i++) {
        good = exercise_hand_over();
    }
    return good ? 0 : 1;
}

struct report {
    std::string mode;
    std::string index;
    std::string reason;
};

// The mode at the end, which must be the mode at the start.
report run_exercise(const std::vector<std::string> &environment, std::function<bool()> before_exec = nullptr) {
    child::settings settings;
    settings.environment = environment;
    settings.before_exec = std::move(before_exec);
    child::outcome outcome = child::run("exercise", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.err, "") << outcome;
    std::istringstream lines(outcome.out);
    report first;
    report last;
    for (report *each : {&first, &last}) {
        std::getline(lines, each->mode);
        std::getline(lines, each->index);
        std::getline(lines, each->reason);
    }
    EXPECT_EQ(first.mode, last.mode);
    EXPECT_NE(last.reason, "");
    return last;
}

bool forbid_rseq() {
    return forbid_system_calls({SYS_rseq}, EPERM);
}
bool forbid_rseq_as_an_old_kernel() {
    return forbid_system_calls({SYS_rseq}, ENOSYS);
}
bool forbid_membarrier() {
    return forbid_system_calls({SYS_membarrier}, EPERM);
}
bool forbid_membarrier_as_an_old_kernel() {
    return forbid_system_calls({SYS_membarrier}, ENOSYS);
}
bool forbid_both() {
    return forbid_system_calls({SYS_rseq, SYS_membarrier}, ENOSYS);
}

bool is_percpu() {
    return std::string(tandem_front_end()) == "percpu";
}

bool glibc_has_registered() {
    return &__rseq_size != nullptr && __rseq_size != 0;
}

// Whether the kernel knows the call at all, whoever has registered.
bool kernel_has_rseq() {
    return syscall(SYS_rseq, nullptr, 0, 0, 0) == 0 || (errno != ENOSYS && errno != EPERM);
}

// What the mode must be: the per-CPU front end's, or whatever the others have.
void expect_mode(const report &report, const char *percpu_mode) {
    EXPECT_EQ(report.mode, is_percpu() ? percpu_mode : tandem_mode()) << report.reason;
    if (std::string(percpu_mode) == "locked" && is_percpu()) {
        EXPECT_EQ(report.index, "cpu") << report.reason;
    }
}

TEST(fallback, as_things_are) {
    const char *own = kernel_has_rseq() ? "rseq (own)" : "locked";
    report report = run_exercise({"GLIBC_TUNABLES"});
    expect_mode(report, glibc_has_registered() ? "rseq (glibc)" : own);
}

TEST(fallback, glibc_does_not_register) {
    report report = run_exercise({rseq_off});
    expect_mode(report, kernel_has_rseq() ? "rseq (own)" : "locked");
}

TEST(fallback, rseq_is_forbidden) {
    expect_mode(run_exercise({}, forbid_rseq), "locked");
    expect_mode(run_exercise({}, forbid_rseq_as_an_old_kernel), "locked");
}

TEST(fallback, rseq_is_forbidden_and_glibc_does_not_try) {
    expect_mode(run_exercise({rseq_off}, forbid_rseq), "locked");
    expect_mode(run_exercise({rseq_off}, forbid_rseq_as_an_old_kernel), "locked");
}

TEST(fallback, membarrier_is_forbidden) {
    run_exercise({}, forbid_membarrier);
    run_exercise({}, forbid_membarrier_as_an_old_kernel);
    run_exercise({rseq_off}, forbid_membarrier);
}

TEST(fallback, both_are_forbidden) {
    expect_mode(run_exercise({}, forbid_both), "locked");
    expect_mode(run_exercise({rseq_off}, forbid_both), "locked");
}

TEST(fallback, membarrier_is_forbidden_while_the_process_runs) {
    child::settings settings;
    settings.arguments = {"membarrier"};
    child::outcome outcome = child::run("exercise_before_and_after_a_filter", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

TEST(fallback, both_are_forbidden_while_the_process_runs) {
    child::settings settings;
    settings.environment = {rseq_off};
    settings.arguments = {"both"};
    child::outcome outcome = child::run("exercise_before_and_after_a_filter", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

CHILD_ROLE(work_under_valgrind) {
    workload work(1, 2000);
    std::thread([] {
        workload other(2, 2000);
        if (!other.run(3000)) {
            abort();
        }
    }).join();
    print_mode();
    return work.run(3000) && exercise_fork() ? 0 : 1;
}

TEST(fallback, under_valgrind) {
    if (!child::run_program({"valgrind", "--version"}).succeeded()) {
        GTEST_SKIP() << "NOT TESTED: no valgrind here";
    }
    char self[4096] = "";
    ASSERT_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    child::outcome outcome = child::run_program({"valgrind", "--tool=none", "-q", self, "--child=work_under_valgrind"});
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

}  // namespace
