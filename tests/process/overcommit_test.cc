// vm.overcommit_memory=2: the kernel counts every private writable page that is mapped, used or not.
//
// The setting is the whole machine's. It is changed for a second or two if that is allowed, with a limit so high that
// nobody else feels it, and put back even if this test dies.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/process/child.h"
#include "tests/process/workload.h"
#include "gtest/gtest.h"

namespace {

constexpr const char *mode_file = "/proc/sys/vm/overcommit_memory";
constexpr const char *ratio_file = "/proc/sys/vm/overcommit_ratio";

std::string read_setting(const char *path) {
    char text[32] = "";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    close(file);
    return std::string(text, length > 0 ? static_cast<size_t>(length) : 0);
}

bool write_setting(const char *path, const std::string &value) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool written = file >= 0 && write(file, value.data(), value.size()) == static_cast<ssize_t>(value.size());
    close(file);
    return written;
}

// While one lives, the kernel is in mode 2. A guardian process restores the settings as soon as the test's end of the
// pipe is closed, for whatever reason.
class strict_overcommit {
  public:
    strict_overcommit() : mode_(read_setting(mode_file)), ratio_(read_setting(ratio_file)) {
        if (mode_.substr(0, 1) == "2") {
            is_strict_ = true;
            return;
        }
        if (pipe2(pipe_, O_CLOEXEC) != 0) {
            return;
        }
        guardian_ = fork();
        if (guardian_ == 0) {
            guard();
        }
        close(pipe_[0]);
        is_strict_ = write_setting(ratio_file, "1000\n") && write_setting(mode_file, "2\n");
    }
    ~strict_overcommit() {
        if (guardian_ > 0) {
            close(pipe_[1]);
            waitpid(guardian_, nullptr, 0);
        }
    }
    strict_overcommit(const strict_overcommit &) = delete;
    strict_overcommit &operator=(const strict_overcommit &) = delete;

    bool is_strict() const { return is_strict_; }

  private:
    [[noreturn]] void guard() {
        setsid();
        close(pipe_[1]);
        char byte;
        while (read(pipe_[0], &byte, 1) > 0) {
        }
        write_setting(mode_file, mode_);
        write_setting(ratio_file, ratio_);
        _exit(0);
    }

    const std::string mode_;
    const std::string ratio_;
    int pipe_[2] = {-1, -1};
    pid_t guardian_ = -1;
    bool is_strict_ = false;
};

CHILD_ROLE(work_in_threads) {
    std::thread other([] {
        workload work(2);
        if (!work.run(20000)) {
            abort();
        }
    });
    workload work(1, 3000000);
    bool whole = work.run(1000);
    other.join();
    return !whole || !work.free_all();
}

TEST(overcommit, strict) {
    const std::string mode_before = read_setting(mode_file);
    {
        strict_overcommit strict;
        if (!strict.is_strict()) {
            GTEST_SKIP() << "NOT TESTED: " << mode_file << " cannot be set here";
        }
        for (int i = 0; i < 5; i++) {
            child::outcome outcome = child::run("work_in_threads");
            EXPECT_TRUE(outcome.succeeded()) << outcome;
        }
    }
    EXPECT_EQ(read_setting(mode_file), mode_before);
}

}  // namespace
