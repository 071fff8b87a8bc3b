// The table behind tandem.h. The functions of tandem.h may be linked into a program whose malloc is another library's;
// they find the table if that library is Tandem, and answer "none" if it is not.
#ifndef ALLOCATOR_EXTENSION_H_
#define ALLOCATOR_EXTENSION_H_

#include "allocator/tandem.h"

// Functions as tandem.h has them.
struct tandem_extension {
    const char *(*version)(void);
    const char *(*front_end)(void);
    const char *(*mode)(void);
    const char *(*index)(void);
    const char *(*mode_reason)(void);
    void (*flush)(void);
    size_t (*release_memory)(size_t bytes);
    struct tandem_sized_pointer (*alloc_at_least)(size_t size);
    void (*get_stats)(struct tandem_stats *stats, size_t bytes);
    size_t (*stats_text)(char *buffer, size_t capacity);
    size_t (*stats_json)(char *buffer, size_t capacity);
};

extern const struct tandem_extension tandem_extension __attribute__((weak, visibility("default")));

// Drains what can be drained and gives `bytes` back to the operating system, or more. Returns how many.
size_t td_release_memory(size_t bytes) __attribute__((visibility("hidden")));

#endif  // ALLOCATOR_EXTENSION_H_
