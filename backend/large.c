#include "backend/large.h"

#include <errno.h>
#include <string.h>

#include "backend/free_runs.h"
#include "backend/large_fill.h"
#include "backend/large_tail.h"
#include "backend/os.h"
#include "backend/page_heap.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/size_class.h"

// What a run is taken for.
enum run_use { FOR_NEW_OBJECT, FOR_GROWN_OBJECT };

// Atomic, any thread: once a move went wrong half-way, realloc copies. Where mappings run out, the next would as well.
static bool moves_are_off;

static size_t pages_of(size_t bytes) {
    return (bytes + TD_PAGE_BYTES - 1) >> TD_PAGE_SHIFT;
}

static size_t segments_of(size_t bytes) {
    return (bytes + TD_SEGMENT_BYTES - 1) >> TD_SEGMENT_SHIFT;
}

static void *alloc_span(size_t pages, size_t alignment, bool *is_zero) {
    size_t align_pages = alignment > TD_PAGE_BYTES ? alignment >> TD_PAGE_SHIFT : 1;
    struct td_span *span = td_page_heap_alloc(pages, align_pages, 0, is_zero);
    return span != NULL ? (void *)span->start : NULL;
}

// The segments that an object fills and did not fill before it grew to `bytes`, from nothing or in place: they become a
// place for hugepages. First this, with the lock.
static void set_place_locked(struct td_segment_run *run, size_t old_bytes, size_t bytes) {
    size_t begin = old_bytes >> TD_SEGMENT_SHIFT;
    size_t end = bytes >> TD_SEGMENT_SHIFT;
    run->is_huge = run->is_huge || begin < end;
    td_page_map_set_place(run->base + begin * TD_SEGMENT_BYTES, end - begin, true);
}

// Then this, without; the run is the caller's.
static void advise_hugepages(const struct td_segment_run *run, size_t old_bytes, size_t bytes) {
    size_t begin = old_bytes & -TD_SEGMENT_BYTES;
    size_t end = bytes & -TD_SEGMENT_BYTES;
    if (begin < end)
        td_os_advise_hugepages((char *)run->base + begin, end - begin, true);
}

static struct td_segment_run *take_run_locked(size_t align_segments, size_t bytes, bool *is_zero) {
    struct td_segment_run *run = td_run_take(segments_of(bytes), align_segments, is_zero);
    if (run == NULL)
        return NULL;
    // The kernel may fill a place for hugepages beyond what is touched.
    run->tail = *is_zero && !run->is_huge ? TD_TAIL_CLEAN : TD_TAIL_DIRTY;
    run->state = TD_RUN_LARGE;
    run->bytes = bytes;
    td_backend_note_used(bytes);
    return run;
}

// Ends what `take_run_locked` has begun. An object that grows has its tail listed when it has moved there.
static void hand_out_locked(struct td_segment_run *run, enum run_use use, bool is_fresh) {
    if (use == FOR_GROWN_OBJECT)
        return;
    if (is_fresh)
        td_large_fill_note_locked(run);
    td_large_tail_list(run);
}

// The same for a fresh run of a large heap, the caller's, without the lock: a place for hugepages, if it was one before
// or is likely to be filled.
static void hand_out_fresh(struct td_segment_run *run, enum run_use use) {
    bool is_place = run->is_huge || use == FOR_GROWN_OBJECT || td_run_store_hugepages() == TD_HUGEPAGES_ALWAYS ||
                    td_large_fill_is_likely();
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    if (is_place)
        set_place_locked(run, 0, run->bytes);
    hand_out_locked(run, use, true);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    if (is_place)
        advise_hugepages(run, 0, run->bytes);
}

