#include "backend/metadata.h"

#include "backend/os.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "base/minmax.h"

// Address space taken at once. Larger requests get a mapping of their own.
#define CHUNK_BYTES ((size_t)1 << 20)

static struct td_lock lock;
static uintptr_t chunk_next;  // guarded by lock
static uintptr_t chunk_end;   // guarded by lock
static size_t mapped_bytes;   // statistic

static void *take_from_chunk_locked(size_t bytes, size_t alignment) {
    uintptr_t start = td_round_up(chunk_next, alignment);
    if (start + bytes > chunk_end || chunk_next == 0)
        return NULL;
    chunk_next = start + bytes;
    return (void *)start;
}

static void *map(size_t bytes, size_t page) {
    void *memory = td_os_map(bytes, page);
    if (memory != NULL)
        td_add_relaxed(&mapped_bytes, bytes);
    return memory;
}

// The lock is held meanwhile: whoever else needs a chunk waits for this one instead of mapping another.
static bool add_chunk_locked(size_t page) {
    void *memory = map(CHUNK_BYTES, page);
    if (memory == NULL)
        return false;
    chunk_next = (uintptr_t)memory;
    chunk_end = chunk_next + CHUNK_BYTES;
    return true;
}

void *td_metadata_alloc(size_t bytes, size_t alignment) {
    size_t page = td_os_page_bytes();
    if (bytes >= CHUNK_BYTES / 2)
        return map(td_round_up(bytes, page), page);
    td_lock_acquire(&lock, TD_RANK_METADATA);
    void *memory = take_from_chunk_locked(bytes, alignment);
    if (memory == NULL && add_chunk_locked(page))
        memory = take_from_chunk_locked(bytes, alignment);
    td_lock_release(&lock, TD_RANK_METADATA);
    return memory;
}

size_t td_metadata_bytes(void) {
    return td_load_relaxed(&mapped_bytes);
}

void td_metadata_fork_prepare(void) {
    td_lock_acquire(&lock, TD_RANK_METADATA);
}

void td_metadata_fork_done(void) {
    td_lock_release(&lock, TD_RANK_METADATA);
}
