#include "backend/backend.h"

#include "backend/early_segments.h"
#include "backend/free_runs.h"
#include "backend/hugepage.h"
#include "backend/large.h"
#include "backend/metadata.h"
#include "backend/os.h"
#include "backend/page_heap.h"
#include "backend/page_map.h"
#include "backend/purge.h"
#include "backend/purgeable.h"
#include "backend/run_store.h"
#include "base/fatal.h"
#include "base/size_class.h"

struct td_span *td_backend_alloc_span(size_t class_index) {
    const struct td_class_info *info = &td_class_info[class_index];
    bool was_clean;
    return td_page_heap_alloc(info->span_pages, info->align_pages, class_index, &was_clean);
}

void td_backend_free_span(struct td_span *span) {
    td_page_heap_free(span);
}

struct td_span *td_backend_span_of(const void *pointer, const char *call) {
    struct td_segment_run *run = td_page_map_run(pointer);
    if (td_unlikely(run == NULL || run->state != TD_RUN_SPANS))
        td_large_report(pointer, call);
    struct td_span *span = td_segment_span_at(td_segment_of_run(run), (uintptr_t)pointer);
    if (td_unlikely(span->state != TD_SPAN_SMALL))
        td_large_report(pointer, call);
    return span;
}

static void add_segment_stats(struct td_segment *segment, void *argument) {
    struct td_backend_stats *stats = argument;
    size_t free_pages = TD_SEGMENT_PAGES - segment->used_pages;
    stats->segments++;
    stats->dirty_bytes += segment->dirty_free * TD_PAGE_BYTES;
    stats->clean_bytes += (free_pages - segment->dirty_free) * TD_PAGE_BYTES;
}

void td_backend_get_stats(struct td_backend_stats *stats) {
    *stats = (struct td_backend_stats){0};
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    td_page_heap_each(add_segment_stats, stats);
    stats->dirty_bytes += td_free_runs_bytes(TD_RUN_DIRTY);
    stats->clean_bytes += td_free_runs_bytes(TD_RUN_CLEAN);
    stats->mapped_bytes = td_free_runs_mapped_bytes();
    stats->small_span_bytes = td_backend_small_span_bytes;
    stats->large_bytes = td_backend_used_bytes - stats->small_span_bytes;
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    size_t known = stats->small_span_bytes + stats->large_bytes + stats->dirty_bytes + stats->clean_bytes;
    stats->large_tail_bytes = stats->mapped_bytes - known;
    stats->metadata_bytes = td_metadata_bytes();
    stats->purged_bytes = td_purge_total_bytes();
    stats->hugepages_rebuilt = td_hugepage_rebuilt_count();
    stats->system_calls = td_os_call_count();
}

size_t td_backend_small_bytes(void) {
    return td_load_relaxed(&td_backend_small_span_bytes);
}

size_t td_backend_mapped_bytes(void) {
    return td_free_runs_mapped_bytes();
}

uint8_t td_backend_rebuilds(const struct td_span *span) {
    return td_load_relaxed(&td_segment_of_span(span)->rebuilds);
}

void td_backend_note_reuse(struct td_span *span, size_t bytes) {
    struct td_segment *segment = td_segment_of_span(span);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    bool is_missed = td_hugepage_note_reuse_locked(segment, bytes);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    if (is_missed)
        td_hugepage_make_whole(segment);
}

void td_backend_fork_prepare(void) {
    td_hugepage_enter();
    td_run_store_fork_prepare();
    td_early_segments_note_fork();
    td_metadata_fork_prepare();
}

void td_backend_fork_done(void) {
    td_metadata_fork_done();
    td_run_store_fork_done();
    td_hugepage_leave();
}

void td_backend_note_fork(void) {
    td_early_segments_note_fork();
}

static void check_segment(struct td_segment *segment, void *purgeable_pages) {
    td_segment_check(segment);
    *(size_t *)purgeable_pages += segment->purgeable;
}

void td_backend_check(void) {
    if (!TD_DEBUG)
        return;
    size_t purgeable_pages = 0;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    td_page_heap_each(check_segment, &purgeable_pages);
    td_assert(purgeable_pages == td_purgeable_pages);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}
