#include "backend/large_fill.h"

#include "backend/os.h"
#include "base/atomic.h"

// As many as eight threads are about to fill.
#define LAST_MAX 8

struct object {
    uintptr_t middle;
    size_t bytes;
};

// Written under td_backend_lock. Read word by word without: an object's page with another one's bytes is no worse a
// guess.
static struct object last[LAST_MAX];
static size_t noted;  // guarded by td_backend_lock

void td_large_fill_note_locked(const struct td_segment_run *run) {
    struct object *object = &last[noted++ % LAST_MAX];
    td_store_relaxed(&object->middle, run->base + run->bytes / 2);
    td_store_relaxed(&object->bytes, run->bytes);
}

bool td_large_fill_is_likely(void) {
    size_t bytes = 0;
    size_t filled_bytes = 0;
    for (size_t i = 0; i < LAST_MAX; i++) {
        uintptr_t middle = td_load_relaxed(&last[i].middle);
        size_t object_bytes = td_load_relaxed(&last[i].bytes);
        bytes += object_bytes;
        if (middle != 0 && td_os_is_resident((void *)middle))
            filled_bytes += object_bytes;
    }
    return filled_bytes >= bytes / 2;
}
