#include "base/fatal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/minmax.h"
#include "base/text.h"

// Longer lines are cut; no message comes near.
#define LINE_BYTES 256

struct line {
    struct td_text text;
    char buffer[LINE_BYTES];
};

static void line_begin(struct line *line) {
    line->text = (struct td_text){line->buffer, LINE_BYTES - 1, 0};
    td_text_string(&line->text, "tandem: ");
}

static void line_begin_call(struct line *line, const char *call, const void *pointer) {
    line_begin(line);
    td_text_string(&line->text, call);
    td_text_string(&line->text, " of ");
    td_text_pointer(&line->text, pointer);
}

static void line_print(struct line *line) {
    size_t length = td_min(line->text.length, LINE_BYTES - 1);
    line->buffer[length] = '\n';
    td_write_stderr(line->buffer, length + 1);
}

static _Noreturn void line_print_and_abort(struct line *line) {
    line_print(line);
    td_lock_begin_bypass();
    abort();
}

void td_write_stderr(const char *text, size_t length) {
    int saved_errno = errno;
    while (length > 0) {
        // Not the C library's write: a thread that is to be cancelled would end there instead of the process.
        long written = syscall(SYS_write, STDERR_FILENO, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        text += written;
        length -= (size_t)written;
    }
    errno = saved_errno;
}

void td_fatal(const char *message) {
    struct line line;
    line_begin(&line);
    td_text_string(&line.text, message);
    line_print_and_abort(&line);
}

void td_fatal_double_free(const void *pointer, size_t object_bytes) {
    struct line line;
    line_begin_call(&line, "double free", pointer);
    td_text_string(&line.text, " (");
    td_text_decimal(&line.text, object_bytes);
    td_text_string(&line.text, "-byte object)");
    line_print_and_abort(&line);
}

void td_fatal_freed(const char *call, const void *pointer, size_t object_bytes) {
    if (strcmp(call, "malloc_usable_size") != 0)
        td_fatal_double_free(pointer, object_bytes);
    struct line line;
    line_begin_call(&line, call, pointer);
    td_text_string(&line.text, ", which is free (");
    td_text_decimal(&line.text, object_bytes);
    td_text_string(&line.text, "-byte object)");
    line_print_and_abort(&line);
}

void td_fatal_foreign(const char *call, const void *pointer) {
    struct line line;
    line_begin_call(&line, call, pointer);
    td_text_string(&line.text, ", which was not allocated here");
    line_print_and_abort(&line);
}

void td_fatal_interior(const char *call, const void *pointer, size_t object_bytes) {
    struct line line;
    line_begin_call(&line, call, pointer);
    td_text_string(&line.text, ", which points inside a ");
    td_text_decimal(&line.text, object_bytes);
    td_text_string(&line.text, "-byte object");
    line_print_and_abort(&line);
}

void td_fatal_wrong_size(const void *pointer, size_t size, size_t object_bytes) {
    struct line line;
    line_begin_call(&line, "sized free", pointer);
    td_text_string(&line.text, " with size ");
    td_text_decimal(&line.text, size);
    td_text_string(&line.text, ", but the object has ");
    td_text_decimal(&line.text, object_bytes);
    td_text_string(&line.text, " bytes");
    line_print_and_abort(&line);
}

void td_warn(const char *message) {
    struct line line;
    line_begin(&line);
    td_text_string(&line.text, message);
    line_print(&line);
}

void td_warn_unknown_option(const char *name) {
    struct line line;
    line_begin(&line);
    td_text_string(&line.text, "unknown option \"");
    td_text_string(&line.text, name);
    td_text_string(&line.text, "\" in TANDEM_OPTIONS ignored");
    line_print(&line);
}

void td_warn_bad_value(const char *value, const char *name) {
    struct line line;
    line_begin(&line);
    td_text_string(&line.text, "bad value \"");
    td_text_string(&line.text, value);
    td_text_string(&line.text, "\" for option \"");
    td_text_string(&line.text, name);
    td_text_string(&line.text, "\" in TANDEM_OPTIONS ignored");
    line_print(&line);
}
