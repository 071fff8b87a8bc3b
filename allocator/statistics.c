#define _GNU_SOURCE
#include "allocator/statistics.h"

#include <errno.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "frontends/frontend.h"
#include "middle/middle.h"

// The text fits; what does not is cut.
#define PRINT_BYTES 4096

static uint64_t peak_mapped_bytes;  // atomic, any thread; the maximum over all calls of `td_statistics_get`

struct field {
    const char *name;
    size_t offset;
};

#define FIELD(name)                                                                                                    \
    { #name, offsetof(struct tandem_stats, name) }

static const struct field fields[] = {
    FIELD(live_bytes),    FIELD(cached_bytes),    FIELD(free_bytes),    FIELD(fresh_bytes),
    FIELD(waste_bytes),   FIELD(metadata_bytes),  FIELD(mapped_bytes),  FIELD(peak_mapped_bytes),
    FIELD(segments),      FIELD(slabs),           FIELD(refills),       FIELD(flushes),
    FIELD(transfer_hits), FIELD(transfer_misses), FIELD(central_locks), FIELD(locks_contended),
    FIELD(system_calls),  FIELD(remote_fences),   FIELD(purged_bytes),  FIELD(hugepages_rebuilt),
};

static uint64_t value_of(const struct tandem_stats *stats, const struct field *field) {
    return *(const uint64_t *)((const char *)stats + field->offset);
}

void td_statistics_get(struct tandem_stats *stats) {
    struct td_frontend_stats frontend;
    struct td_middle_stats middle;
    struct td_backend_stats backend;
    td_frontend_get_stats(&frontend);
    td_middle_get_stats(&middle);
    td_backend_get_stats(&backend);

    size_t cached = frontend.cached_bytes + middle.transfer_bytes;
    size_t not_live = cached + middle.free_bytes + middle.waste_bytes;
    size_t small_live = backend.small_span_bytes > not_live ? backend.small_span_bytes - not_live : 0;
    uint64_t mapped = backend.mapped_bytes + backend.metadata_bytes;
    uint64_t peak = td_load_relaxed(&peak_mapped_bytes);
    while (mapped > peak && !td_compare_exchange_relaxed(&peak_mapped_bytes, &peak, mapped))
        ;
    *stats = (struct tandem_stats){
        .live_bytes = small_live + backend.large_bytes,
        .cached_bytes = cached,
        .free_bytes = middle.free_bytes + backend.dirty_bytes,
        .fresh_bytes = backend.clean_bytes,
        .waste_bytes = middle.waste_bytes + backend.large_tail_bytes,
        .metadata_bytes = backend.metadata_bytes,
        .mapped_bytes = mapped,
        .peak_mapped_bytes = td_max(peak, mapped),
        .segments = backend.segments,
        .slabs = frontend.slabs,
        .refills = frontend.refills,
        .flushes = frontend.flushes,
        .transfer_hits = middle.transfer_hits,
        .transfer_misses = middle.transfer_misses,
        .central_locks = middle.central_locks,
        .locks_contended = td_lock_contended_count(),
        .system_calls = backend.system_calls,
        .remote_fences = frontend.remote_fences,
        .purged_bytes = backend.purged_bytes,
        .hugepages_rebuilt = backend.hugepages_rebuilt,
    };
}

void td_statistics_write_text(struct td_text *text) {
    struct tandem_stats stats;
    td_statistics_get(&stats);
    struct td_frontend_description frontend = td_frontend_describe();
    td_text_string(text, "tandem " TANDEM_VERSION ", front end ");
    td_text_string(text, frontend.name);
    td_text_string(text, ", mode ");
    td_text_string(text, frontend.mode);
    td_text_string(text, ", index ");
    td_text_string(text, frontend.index);
    td_text_string(text, "\n(");
    td_text_string(text, frontend.reason);
    td_text_string(text, ")\n");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        td_text_string(text, fields[i].name);
        td_text_string(text, ": ");
        td_text_decimal(text, value_of(&stats, &fields[i]));
        td_text_string(text, "\n");
    }
}

static void write_json_string(struct td_text *text, const char *name, const char *value) {
    td_text_string(text, "\"");
    td_text_string(text, name);
    td_text_string(text, "\":\"");
    td_text_string(text, value);
    td_text_string(text, "\",");
}

// Classes without an object in use or in a slab are left out.
static void write_json_classes(struct td_text *text) {
    const char *separator = "";
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        size_t objects = td_middle_objects_out(i);
        if (objects == 0)
            continue;
        td_text_string(text, separator);
        td_text_string(text, "{\"object_bytes\":");
        td_text_decimal(text, td_class_bytes(i));
        td_text_string(text, ",\"objects_out\":");
        td_text_decimal(text, objects);
        td_text_string(text, "}");
        separator = ",";
    }
}

void td_statistics_write_json(struct td_text *text) {
    struct tandem_stats stats;
    td_statistics_get(&stats);
    struct td_frontend_description frontend = td_frontend_describe();
    td_text_string(text, "{");
    write_json_string(text, "version", TANDEM_VERSION);
    write_json_string(text, "front_end", frontend.name);
    write_json_string(text, "mode", frontend.mode);
    write_json_string(text, "index", frontend.index);
    write_json_string(text, "reason", frontend.reason);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        td_text_string(text, "\"");
        td_text_string(text, fields[i].name);
        td_text_string(text, "\":");
        td_text_decimal(text, value_of(&stats, &fields[i]));
        td_text_string(text, ",");
    }
    td_text_string(text, "\"classes\":[");
    write_json_classes(text);
    td_text_string(text, "]}");
}

void td_statistics_print(void) {
    char buffer[PRINT_BYTES];
    struct td_text text = {buffer, sizeof buffer, 0};
    td_text_string(&text, "process ");
    td_text_decimal(&text, (uint64_t)getpid());
    td_text_string(&text, " (");
    td_text_string(&text, program_invocation_short_name);
    td_text_string(&text, "):\n");
    td_statistics_write_text(&text);
    td_write_stderr(buffer, td_min(text.length, sizeof buffer));
}
