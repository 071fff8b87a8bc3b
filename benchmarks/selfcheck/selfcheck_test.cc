// The workloads themselves: each ends well with a right allocator and says where its malloc came from; each ends with
// "mismatch" and exit code 1 with a wrong one. And what compares whole programs.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmath>
#include <regex>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace {

struct outcome {
    int exit_code;
    std::string output;  // stdout and stderr
};

outcome run(const std::string &command) {
    outcome found = {-1, ""};
    FILE *const pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) {
        return found;
    }
    char text[4096];
    size_t length;
    while ((length = fread(text, 1, sizeof text, pipe)) > 0) {
        found.output.append(text, length);
    }
    const int status = pclose(pipe);
    found.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    return found;
}

struct workload {
    const char *name;
    const char *flags;  // little work
};

const workload workloads[] = {
    {"burst", "--threads=2 --peak_mib=8 --trough_ms=20"},
    {"cache_scratch", "--threads=4 --iterations=20000 --writes=10 --size=64"},
    {"churn", "--threads=2 --operations=20000 --live_mib=2"},
    {"fastpath", "--operations=1280 --repetitions=2"},
    {"large", "--threads=2 --operations=1000 --max_size=131072"},
    {"latency", "--threads=4 --operations=20000 --live=1000"},
    {"mpsc", "--threads=4 --operations=20000"},
    {"mstress", "--threads=4 --operations=20000 --live=1000 --max_size=4096"},
    {"pipeline", "--threads=2 --operations=20000"},
    {"server", "--threads=4 --requests=400 --requests_per_thread=50"},
    {"threads", "--short_threads=40 --idle_threads=10 --objects=1000"},
};

class Workloads : public testing::TestWithParam<workload> {
  protected:
    static std::string command(const std::string &variant) {
        return std::string("benchmarks/") + GetParam().name + "_" + variant + " " + GetParam().flags;
    }

    static void expect_success(const std::string &variant) {
        const outcome found = run(command(variant));
        EXPECT_EQ(found.exit_code, 0) << found.output;
        EXPECT_EQ(found.output.find("{\"workload\": \"" + std::string(GetParam().name) + "\""), 0u) << found.output;
        EXPECT_NE(found.output.find("\"wall_s\": "), std::string::npos) << found.output;
        EXPECT_EQ(found.output.find("\"operations\": 0,"), std::string::npos) << found.output;
        EXPECT_EQ(found.output.back(), '\n');
        EXPECT_EQ(found.output.find('\n'), found.output.size() - 1) << "more than one line: " << found.output;
    }

    static void expect_mismatch(const std::string &how) {
        const outcome found =
            run("BROKEN_MALLOC=" + how + " LD_PRELOAD=$PWD/benchmarks/libbroken_malloc.so " + command("system"));
        EXPECT_EQ(found.exit_code, 1) << found.output;
        EXPECT_NE(found.output.find(std::string(GetParam().name) + ": mismatch: "), std::string::npos) << found.output;
    }
};

TEST_P(Workloads, EndWellWithTheSystemsMalloc) {
    expect_success("system");
    EXPECT_NE(run(command("system")).output.find("\"malloc\": \"libc.so"), std::string::npos);
}

TEST_P(Workloads, EndWellLinkedWithThePerCpuFrontEnd) {
    expect_success("percpu");
}

TEST_P(Workloads, EndWellLinkedWithThePerThreadFrontEnd) {
    expect_success("perthread");
}

TEST_P(Workloads, NoticeAnObjectWithTwoOwners) {
    expect_mismatch("twice");
}

TEST_P(Workloads, NoticeObjectsThatOverlap) {
    expect_mismatch("overlap");
}

TEST_P(Workloads, RefuseAFlagOutOfRange) {
    const std::string flag = std::string(GetParam().name) == "fastpath" ? "repetitions" : "threads";
    const outcome found = run(std::string("benchmarks/") + GetParam().name + "_system --" + flag + "=0");
    EXPECT_EQ(found.exit_code, 2) << found.output;
    EXPECT_NE(found.output.find("--" + flag + " is 0, must be between 1 and "), std::string::npos) << found.output;
}