// A run for an object of `bytes`.
static struct td_segment_run *alloc_run(size_t bytes, size_t alignment, enum run_use use, bool *is_zero) {
    size_t align_segments = alignment > TD_SEGMENT_BYTES ? alignment >> TD_SEGMENT_SHIFT : 1;
    while (td_run_store_enter()) {
        bool wants_hugepages = bytes >= TD_SEGMENT_BYTES && td_page_heap_wants_hugepages();
        struct td_segment_run *run = take_run_locked(align_segments, bytes, is_zero);
        bool is_candidate = run != NULL && *is_zero && wants_hugepages;
        if (run != NULL && !is_candidate)
            hand_out_locked(run, use, *is_zero);
        td_run_store_leave();
        if (is_candidate)
            hand_out_fresh(run, use);
        if (run != NULL)
            return run;
        // Another thread may take what is mapped for this one; then map again.
        if (!td_run_store_provide(segments_of(bytes) + align_segments - 1))
            break;
    }
    errno = ENOMEM;
    return NULL;
}

void *td_large_alloc(size_t size, size_t alignment, bool *is_zero) {
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    size_t pages = size != 0 ? pages_of(size) : 1;
    if (pages * TD_PAGE_BYTES <= TD_MAX_SPAN_BYTES && alignment <= TD_MAX_SPAN_BYTES)
        return alloc_span(pages, alignment, is_zero);
    struct td_segment_run *run = alloc_run(pages * TD_PAGE_BYTES, alignment, FOR_NEW_OBJECT, is_zero);
    return run != NULL ? (void *)run->base : NULL;
}

void td_large_report(const void *pointer, const char *call) {
    struct td_segment_run *run = td_page_map_run(pointer);
    if (run == NULL)
        td_fatal_foreign(call, pointer);
    if (run->state == TD_RUN_LARGE && (uintptr_t)pointer < run->base + run->bytes)
        td_fatal_interior(call, pointer, run->bytes);
    bool is_freed = run->state == TD_RUN_DIRTY || run->state == TD_RUN_HELD;
    if (is_freed && run->base == (uintptr_t)pointer && run->bytes != 0)
        td_fatal_freed(call, pointer, run->bytes);
    if (run->state != TD_RUN_SPANS)
        td_fatal_foreign(call, pointer);

    struct td_span *span = td_segment_span_at(td_segment_of_run(run), (uintptr_t)pointer);
    size_t span_bytes = span->pages * TD_PAGE_BYTES;
    size_t offset = (uintptr_t)pointer - span->start;
    if (span->start == 0 || offset >= span_bytes)
        td_fatal_foreign(call, pointer);
    size_t object_bytes = span->class_index != 0 ? td_class_bytes(span->class_index) : span_bytes;
    if (offset % object_bytes != 0)
        td_fatal_interior(call, pointer, object_bytes);
    if (span->state == TD_SPAN_FREE)
        td_fatal_freed(call, pointer, object_bytes);
    td_fatal_foreign(call, pointer);
}

// The large span that starts at `pointer`, in a run of state spans.
static struct td_span *span_of(struct td_segment_run *run, const void *pointer, const char *call) {
    struct td_span *span = td_segment_span_at(td_segment_of_run(run), (uintptr_t)pointer);
    if (td_unlikely(span->start != (uintptr_t)pointer || span->state != TD_SPAN_LARGE))
        td_large_report(pointer, call);
    return span;
}

// The run that holds `pointer`: large, and starting there, or cut into spans.
static struct td_segment_run *run_of(const void *pointer, const char *call) {
    struct td_segment_run *run = td_page_map_run(pointer);
    bool is_spans = run != NULL && run->state == TD_RUN_SPANS;
    bool is_large = run != NULL && run->state == TD_RUN_LARGE && run->base == (uintptr_t)pointer;
    if (td_unlikely(!is_spans && !is_large))
        td_large_report(pointer, call);
    return run;
}

// The run's object has ended.
static void free_run_locked(struct td_segment_run *run, uint64_t now_ms) {
    td_backend_note_unused(run->bytes);
    if (td_large_tail_unlist(run))
        td_run_put(run, TD_RUN_DIRTY, now_ms);
    else
        run->state = TD_RUN_HELD;
}

