// Starts SCRIPT, Python in this folder, from Bazel's runfiles. A C program and no sh_binary, since Bazel 9 has no such
// rule of its own.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_OF(name) #name
#define FILE_NAMED(name) "benchmarks/reporter/" TEXT_OF(name)

static const char script[] = FILE_NAMED(SCRIPT);

// Changes to the runfiles' root, in which `bazel run` starts a program anyway; 0 or -1.
static int enter_runfiles(void) {
    static const char *const workspaces[] = {"_main", "tandem"};
    if (access(script, R_OK) == 0) {
        return 0;
    }
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) {
        return -1;
    }
    self[length] = '\0';
    for (size_t i = 0; i < sizeof workspaces / sizeof *workspaces; i++) {
        char root[4200];
        snprintf(root, sizeof root, "%s.runfiles/%s", self, workspaces[i]);
        if (chdir(root) == 0 && access(script, R_OK) == 0) {
            return 0;
        }
    }
    return -1;
}

int main(int argc, char **argv) {
    char folder[4096];
    if (getenv("BUILD_WORKING_DIRECTORY") == NULL && getcwd(folder, sizeof folder) != NULL) {
        setenv("BUILD_WORKING_DIRECTORY", folder, 1);  // as `bazel run` does
    }
    if (enter_runfiles() != 0) {
        fprintf(stderr, "%s: %s is not beside it; use bazel run\n", argv[0], script);
        return 1;
    }
    char **const arguments = calloc((size_t)argc + 2, sizeof *arguments);
    if (arguments == NULL) {
        return 1;
    }
    arguments[0] = (char *)"python3";
    arguments[1] = (char *)script;
    for (int i = 1; i < argc; i++) {
        arguments[i + 1] = argv[i];
    }
    execvp("python3", arguments);
    fprintf(stderr, "%s: python3 could not be started; is it installed?\n", argv[0]);
    return 1;
}
