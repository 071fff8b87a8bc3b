// What stands behind tandem.h in a process whose malloc is Tandem: one table that tandem.c looks for.
#include "allocator/extension.h"

#include <string.h>

#include "allocator/allocate.h"
#include "allocator/malloc.h"
#include "allocator/statistics.h"
#include "base/minmax.h"
#include "frontends/frontend.h"

static const char *version(void) {
    return TANDEM_VERSION;
}

static const char *front_end(void) {
    return td_frontend_describe().name;
}

static const char *mode(void) {
    return td_frontend_describe().mode;
}

static const char *mode_index(void) {
    return td_frontend_describe().index;
}

static const char *mode_reason(void) {
    return td_frontend_describe().reason;
}

static struct tandem_sized_pointer alloc_at_least(size_t size) {
    void *object = td_alloc(size, TD_RETURN_NULL);
    size_t usable = object != NULL ? td_usable_bytes(object, "malloc_usable_size") : 0;
    return (struct tandem_sized_pointer){object, usable};
}

size_t td_release_memory(size_t bytes) {
    td_frontend_drain();
    return td_frontend_purge(bytes);
}

static void get_stats(struct tandem_stats *stats, size_t bytes) {
    struct tandem_stats known;
    td_statistics_get(&known);
    memset(stats, 0, bytes);
    memcpy(stats, &known, td_min(bytes, sizeof known));
}

static size_t stats_text(char *buffer, size_t capacity) {
    struct td_text text = {buffer, capacity, 0};
    td_statistics_write_text(&text);
    td_text_end(&text);
    return text.length;
}

static size_t stats_json(char *buffer, size_t capacity) {
    struct td_text text = {buffer, capacity, 0};
    td_statistics_write_json(&text);
    td_text_end(&text);
    return text.length;
}

TD_EXPORT const struct tandem_extension tandem_extension = {
    .version = version,
    .front_end = front_end,
    .mode = mode,
    .index = mode_index,
    .mode_reason = mode_reason,
    .flush = td_frontend_flush,
    .release_memory = td_release_memory,
    .alloc_at_least = alloc_at_least,
    .get_stats = get_stats,
    .stats_text = stats_text,
    .stats_json = stats_json,
};
