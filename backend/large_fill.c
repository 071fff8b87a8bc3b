#include "backend/large_fill.h"

#include "backend/os.h"
#include "base/atomic.h"

// As many as eight threads are about to fill.
#define LAST_MAX 8

struct object {
    uintptr_t base;
    size_t bytes;
};

// Written under td_backend_lock. Read word by word without: one object's place with another one's length is no worse a
// guess.
static struct object last[LAST_MAX];
static size_t noted;  // guarded by td_backend_lock

void td_large_fill_note_locked(const struct td_segment_run *run) {
    if (run->bytes < TD_FILL_MIN_BYTES)
        return;
    struct object *object = &last[noted++ % LAST_MAX];
    td_store_relaxed(&object->base, run->base);
    td_store_relaxed(&object->bytes, run->bytes);
}

void td_large_fill_forget_locked(const struct td_segment_run *run) {
    for (size_t i = 0; i < LAST_MAX; i++)
        if (last[i].base == run->base)
            td_store_relaxed(&last[i].bytes, 0);
}

bool td_large_fill_is_likely(void) {
    size_t all_bytes = 0;
    size_t filled_bytes = 0;
    for (size_t i = 0; i < LAST_MAX; i++) {
        size_t object_bytes = td_load_relaxed(&last[i].bytes);
        all_bytes += object_bytes;
        if (object_bytes != 0 && td_os_is_resident((void *)(td_load_relaxed(&last[i].base) + object_bytes / 2)))
            filled_bytes += object_bytes;
    }
    return filled_bytes != 0 && filled_bytes >= all_bytes / 2;
}
