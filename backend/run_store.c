#include "backend/run_store.h"

#include "backend/free_runs.h"
#include "backend/metadata.h"
#include "backend/os.h"
#include "backend/page_map.h"
#include "base/minmax.h"

struct td_lock td_backend_lock;
static struct td_lock growth_lock;

static enum td_hugepages hugepages;  // immutable after init

// Brings one descriptor of the kind that is missing. Without the lock.
static bool add_spare(bool segment_is_missing) {
    size_t bytes = segment_is_missing ? sizeof(struct td_segment) : sizeof(struct td_segment_run);
    void *memory = td_metadata_alloc(bytes, TD_CACHE_LINE);
    // Where address space is limited, objects of one size may have taken all of it.
    if (memory == NULL && td_run_store_unmap_one())
        memory = td_metadata_alloc(bytes, TD_CACHE_LINE);
    if (memory == NULL)
        return false;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    if (segment_is_missing)
        td_run_put_spare_segment(memory);
    else
        td_run_put_spare(memory);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return true;
}

static bool enter(bool needs_segment) {
    for (;;) {
        td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
        bool segment_is_missing = needs_segment && !td_run_has_spare_segment();
        if (td_likely(!segment_is_missing && td_run_has_spares()))
            return true;
        td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
        if (!add_spare(segment_is_missing))
            return false;
    }
}

bool td_run_store_enter(void) {
    return enter(false);
}

void td_run_store_enter_anyway(void) {
    if (!enter(false))
        td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
}

bool td_run_store_enter_anyway_for_segment(void) {
    bool has_descriptors = enter(true);
    if (!has_descriptors)
        td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    return has_descriptors;
}

void td_run_store_leave(void) {
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
}

bool td_run_store_unmap_one(void) {
    enum td_run_state state;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    struct td_segment_run *run = td_run_take_to_unmap(&state);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    if (run == NULL)
        return false;
    bool is_gone = td_os_unmap((void *)run->base, run->segments * TD_SEGMENT_BYTES) == 0;
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    if (is_gone)
        td_run_put_spare(run);
    else
        td_run_add(run, state, run->freed_ms);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return is_gone;
}

void td_run_store_join_clean(void) {
    for (;;) {
        td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
        struct td_segment_run *run = td_run_take_huge_beside_other();
        td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
        if (run == NULL)
            return;
        td_os_advise_hugepages((void *)run->base, run->segments * TD_SEGMENT_BYTES, false);
        td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
        run->is_huge = false;
        td_page_map_set_place(run->base, run->segments, false);
        td_run_put(run, TD_RUN_CLEAN, 0);
        td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    }
}

static size_t growth_for(size_t segments) {
    size_t quarter = td_free_runs_mapped_bytes() / TD_SEGMENT_BYTES / 4;
    size_t most = 32;
    return td_max(segments, td_min(quarter, most));
}

static bool has_fit(size_t segments) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    bool is_there = td_run_has_fit(segments);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    return is_there;
}

// Maps so many segments and what describes them, or nothing.
static bool grow_by(size_t segments) {
    size_t bytes = segments * TD_SEGMENT_BYTES;
    char *memory = td_os_map(bytes, TD_SEGMENT_BYTES);
    if (memory == NULL)
        return false;
    // Where the system hands out hugepages unasked, a small heap would be resident by the megabyte.
    bool is_place = hugepages == TD_HUGEPAGES_ALWAYS;
    td_os_advise_hugepages(memory, bytes, is_place);
    if (!td_page_map_cover((uintptr_t)memory, bytes) || !td_run_store_enter()) {
        td_os_unmap(memory, bytes);
        return false;
    }
    struct td_segment_run *run = td_run_take_spare();
    *run = (struct td_segment_run){
        .base = (uintptr_t)memory, .segments = segments, .state = TD_RUN_CLEAN, .is_huge = is_place};
    td_page_map_set_place(run->base, segments, is_place);
    td_run_add(run, TD_RUN_CLEAN, 0);
    td_run_store_leave();
    return true;
}

bool td_run_store_grow(size_t segments) {
    size_t count = growth_for(segments);
    return grow_by(count) || (count > segments && grow_by(segments));
}

// Needs the growth lock: a thread that maps meanwhile would find less than there is.
static bool could_map_locked(size_t bytes) {
    if (bytes > PTRDIFF_MAX)
        return false;
    size_t rounded = td_round_up(bytes, TD_SEGMENT_BYTES);
    void *memory = td_os_map(rounded, TD_SEGMENT_BYTES);
    if (memory == NULL)
        return false;
    td_os_unmap(memory, rounded);
    return true;
}

bool td_backend_could_map(size_t bytes) {
    td_lock_acquire(&growth_lock, TD_RANK_GROWTH);
    bool could = could_map_locked(bytes);
    td_lock_release(&growth_lock, TD_RANK_GROWTH);
    return could;
}

// Whether the system would map a run of `segments` in the place of all free ones.
static bool could_replace_free_runs(size_t segments) {
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    size_t bytes = td_free_runs_bytes(TD_RUN_CLEAN) + td_free_runs_bytes(TD_RUN_DIRTY);
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    size_t wanted = segments * TD_SEGMENT_BYTES;
    return wanted <= bytes || (bytes != 0 && could_map_locked(wanted - bytes));
}

bool td_run_store_provide(size_t segments) {
    // Threads that run out of memory at the same time wait for the first one's mapping, which may do for all.
    td_lock_acquire(&growth_lock, TD_RANK_GROWTH);
    bool is_there = has_fit(segments) || td_run_store_grow(segments);
    // Where address space is limited, free runs that are too short may have taken it. They stay if that is in vain.
    bool may_unmap = !is_there && segments > 1 && could_replace_free_runs(segments);
    while (!is_there && may_unmap && td_run_store_unmap_one())
        is_there = td_run_store_grow(segments);
    td_lock_release(&growth_lock, TD_RANK_GROWTH);
    return is_there;
}

void td_run_store_fork_prepare(void) {
    td_lock_acquire(&growth_lock, TD_RANK_GROWTH);
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
}

void td_run_store_fork_done(void) {
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    td_lock_release(&growth_lock, TD_RANK_GROWTH);
}

void td_backend_set_hugepages(enum td_hugepages policy) {
    hugepages = policy;
}

enum td_hugepages td_run_store_hugepages(void) {
    return hugepages;
}