// An empty line before each repetition of a kernel, and nothing more until a line is read.
TEST(FastpathInTurns, WaitsForALineBeforeEachRepetition) {
    const std::string command = "benchmarks/fastpath_system --operations=128 --repetitions=1 --in_turns";
    const outcome alone = run(command + " </dev/null");
    EXPECT_EQ(alone.exit_code, 2) << alone.output;
    EXPECT_EQ(alone.output, "\nfastpath: stdin ended where --in_turns waits for a line\n");

    const outcome served = run("yes '' | " + command);
    EXPECT_EQ(served.exit_code, 0) << served.output;
    const size_t turns = served.output.find('{');
    ASSERT_NE(turns, std::string::npos) << served.output;
    EXPECT_EQ(served.output.substr(0, turns), std::string(turns, '\n'));
    size_t kernels = 0;
    for (size_t at = turns; (at = served.output.find("\"kernel\"", at)) != std::string::npos; at++) {
        kernels++;
    }
    EXPECT_EQ(turns, kernels);
}

class SideBySide : public testing::Test {
  protected:
    static outcome compare(const std::string &flags, const std::string &program) {
        return run("benchmarks/side_by_side --allocators=percpu,perthread " + flags + " -- " + program);
    }

    static void expect_failure(const std::string &flags, const std::string &program, const std::string &message) {
        const outcome found = compare(flags, program);
        EXPECT_EQ(found.exit_code, 1) << found.output;
        EXPECT_NE(found.output.find("side_by_side: " + message), std::string::npos) << found.output;
    }
};

TEST_F(SideBySide, ListsEachAllocatorWithWhatItTook) {
    const outcome found = compare("--runs=2", "benchmarks/mpsc_system --threads=2 --operations=200000");
    EXPECT_EQ(found.exit_code, 0) << found.output;
    EXPECT_NE(found.output.find("round 2 of 2: "), std::string::npos) << found.output;
    for (const char *const allocator : {"\nTandem per-CPU ", "\nTandem per-thread ", " 1.000 "}) {
        EXPECT_NE(found.output.find(allocator), std::string::npos) << allocator << " is missing: " << found.output;
    }
}

// What says that it did a hundred times as much costs far less, whatever CPU time it took.
TEST_F(SideBySide, ComparesForEachUnitOfARate) {
    const std::string program = "/bin/sh -c 'case $LD_PRELOAD in *percpu*) done=5;; *) done=500;; esac; i=0;"
                                " while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done: $done units'";
    const outcome found = compare("--runs=3 --rate='^done: ([0-9]+) '", program);
    EXPECT_EQ(found.exit_code, 0) << found.output;
    std::smatch match;
    ASSERT_TRUE(std::regex_search(found.output, match,
                                  std::regex("Tandem per-thread.* s +1\\.000 .* 500\n"
                                             "Tandem per-CPU.* s +([0-9.]+) +[0-9.]+ to .* 5\n")))
        << found.output;
    EXPECT_GT(std::stod(match[1]), 10);
    for (const char *const rate : {"'^did: (.*)'", "'^done: (x)?'", "'^(done): '"}) {
        const outcome failed = compare(std::string("--runs=1 --rate=") + rate, program);
        EXPECT_EQ(failed.exit_code, 1) << failed.output;
        EXPECT_NE(failed.output.find(" the program printed no number above 0 where --rate looks"), std::string::npos)
            << failed.output;
    }
}