void td_large_free(void *pointer, const char *call) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    // Looked at under the lock: of two threads that free the same object the second one finds it free.
    struct td_segment_run *run = run_of(pointer, call);
    if (run->state == TD_RUN_SPANS)
        td_page_heap_free_locked(span_of(run, pointer, call));
    else
        free_run_locked(run, td_os_clock_ms());
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}

size_t td_large_usable_bytes(const void *pointer, const char *call) {
    struct td_segment_run *run = run_of(pointer, call);
    return run->state == TD_RUN_LARGE ? run->bytes : span_of(run, pointer, call)->pages * TD_PAGE_BYTES;
}

// What the tail of the run is once its object has `bytes`; asked before the run is extended for that.
static enum td_tail_state tail_after_resize(const struct td_segment_run *run, size_t bytes) {
    if (bytes <= run->segments * TD_SEGMENT_BYTES)
        return bytes < run->bytes ? TD_TAIL_DIRTY : run->tail;
    const struct td_segment_run *after = td_page_map_run((void *)td_run_end(run));
    bool is_clean = after != NULL && after->state == TD_RUN_CLEAN && !after->is_huge;
    return is_clean ? TD_TAIL_CLEAN : TD_TAIL_DIRTY;
}

static void set_bytes_locked(struct td_segment_run *run, size_t bytes, enum td_tail_state tail) {
    td_run_trim(run, segments_of(bytes), TD_RUN_DIRTY, td_os_clock_ms());
    td_backend_note_unused(run->bytes);
    td_backend_note_used(bytes);
    run->bytes = bytes;
    run->tail = (uint8_t)tail;
    td_large_tail_list(run);
}

// Cuts or extends the run where it lies.
static bool resize_run_in_place(struct td_segment_run *run, size_t bytes) {
    size_t segments = segments_of(bytes);
    size_t old_bytes = run->bytes;
    td_run_store_enter_anyway();
    bool may_change = td_large_tail_unlist(run);
    enum td_tail_state tail = tail_after_resize(run, bytes);
    bool is_extended = may_change && segments > run->segments && td_run_extend(run, segments);
    bool is_done = may_change && segments <= run->segments;
    bool wants_hugepages = is_extended && td_page_heap_wants_hugepages();
    if (is_done) {
        if (wants_hugepages)
            set_place_locked(run, old_bytes, bytes);
        set_bytes_locked(run, bytes, tail);
    } else if (may_change) {
        td_large_tail_list(run);
    }
    td_run_store_leave();
    if (wants_hugepages)
        advise_hugepages(run, old_bytes, bytes);
    return is_done;
}

// Brings back what was moved before `offset`, and gives the target up without the segment there.
static void undo_move(struct td_segment_run *run, struct td_segment_run *target, size_t offset) {
    td_store_relaxed(&moves_are_off, true);
    memcpy((char *)run->base, (char *)target->base, offset);
    uint64_t now_ms = td_os_clock_ms();
    td_run_store_enter_anyway();
    td_backend_note_unused(target->bytes);
    td_run_put_without(target, offset / TD_SEGMENT_BYTES, now_ms);
    td_run_store_leave();
}

// Copies what cannot be moved, and gives it the advice that it had: what `note_advice_locked` notes.
static void copy_segment(const char *from, char *to) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    bool is_place = td_page_map_is_place((uintptr_t)from);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    td_os_advise_hugepages(to, TD_SEGMENT_BYTES, is_place);
    memcpy(to, from, TD_SEGMENT_BYTES);
}

