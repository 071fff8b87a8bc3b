// run_once INPUT OUTPUT PROGRAM ARGUMENT...: runs the program with INPUT as its standard input and OUTPUT, a file, as
// its standard output, and prints what it took: seconds of CPU time of the user and the system, the peak resident set
// in KiB, page faults, and its exit code, or 128 and the signal's number. PRELOAD is its LD_PRELOAD.
//
// A program of its own, since a process counts what its parent had resident before exec as its own peak.
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_START = 127 };

static double seconds(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static void become(const char *input, const char *output, char **program) {
    const int in = open(input, O_RDONLY);
    const int out = open(output, O_WRONLY);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0) {
        return;
    }
    const char *const preload = getenv("PRELOAD");
    if (preload != NULL && setenv("LD_PRELOAD", preload, 1) != 0) {
        return;
    }
    unsetenv("PRELOAD");
    execvp(program[0], program);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s INPUT OUTPUT PROGRAM ARGUMENT...\n", argv[0]);
        return 2;
    }
    const pid_t child = fork();
    if (child == 0) {
        become(argv[1], argv[2], argv + 3);
        _exit(CANNOT_START);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror(argv[0]);
        return 1;
    }
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    printf("%.6f %.6f %ld %ld %d\n", seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt,
           code);
    return 0;
}
