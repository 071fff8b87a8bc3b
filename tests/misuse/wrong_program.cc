#include "tests/misuse/wrong_program.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"

namespace misuse {

static void write_line(const char *text, int length) {
    if (write(STDOUT_FILENO, text, static_cast<size_t>(length)) != length) {
        _exit(125);
    }
}

void *allocate(size_t size) {
    void *object = opaque(malloc(size));
    memset(object, 0x5a, size);
    return opaque(object);
}

void expect(const char *format, ...) {
    char line[256] = "expect tandem: ";
    auto start = static_cast<int>(strlen(line));
    va_list arguments;
    va_start(arguments, format);
    int length = start + vsnprintf(line + start, sizeof line - 64, format, arguments);
    va_end(arguments);
    line[length] = '\n';
    write_line(line, length + 1);
}

void survived() {
    write_line("survived\n", 9);
}

void drain() {
    tandem_flush();
    tandem_release_memory(SIZE_MAX);
}

}  // namespace misuse
