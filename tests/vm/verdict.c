#include "tests/vm/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

__attribute__((format(printf, 2, 0))) static void print_line(const char *prefix, const char *format,
                                                             va_list arguments) {
    char line[LINE_BYTES];
    int start = snprintf(line, sizeof(line), "%s", prefix);
    int room = LINE_BYTES - 1 - start;
    int length = vsnprintf(line + start, (size_t)room, format, arguments);
    int end = start + (length < room ? length : room - 1);
    line[end] = '\n';
    ssize_t written = write(STDOUT_FILENO, line, (size_t)end + 1);
    (void)written;
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line("stress: ", format, arguments);
    va_end(arguments);
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line("stress: FAILED: ", format, arguments);
    va_end(arguments);
    _exit(1);
}
