#include "middle/middle.h"

#include "backend/backend.h"
#include "backend/metadata.h"
#include "backend/os.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "middle/batch_stack.h"
#include "middle/central_list.h"
#include "middle/transfer_cache.h"

#define FETCH_MAX (TD_BATCH_MAX + TD_BATCH_SLACK)

// Spans that are to give pages back at one tick, at most: system calls that one allocation waits for.
#define SPANS_PER_TICK 512

static uint64_t last_tick_ms;         // atomic, any thread
static size_t next_purged_class = 1;  // `td_middle_maintain`'s

// A whole batch comes with its last line, so as not to be one and a bit: bins that have room for one would have to
// return the bit.
static size_t fetch_from_spans(size_t class_index, void **objects, size_t count) {
    const struct td_class_info *info = &td_class_info[class_index];
    bool is_whole = count == info->batch && count > TD_BATCH_SLACK && info->object_bytes < TD_CACHE_LINE;
    return td_central_fetch(class_index, objects, is_whole ? count - TD_BATCH_SLACK : count);
}

size_t td_middle_fetch(size_t class_index, void **objects, size_t count) {
    size_t taken = td_transfer_fetch(class_index, objects, count);
    if (taken != 0)
        return taken;
    taken = fetch_from_spans(class_index, objects, count);
    if (td_likely(taken != 0))
        return taken;
    // Free objects of other classes may hold whole spans.
    td_middle_drain();
    return fetch_from_spans(class_index, objects, count);
}

void td_middle_return(size_t class_index, void *const *objects, size_t count) {
    size_t batch = td_class_info[class_index].batch;
    for (size_t now; count > 0; objects += now, count -= now) {
        now = td_min(count, batch);
        if (!td_transfer_insert(class_index, objects, now))
            td_central_return(class_index, objects, now);
    }
}

size_t td_middle_fetch_checked(size_t class_index, void **objects, size_t count) {
    return td_central_fetch(class_index, objects, count);
}

void td_middle_return_checked(size_t class_index, void *const *objects, size_t count) {
    td_central_return(class_index, objects, count);
}

size_t td_middle_class_of(const void *pointer, const char *call) {
    return td_backend_span_of(pointer, call)->class_index;
}

void td_middle_check_object(size_t class_index, const void *pointer, const char *call) {
    td_central_check_object(class_index, pointer, call);
}

static void drain_class(size_t class_index, bool all) {
    void *objects[FETCH_MAX];
    size_t count;
    while ((count = td_transfer_take_idle(class_index, objects, all)) != 0)
        td_central_return(class_index, objects, count);
}

void *td_middle_alloc_metadata(size_t bytes, size_t alignment) {
    return td_metadata_alloc(bytes, alignment);
}

uint64_t td_middle_clock_ms(void) {
    return td_os_clock_ms();
}

bool td_middle_tick_is_due(uint64_t *now_ms) {
    uint64_t now = td_os_clock_ms();
    uint64_t last = td_load_relaxed(&last_tick_ms);
    *now_ms = now;
    // Another thread may have been here at a later time.
    return now >= last + TD_TICK_MS && td_compare_exchange_relaxed(&last_tick_ms, &last, now);
}

// A tick goes on behind the class at which the one before had no spans left: one class's spans, refused each time, must
// not keep those of the others.
static void purge_idle_spans(void) {
    uint64_t decay_ms = td_backend_decay_ms();
    size_t spans_left = SPANS_PER_TICK;
    for (size_t i = 1; i < TD_CLASS_COUNT && spans_left > 0; i++) {
        td_central_purge_idle(next_purged_class, decay_ms, &spans_left);
        next_purged_class = next_purged_class % (TD_CLASS_COUNT - 1) + 1;
    }
}

void td_middle_maintain(uint64_t now_ms) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        drain_class(i, false);
        td_transfer_begin_period(i);
    }
    purge_idle_spans();
    td_backend_maintain(now_ms);
}

size_t td_middle_purge(size_t bytes) {
    size_t total = td_backend_purge(bytes);
    for (size_t i = 1; i < TD_CLASS_COUNT && total < bytes; i++)
        total += td_central_purge(i);
    // Where that split hugepages, their other free pages can go too.
    return total < bytes ? total + td_backend_purge(bytes - total) : total;
}

void td_middle_drain(void) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        drain_class(i, true);
}

void td_middle_get_stats(struct td_middle_stats *stats) {
    *stats = (struct td_middle_stats){0};
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        const struct td_class_info *info = &td_class_info[i];
        struct td_transfer_stats transfer;
        struct td_central_stats central;
        td_transfer_get_stats(i, &transfer);
        td_central_get_stats(i, &central);
        size_t tail_bytes = info->span_pages * TD_PAGE_BYTES - (size_t)info->span_objects * info->object_bytes;
        stats->transfer_bytes += transfer.objects * info->object_bytes;
        stats->transfer_hits += transfer.hits;
        stats->transfer_misses += transfer.misses;
        stats->free_bytes += central.free_objects * info->object_bytes;
        stats->waste_bytes += central.spans * tail_bytes;
        stats->central_locks += central.locks;
    }
}

size_t td_middle_span_bytes(void) {
    return td_backend_small_bytes();
}

size_t td_middle_objects_out(size_t class_index) {
    struct td_transfer_stats transfer;
    struct td_central_stats central;
    td_transfer_get_stats(class_index, &transfer);
    td_central_get_stats(class_index, &central);
    size_t objects = central.spans * td_class_info[class_index].span_objects;
    size_t inside = central.free_objects + transfer.objects;
    // What moved from there to here while they were counted was counted twice.
    return objects > inside ? objects - inside : 0;
}

void td_middle_fork_prepare(void) {
    td_batch_fork_prepare();
    td_central_fork_prepare();
    td_backend_fork_prepare();
}

void td_middle_fork_done(void) {
    td_backend_fork_done();
    td_central_fork_done();
    td_batch_fork_done();
}

void td_middle_check(void) {
    if (!TD_DEBUG)
        return;
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        td_central_check(i);
    td_backend_check();
}
