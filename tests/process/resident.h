/* Figures from /proc/self/status, read without allocating. In C, since programs in C use it too. */
#ifndef TESTS_PROCESS_RESIDENT_H_
#define TESTS_PROCESS_RESIDENT_H_

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The KiB behind a name, "VmHWM:" say; -1 if there is none.
static inline long status_kib(const char *name) {
    static char text[8192];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    close(file);
    if (length < 0) {
        return -1;
    }
    text[length] = '\0';
    const char *line = strstr(text, name);
    return line == NULL ? -1 : strtol(line + strlen(name), NULL, 10);
}

#endif  // TESTS_PROCESS_RESIDENT_H_
