#include "allocator/tandem.h"

#include <string.h>

#include "allocator/extension.h"

#define EXPORT __attribute__((visibility("default")))

static const struct tandem_extension *extension(void) {
    return &tandem_extension;
}

EXPORT const char *tandem_version(void) {
    return extension() != NULL ? extension()->version() : "none";
}

EXPORT const char *tandem_front_end(void) {
    return extension() != NULL ? extension()->front_end() : "none";
}

EXPORT const char *tandem_mode(void) {
    return extension() != NULL ? extension()->mode() : "none";
}

EXPORT const char *tandem_index(void) {
    return extension() != NULL ? extension()->index() : "none";
}

EXPORT const char *tandem_mode_reason(void) {
    return extension() != NULL ? extension()->mode_reason() : "malloc is not Tandem's";
}

EXPORT void tandem_flush(void) {
    if (extension() != NULL)
        extension()->flush();
}

EXPORT size_t tandem_release_memory(size_t bytes) {
    return extension() != NULL ? extension()->release_memory(bytes) : 0;
}

EXPORT struct tandem_sized_pointer tandem_alloc_at_least(size_t size) {
    if (extension() != NULL)
        return extension()->alloc_at_least(size);
    return (struct tandem_sized_pointer){NULL, 0};
}

EXPORT void tandem_get_stats(struct tandem_stats *stats, size_t bytes) {
    if (extension() != NULL)
        extension()->get_stats(stats, bytes);
    else
        memset(stats, 0, bytes);
}

static size_t copy(char *buffer, size_t capacity, const char *text) {
    size_t length = strlen(text);
    if (capacity != 0) {
        size_t copied = length < capacity ? length : capacity - 1;
        memcpy(buffer, text, copied);
        buffer[copied] = '\0';
    }
    return length;
}

EXPORT size_t tandem_stats_text(char *buffer, size_t capacity) {
    return extension() != NULL ? extension()->stats_text(buffer, capacity) : copy(buffer, capacity, "tandem: none\n");
}

EXPORT size_t tandem_stats_json(char *buffer, size_t capacity) {
    return extension() != NULL ? extension()->stats_json(buffer, capacity) : copy(buffer, capacity, "{}");
}