// Moves the pages of `run` to `target`, segment by segment: as pages that were moved are a mapping of their own, only
// what lies on segments' borders can be moved again. Both runs are the caller's, so the system calls need no lock.
// False if the system cannot; then the object is as it was, and the target is the store's.
static bool move_pages(struct td_segment_run *run, struct td_segment_run *target) {
    char *from = (char *)run->base;
    char *to = (char *)target->base;
    void *aside = td_os_find_place(TD_SEGMENT_BYTES);
    for (size_t offset = 0; offset < run->bytes; offset += TD_SEGMENT_BYTES) {
        int error = td_os_move(from + offset, to + offset, TD_SEGMENT_BYTES, aside);
        if (error == -ENOTRECOVERABLE) {
            undo_move(run, target, offset);
            return false;
        }
        if (error == -EINVAL && offset == 0) {
            td_large_free(to, "realloc");
            return false;
        }
        // A part that the program has protected, say, lies in a mapping of its own, which is not moved as one.
        if (error != 0)
            copy_segment(from + offset, to + offset);
    }
    return true;
}

// Whether moving may unlock memory: the kernel takes the lock off all of a mapping that pages are moved out of, and
// objects that have nothing to do with this one may lie in it.
static bool is_locked(const struct td_segment_run *run, size_t bytes) {
    return td_os_is_locked((void *)run->base, segments_of(bytes) * TD_SEGMENT_BYTES);
}

// Pages that are moved bring their advice along. What the object ended in was no place for hugepages, as a rule, and is
// one now where the object goes on behind it in one. First this, without the lock.
static bool advise_seam(const struct td_segment_run *run, const struct td_segment_run *target) {
    size_t moved_bytes = segments_of(run->bytes) * TD_SEGMENT_BYTES;
    bool goes_on = target->is_huge && target->segments * TD_SEGMENT_BYTES > moved_bytes;
    if (goes_on)
        advise_hugepages(target, run->bytes, moved_bytes);
    return goes_on;
}

static void note_advice_locked(const struct td_segment_run *run, struct td_segment_run *target, bool goes_on) {
    target->is_huge = target->is_huge || run->is_huge;
    size_t moved_bytes = segments_of(run->bytes) * TD_SEGMENT_BYTES;
    for (size_t offset = 0; offset < moved_bytes; offset += TD_SEGMENT_BYTES)
        td_page_map_set_place(target->base + offset, 1, td_page_map_is_place(run->base + offset));
    if (goes_on)
        set_place_locked(target, run->bytes, moved_bytes);
}

// Moves the object to a longer run.
static void *move_run(struct td_segment_run *run, size_t bytes) {
    bool is_zero;
    const void *from = (void *)run->base;
    if (td_load_relaxed(&moves_are_off) || is_locked(run, run->bytes))
        return NULL;
    struct td_segment_run *target = alloc_run(bytes, TD_SEGMENT_BYTES, FOR_GROWN_OBJECT, &is_zero);
    if (target == NULL)
        return NULL;
    void *to = (void *)target->base;
    if (is_locked(target, run->bytes)) {
        td_large_free(to, "realloc");
        return NULL;
    }
    if (!move_pages(run, target))
        return NULL;
    bool goes_on = advise_seam(run, target);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    run = run_of(from, "realloc");  // once more, as for a free
    note_advice_locked(run, target, goes_on);
    if (target->segments == segments_of(run->bytes))
        target->tail = TD_TAIL_DIRTY;  // and the tail, which was on its way to the system
    td_large_tail_list(target);
    td_large_fill_forget_locked(run);
    free_run_locked(run, 0);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return to;
}

void *td_large_resize(void *pointer, size_t size) {
    if (size > PTRDIFF_MAX || size <= TD_MAX_SMALL_BYTES)
        return NULL;
    struct td_segment_run *run = run_of(pointer, "realloc");
    size_t bytes = pages_of(size) * TD_PAGE_BYTES;
    if (run->state == TD_RUN_SPANS) {
        struct td_span *span = span_of(run, pointer, "realloc");
        bool fits = bytes <= TD_MAX_SPAN_BYTES && td_page_heap_resize(span, bytes >> TD_PAGE_SHIFT);
        return fits ? pointer : NULL;
    }
    if (bytes <= TD_MAX_SPAN_BYTES)
        return NULL;
    if (resize_run_in_place(run, bytes))
        return pointer;
    return bytes > run->bytes ? move_run(run, bytes) : NULL;
}
