#define _GNU_SOURCE
#include "allocator/options.h"

#include <stdlib.h>
#include <string.h>

#include "allocator/allocate.h"
#include "backend/backend.h"
#include "backend/os.h"
#include "base/fatal.h"
#include "base/minmax.h"

// Longer names and values are not options of ours.
#define WORD_BYTES 64

struct td_options td_options;

bool td_is_checked;

static bool parse_number(const char *text, uint64_t *number) {
    if (*text == '\0')
        return false;
    for (*number = 0; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || *number > UINT32_MAX)
            return false;
        *number = *number * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

// A bad value changes nothing.
static bool parse_switch(const char *text, bool *is_on) {
    bool is_one = strcmp(text, "1") == 0;
    if (!is_one && strcmp(text, "0") != 0)
        return false;
    *is_on = is_one;
    return true;
}

static bool apply_stats(const char *value) {
    bool is_exit = strcmp(value, "exit") == 0;
    td_options.prints_stats_at_exit = td_options.prints_stats_at_exit || is_exit;
    return is_exit;
}

static bool apply_decay_ms(const char *value) {
    uint64_t decay_ms;
    bool is_number = parse_number(value, &decay_ms);
    if (is_number)
        td_backend_set_decay_ms(decay_ms);
    return is_number;
}

static bool apply_hugepages(const char *value) {
    static const char *const names[] = {"auto", "never", "always"};
    for (int i = 0; i < 3; i++)
        if (strcmp(value, names[i]) == 0) {
            td_backend_set_hugepages((enum td_hugepages)i);
            return true;
        }
    return false;
}

static bool apply_background_thread(const char *value) {
    return parse_switch(value, &td_options.has_background_thread);
}

static bool apply_check(const char *value) {
    return parse_switch(value, &td_is_checked);
}

struct option {
    const char *name;
    bool (*apply)(const char *value);  // false if the value is bad
};

static const struct option options[] = {
    {"stats", apply_stats},         {"decay_ms", apply_decay_ms},
    {"hugepages", apply_hugepages}, {"background_thread", apply_background_thread},
    {"check", apply_check},
};

static void apply(const char *name, const char *value, bool is_whole) {
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(options[i].name, name) != 0)
            continue;
        if (!is_whole || !options[i].apply(value))
            td_warn_bad_value(value, name);
        return;
    }
    td_warn_unknown_option(name);
}

// Copies what lies before `end`, cut to the buffer. Returns whether that is all.
static bool copy_word(char word[WORD_BYTES], const char *begin, const char *end) {
    size_t length = td_min((size_t)(end - begin), WORD_BYTES - 1);
    memcpy(word, begin, length);
    word[length] = '\0';
    return length == (size_t)(end - begin);
}

void td_options_apply(void) {
    // Where there are none to be split, the purge need not keep what is free between objects.
    if (!td_os_gives_hugepages())
        td_backend_set_hugepages(TD_HUGEPAGES_NEVER);
    const char *text = secure_getenv("TANDEM_OPTIONS");
    while (text != NULL && *text != '\0') {
        const char *end = strchrnul(text, ',');
        const char *equals = memchr(text, '=', (size_t)(end - text));
        char name[WORD_BYTES], value[WORD_BYTES];
        copy_word(name, text, equals != NULL ? equals : end);
        bool is_whole = copy_word(value, equals != NULL ? equals + 1 : end, end);
        if (end != text)
            apply(name, value, is_whole);
        text = *end == ',' ? end + 1 : end;
    }
    if (td_is_checked)
        td_frontend_set_checked();
}
