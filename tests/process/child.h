// A test program that runs itself again, as a child process in a role of its own.
//
// A child sees a fresh allocator, may be given an environment and limits that a test could not set for itself, and may
// die. Linking this library gives a test its main(): with --child=ROLE it runs that role, else googletest.
//
//     CHILD_ROLE(allocate_much) {
//         return malloc(1 << 20) == nullptr;   // the exit status
//     }
//     TEST(limits, allocate_much) {
//         child::outcome outcome = child::run("allocate_much", child::with_environment({"A=b"}));
//         EXPECT_TRUE(outcome.succeeded()) << outcome;
//     }
#ifndef TESTS_PROCESS_CHILD_H_
#define TESTS_PROCESS_CHILD_H_

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace child {

// How a child is started.
struct settings {
    std::vector<std::string> environment;  // "NAME=value", on top of the parent's; "NAME" alone removes it
    std::vector<std::string> arguments;    // behind the role's name
    std::function<bool()> before_exec;     // runs in the forked child; false: the child exits with `status_unprepared`
    unsigned seconds = 60;                 // then SIGALRM ends it
};

// The settings that change nothing but the environment.
settings with_environment(const std::vector<std::string> &environment);

// The exit status of a child whose `before_exec` said no, or that could not be executed.
constexpr int status_unprepared = 126;

// How it ended.
struct outcome {
    int status = -1;  // its exit status, -1 if a signal ended it
    int signal = 0;   // the signal that ended it, 0 if it exited
    std::string out;  // what it wrote to stdout
    std::string err;  // what it wrote to stderr

    bool succeeded() const { return status == 0; }
};

std::ostream &operator<<(std::ostream &stream, const outcome &outcome);

// Runs this program again in the role named, and waits for its end.
outcome run(const std::string &role, const settings &settings = {});

// Runs any other program, found as execvp(3) finds it; `input` is its standard input.
outcome run_program(const std::vector<std::string> &command, const std::string &input = "",
                    const settings &settings = {});

// The program of that name that is linked with the same malloc, and the shared object to preload for the same front
// end, as the build lays them out, seen from a test's working directory.
std::string program(const std::string &name);
std::string preload();

// The arguments of the role that runs now.
const std::vector<std::string> &arguments();

// What CHILD_ROLE defines, one per role; an intrusive list, so that no registration allocates.
class role {
  public:
    using function = int (*)();

    role(const char *role_name, function role_function) : name_(role_name), function_(role_function), next_(first_) {
        first_ = this;
    }

    // The function of the role that is called so, or nullptr.
    static function find(const std::string &wanted);

  private:
    const char *name_;
    function function_;
    const role *next_;
    static const role *first_;
};

}  // namespace child

#define CHILD_ROLE(name)                                                                                               \
    static int child_role_##name();                                                                                    \
    static const child::role child_role_registered_##name{#name, child_role_##name};                                   \
    static int child_role_##name()

#endif  // TESTS_PROCESS_CHILD_H_