// The means are those of the tables before: of the ratios to the best, and to the best of the others.
TEST_F(SideBySide, MeansOfWorkloads) {
    const outcome found =
        run("benchmarks/side_by_side --allocators=percpu,glibc --runs=1 --workloads=mpsc --threads=1,2");
    EXPECT_EQ(found.exit_code, 0) << found.output;
    const std::string row = " +[0-9.]+ s +([0-9.]+) ";
    double to_best = 1, to_other = 1;
    for (const char *const threads : {"1", "2"}) {
        const std::string table = found.output.substr(found.output.find(std::string("mpsc, ") + threads));
        std::smatch own, other;
        ASSERT_TRUE(std::regex_search(table, own, std::regex("Tandem per-CPU" + row))) << found.output;
        ASSERT_TRUE(std::regex_search(table, other, std::regex("glibc [0-9.]+" + row))) << found.output;
        to_best *= std::stod(own[1]);
        to_other *= std::stod(own[1]) / std::stod(other[1]);
    }
    std::smatch means;
    ASSERT_TRUE(std::regex_search(found.output, means,
                                  std::regex("CPU time, to the best +percpu +glibc\n"
                                             "mpsc +([0-9.]+) +[0-9.]+\n"
                                             "all +([0-9.]+) +[0-9.]+\n"
                                             "all, to the best peer +([0-9.]+)\n")))
        << found.output;
    EXPECT_NEAR(std::stod(means[1]), std::sqrt(to_best), 0.01) << found.output;
    EXPECT_EQ(means[1], means[2]) << found.output;
    EXPECT_NEAR(std::stod(means[3]), std::sqrt(to_other), 0.01) << found.output;
}

TEST_F(SideBySide, GivesTheProgramItsCPUs) {
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    std::string all;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            all += (all.empty() ? "" : ",") + std::to_string(cpu);
        }
    }
    for (const auto &[flags, cpus] :
         {std::pair(std::string("--runs=1"), 1), {"--runs=1 --cpu=" + all, CPU_COUNT(&set)}}) {
        const outcome found = compare(flags, "/bin/sh -c '[ $(nproc) = " + std::to_string(cpus) + " ]'");
        EXPECT_EQ(found.exit_code, 0) << found.output;
    }
}

TEST_F(SideBySide, GivesTheProgramItsInputAndEnvironment) {
    const std::string program = R"(/bin/sh -c '[ "$(cat)$WORD" = "from a file, from --env" ]')";
    const std::string input = testing::TempDir() + "/input";
    run("printf 'from a file, ' >" + input);
    const outcome found = compare("--runs=1 --env=WORD='from --env' --input=" + input, program);
    EXPECT_EQ(found.exit_code, 0) << found.output;
}

TEST_F(SideBySide, SaysHowAProgramFailed) {
    for (const char *const allocator : {"percpu", "perthread"}) {
        const std::string program = std::string("/bin/sh -c 'case $LD_PRELOAD in *") + allocator +
                                    "*) echo first >&2; echo why >&2; exit 3; esac'";
        expect_failure("", program,
                       std::string("with ") + allocator + " the program exited with 3, and said at last: why");
    }
}

TEST_F(SideBySide, EndsWhatTakesTooLong) {
    expect_failure("--timeout=0.5", "/bin/sh -c 'sleep 1000; true'", "a round takes more than 0.5 s");
}

TEST_F(SideBySide, RefusesWhatItCannotDo) {
    expect_failure("", "benchmarks/none_such", "there is no program benchmarks/none_such");
    expect_failure("--env=LD_PRELOAD=x.so", "true", "--env=LD_PRELOAD=x.so: --peer is for what is to be preloaded");
    expect_failure("--input=/none/such", "true", "--input=/none/such: cannot be read");
    expect_failure("--workloads=mpsc", "true", "takes either a program or --workloads");
    expect_failure("", "", "takes either a program or --workloads");
    expect_failure("--workloads=mpsc --rate='(x)'", "", "--rate is for a program");
    expect_failure("--threads=2", "true", "--threads is for --workloads");
    expect_failure("--workloads=fastpath", "", "no workload \"fastpath\"; there are mstress, ");
    for (const char *const refused : {"--cpu=100000", "--cpu=0,x", "'--rate=('", "--rate=none"}) {
        const outcome found = compare(refused, "true");
        EXPECT_EQ(found.exit_code, 2) << found.output;
        EXPECT_NE(found.output.find("side_by_side: error: argument --"), std::string::npos) << found.output;
    }
}

INSTANTIATE_TEST_SUITE_P(All, Workloads, testing::ValuesIn(workloads),
                         [](const testing::TestParamInfo<workload> &tested) { return std::string(tested.param.name); });

}  // namespace
