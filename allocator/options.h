// The environment variable TANDEM_OPTIONS=name=value,...
#ifndef ALLOCATOR_OPTIONS_H_
#define ALLOCATOR_OPTIONS_H_

#include <stdbool.h>

#pragma GCC visibility push(hidden)

struct td_options {
    bool prints_stats_at_exit;   // stats=exit
    bool has_background_thread;  // background_thread=1
};

// Immutable after `td_options_apply`.
extern struct td_options td_options;

// Reads the variable and tells each layer what concerns it. What is unknown or malformed is named on stderr and
// ignored. A program that runs with raised privileges (secure_getenv(3)) gets the defaults.
void td_options_apply(void);

#pragma GCC visibility pop

#endif  // ALLOCATOR_OPTIONS_H_
