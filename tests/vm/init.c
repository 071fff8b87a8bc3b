#include "tests/vm/init.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vm/verdict.h"

static void mount_or_say(const char *type, const char *path) {
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        say("mkdir %s: %s", path, strerror(errno));
    if (mount(type, path, type, 0, NULL) != 0)
        say("mount %s: %s", path, strerror(errno));
}

static void wait_for(pid_t child) {
    int status = 0;
    pid_t ended = 0;
    // Process 1 inherits orphans: they end here too.
    do
        ended = waitpid(-1, &status, 0);
    while (ended != child && (ended > 0 || errno == EINTR));
    if (ended != child) {
        say("FAILED: wait: %s", strerror(errno));
    } else if (WIFSIGNALED(status)) {
        say("FAILED: killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        say("ended with status %d", WEXITSTATUS(status));
    }
}

void init_run_in_child(void) {
    if (getpid() != 1)
        return;
    mount_or_say("proc", "/proc");
    mount_or_say("sysfs", "/sys");
    pid_t child = fork();
    if (child == 0)
        return;
    if (child < 0) {
        say("FAILED: fork: %s", strerror(errno));
    } else {
        wait_for(child);
    }
    sync();
    reboot(RB_POWER_OFF);
}
