#include "tests/process/child.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ostream>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/process/seccomp_filter.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace child {

const role *role::first_ = nullptr;

role::function role::find(const std::string &wanted) {
    for (const role *each = first_; each != nullptr; each = each->next_) {
        if (wanted == each->name_) {
            return each->function_;
        }
    }
    return nullptr;
}

namespace {

const std::string role_flag = "--child=";

std::vector<std::string> &mutable_arguments() {
    static std::vector<std::string> list;
    return list;
}

// A pipe whose ends close themselves.
struct pipe_ends {
    int reader = -1;
    int writer = -1;

    pipe_ends() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) == 0) {
            reader = ends[0];
            writer = ends[1];
        }
    }
    pipe_ends(const pipe_ends &) = delete;
    pipe_ends &operator=(const pipe_ends &) = delete;
    ~pipe_ends() {
        close_end(&reader);
        close_end(&writer);
    }

    static void close_end(int *end) {
        if (*end >= 0) {
            close(*end);
        }
        *end = -1;
    }
};

void apply_environment(const std::vector<std::string> &environment) {
    for (const std::string &entry : environment) {
        size_t equals = entry.find('=');
        if (equals == std::string::npos) {
            unsetenv(entry.c_str());
        } else {
            setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
        }
    }
}

[[noreturn]] void execute(const std::vector<std::string> &command, const settings &settings) {
    std::vector<char *> words;
    for (const std::string &word : command) {
        words.push_back(const_cast<char *>(word.c_str()));
    }
    words.push_back(nullptr);
    apply_environment(settings.environment);
    alarm(settings.seconds);
    if (!settings.before_exec || settings.before_exec()) {
        execvp(words[0], words.data());
    }
    _exit(status_unprepared);
}

// Feeds `input` and reads both outputs until the child has closed them.
void converse(pipe_ends *in, pipe_ends *out, pipe_ends *err, const std::string &input, outcome *outcome) {
    size_t written = 0;
    fcntl(in->writer, F_SETFL, O_NONBLOCK);
    while (out->reader >= 0 || err->reader >= 0) {
        if (written == input.size()) {
            pipe_ends::close_end(&in->writer);
        }
        struct pollfd polled[3] = {{out->reader, POLLIN, 0}, {err->reader, POLLIN, 0}, {in->writer, POLLOUT, 0}};
        if (poll(polled, 3, -1) < 0 && errno != EINTR) {
            return;
        }
        char buffer[4096];
        for (int i = 0; i < 2; i++) {
            if (polled[i].revents == 0) {
                continue;
            }
            pipe_ends *source = i == 0 ? out : err;
            ssize_t count = read(source->reader, buffer, sizeof buffer);
            if (count > 0) {
                (i == 0 ? outcome->out : outcome->err).append(buffer, static_cast<size_t>(count));
            } else {
                pipe_ends::close_end(&source->reader);
            }
        }
        if (polled[2].revents != 0) {
            ssize_t count = write(in->writer, input.data() + written, input.size() - written);
            written = count > 0 ? written + static_cast<size_t>(count) : input.size();
        }
    }
}

outcome run_command(const std::vector<std::string> &command, const std::string &input, const settings &settings) {
    pipe_ends in;
    pipe_ends out;
    pipe_ends err;
    outcome outcome;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in.reader, STDIN_FILENO);
        dup2(out.writer, STDOUT_FILENO);
        dup2(err.writer, STDERR_FILENO);
        execute(command, settings);
    }
    pipe_ends::close_end(&in.reader);
    pipe_ends::close_end(&out.writer);
    pipe_ends::close_end(&err.writer);
    if (pid < 0) {
        outcome.err = std::string("fork: ") + strerror(errno);
        return outcome;
    }
    converse(&in, &out, &err, input, &outcome);
    int wait_status = 0;
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(wait_status)) {
        outcome.status = WEXITSTATUS(wait_status);
    } else if (WIFSIGNALED(wait_status)) {
        outcome.signal = WTERMSIG(wait_status);
    }
    return outcome;
}

}  // namespace

std::ostream &operator<<(std::ostream &stream, const outcome &outcome) {
    if (outcome.signal != 0) {
        stream << "the child was ended by signal " << outcome.signal << " (" << strsignal(outcome.signal) << ")";
    } else {
        stream << "the child exited with status " << outcome.status;
    }
    return stream << "\nstdout: " << outcome.out << "\nstderr: " << outcome.err;
}

settings with_environment(const std::vector<std::string> &environment) {
    settings settings;
    settings.environment = environment;
    return settings;
}

outcome run(const std::string &role, const settings &settings) {
    std::vector<std::string> command = {"/proc/self/exe", role_flag + role};
    command.insert(command.end(), settings.arguments.begin(), settings.arguments.end());
    return run_command(command, "", settings);
}

outcome run_program(const std::vector<std::string> &command, const std::string &input, const settings &settings) {
    return run_command(command, input, settings);
}

std::string program(const std::string &name) {
    return "tests/process/" + name + "_" + (variant_is_tandem ? variant_front_end : "system");
}

std::string preload() {
    return std::string("allocator/libtandem_") + variant_front_end + ".so";
}

const std::vector<std::string> &arguments() {
    return mutable_arguments();
}

// What main() does when the first argument names a role.
static int run_role(const std::string &name, int argc, char **argv) {
    role::function function = role::find(name);
    if (function == nullptr) {
        return status_unprepared;
    }
    mutable_arguments().assign(argv + 2, argv + argc);
    return function();
}

}  // namespace child

// With TEST_FORBID_RSEQ set, this program runs again where rseq(2) fails, so that every thread of it, the first one
// too, has to do without. The variable goes, the filter stays.
static void forbid_rseq_if_asked(char **argv) {
    if (getenv("TEST_FORBID_RSEQ") == nullptr) {
        return;
    }
    unsetenv("TEST_FORBID_RSEQ");
    if (!forbid_system_calls({SYS_rseq}, ENOSYS)) {
        perror("seccomp");
        exit(child::status_unprepared);
    }
    execv("/proc/self/exe", argv);
    perror("execv");
    exit(child::status_unprepared);
}

// A test that is stamped for a mode of its own (stamped.bzl) must really be in that mode.
static void expect_mode_if_asked() {
    const char *expected = getenv("TEST_EXPECT_MODE");
    if (expected != nullptr && strcmp(expected, tandem_mode()) != 0) {
        fprintf(stderr, "expected the mode \"%s\", found \"%s\": %s\n", expected, tandem_mode(), tandem_mode_reason());
        exit(child::status_unprepared);
    }
    unsetenv("TEST_EXPECT_MODE");
}

int main(int argc, char **argv) {
    if (argc > 1 && strncmp(argv[1], child::role_flag.c_str(), child::role_flag.size()) == 0) {
        return child::run_role(argv[1] + child::role_flag.size(), argc, argv);
    }
    forbid_rseq_if_asked(argv);
    expect_mode_if_asked();
    signal(SIGPIPE, SIG_IGN);
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
