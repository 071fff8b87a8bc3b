#include "backend/free_runs.h"

#include "backend/page_map.h"
#include "base/arch.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/minmax.h"

// Free runs are kept by their length up to 15 segments, and by its four highest bits beyond.
#define EXACT_BINS 16
#define BIN_COUNT (EXACT_BINS + 28 * 8)
// An operation makes at most this many runs: what is before, in and behind the part it takes.
#define SPARE_RUNS 3

// A list from `next` to `next`, what was put into it last first. So of dirty runs the oldest is the last, but for parts
// of older ones that were cut off: who uses one part of a run may soon use the other.
struct bin {
    struct td_segment_run *newest;
    struct td_segment_run *oldest;
};

static struct bin bins[2][BIN_COUNT];             // guarded by td_backend_lock; by state, then length
static uint64_t nonempty[2][BIN_COUNT / 64 + 1];  // guarded by td_backend_lock; a bit per bin
static size_t free_segments[2];                   // guarded by td_backend_lock; by state
static size_t mapped_segments;                    // atomic, written under td_backend_lock
static struct td_segment_run *spare_runs;         // guarded by td_backend_lock; linked by `next`
static size_t spare_run_count;                    // guarded by td_backend_lock
static struct td_segment *spare_segments;         // guarded by td_backend_lock; linked by `run.next`

static bool is_free(const struct td_segment_run *run) {
    return run->state == TD_RUN_CLEAN || run->state == TD_RUN_DIRTY;
}

static size_t bin_of(size_t segments) {
    if (segments < EXACT_BINS)
        return segments;
    size_t bits = td_highest_bit(segments);
    return EXACT_BINS + (bits - 4) * 8 + (segments >> (bits - 3)) % 8;
}

static size_t shortest_in(size_t bin) {
    return bin < EXACT_BINS ? bin : (8 + bin % 8) << ((bin - EXACT_BINS) / 8 + 1);
}

// The first bin from `bin` on that is not empty; BIN_COUNT if there is none.
static size_t next_bin(enum td_run_state state, size_t bin) {
    while (bin < BIN_COUNT) {
        uint64_t word = nonempty[state][bin / 64] >> (bin % 64);
        if (word != 0)
            return bin + (size_t)__builtin_ctzll(word);
        bin = (bin / 64 + 1) * 64;
    }
    return BIN_COUNT;
}

void td_run_put_spare(struct td_segment_run *run) {
    run->next = spare_runs;
    spare_runs = run;
    spare_run_count++;
}

struct td_segment_run *td_run_take_spare(void) {
    struct td_segment_run *run = spare_runs;
    spare_runs = run->next;
    spare_run_count--;
    return run;
}

void td_run_put_spare_segment(struct td_segment *segment) {
    segment->run.next = spare_segments != NULL ? &spare_segments->run : NULL;
    spare_segments = segment;
}

bool td_run_has_spares(void) {
    return spare_run_count >= SPARE_RUNS;
}

bool td_run_has_spare_segment(void) {
    return spare_segments != NULL;
}

static void link_free(struct td_segment_run *run) {
    size_t index = bin_of(run->segments);
    struct bin *bin = &bins[run->state][index];
    // What a purge leaves of the oldest run, or the pages of an object moved out of.
    bool is_oldest = run->state == TD_RUN_DIRTY && bin->oldest != NULL && run->freed_ms < bin->oldest->freed_ms;
    run->prev = is_oldest ? bin->oldest : NULL;
    run->next = is_oldest ? NULL : bin->newest;
    *(run->prev != NULL ? &run->prev->next : &bin->newest) = run;
    *(run->next != NULL ? &run->next->prev : &bin->oldest) = run;
    nonempty[run->state][index / 64] |= (uint64_t)1 << (index % 64);
    free_segments[run->state] += run->segments;
}

static void unlink_free(struct td_segment_run *run) {
    size_t index = bin_of(run->segments);
    struct bin *bin = &bins[run->state][index];
    *(run->prev != NULL ? &run->prev->next : &bin->newest) = run->next;
    *(run->next != NULL ? &run->next->prev : &bin->oldest) = run->prev;
    if (bin->newest == NULL)
        nonempty[run->state][index / 64] &= ~((uint64_t)1 << (index % 64));
    free_segments[run->state] -= run->segments;
}

static void set_base(struct td_segment_run *run, uintptr_t base) {
    run->base = base;
    run->bytes = 0;  // no object began there
}

// The segments of `run` from `first` on, as a run of its own of the same state, linked nowhere.
static struct td_segment_run *split_tail(struct td_segment_run *run, size_t first) {
    struct td_segment_run *tail = td_run_take_spare();
    *tail = *run;
    set_base(tail, run->base + first * TD_SEGMENT_BYTES);
    tail->segments = run->segments - first;
    run->segments = first;
    td_page_map_set_run(tail->base, tail->segments, tail);
    return tail;
}

// The same of the first `segments`.
static struct td_segment_run *split_head(struct td_segment_run *run, size_t segments) {
    struct td_segment_run *head = td_run_take_spare();
    *head = *run;
    head->segments = segments;
    set_base(run, run->base + segments * TD_SEGMENT_BYTES);
    run->segments -= segments;
    td_page_map_set_run(head->base, segments, head);
    return head;
}

// Cuts a run that nobody else knows of: `*run` is what lies before `first` then, and the result the rest.
static struct td_segment_run *split(struct td_segment_run **run, size_t first) {
    struct td_segment_run *whole = *run;
    if (first >= whole->segments - first)
        return split_tail(whole, first);
    *run = split_head(whole, first);
    return whole;
}

static size_t segments_before_aligned(const struct td_segment_run *run, size_t align_segments) {
    size_t index = run->base >> TD_SEGMENT_SHIFT;
    return -index & (align_segments - 1);
}

static struct td_segment_run *find_fit(enum td_run_state state, size_t segments, size_t align_segments) {
    for (size_t bin = next_bin(state, bin_of(segments)); bin < BIN_COUNT; bin = next_bin(state, bin + 1)) {
        struct td_segment_run *best = NULL;
        size_t shortest = td_max(segments, shortest_in(bin));
        for (struct td_segment_run *run = bins[state][bin].newest; run != NULL; run = run->next) {
            bool fits = segments_before_aligned(run, align_segments) + segments <= run->segments;
            if (fits && (best == NULL || run->segments < best->segments))
                best = run;
            // A heap may have thousands of runs; most times one of the first is as short as any.
            if (best != NULL && best->segments == shortest)
                break;
        }
        if (best != NULL)
            return best;
    }
    return NULL;
}

struct td_segment_run *td_run_take(size_t segments, size_t align_segments, bool *is_clean) {
    struct td_segment_run *run = find_fit(TD_RUN_DIRTY, segments, align_segments);
    if (run == NULL)
        run = find_fit(TD_RUN_CLEAN, segments, align_segments);
    if (run == NULL)
        return NULL;
    unlink_free(run);
    size_t before = segments_before_aligned(run, align_segments);
    if (before != 0) {
        struct td_segment_run *aligned = split(&run, before);
        link_free(run);
        run = aligned;
    }
    if (run->segments > segments)
        link_free(split(&run, segments));
    *is_clean = run->state == TD_RUN_CLEAN;
    run->state = TD_RUN_HELD;
    return run;
}

static struct td_segment_run *free_neighbour(uintptr_t address, const struct td_segment_run *like) {
    struct td_segment_run *run = td_page_map_run((void *)address);
    bool can_merge = run != NULL && run->state == like->state && run->is_huge == like->is_huge;
    return can_merge ? run : NULL;
}

// Makes one run of two that touch, linked nowhere.
static struct td_segment_run *join(struct td_segment_run *before, struct td_segment_run *after) {
    bool before_is_longer = before->segments >= after->segments;
    struct td_segment_run *longer = before_is_longer ? before : after;
    struct td_segment_run *shorter = before_is_longer ? after : before;
    td_page_map_set_run(shorter->base, shorter->segments, longer);
    longer->base = before->base;
    longer->bytes = before->bytes;
    longer->segments += shorter->segments;
    longer->failed_purge = td_max(before->failed_purge, after->failed_purge);
    td_run_put_spare(shorter);
    return longer;
}

void td_run_put(struct td_segment_run *run, enum td_run_state state, uint64_t now_ms) {
    run->state = (uint8_t)state;
    struct td_segment_run *after = free_neighbour(td_run_end(run), run);
    if (after != NULL) {
        unlink_free(after);
        run = join(run, after);
    }
    struct td_segment_run *before = free_neighbour(run->base - 1, run);
    if (before != NULL) {
        unlink_free(before);
        run = join(before, run);
    }
    run->freed_ms = now_ms;
    link_free(run);
}

void td_run_trim(struct td_segment_run *run, size_t segments, enum td_run_state state, uint64_t now_ms) {
    if (segments < run->segments && spare_run_count != 0)
        td_run_put(split_tail(run, segments), state, now_ms);
}

void td_run_put_without(struct td_segment_run *run, size_t lost, uint64_t now_ms) {
    td_run_trim(run, lost + 1, TD_RUN_DIRTY, now_ms);
    size_t behind = run->segments - lost;  // more than one if there was no descriptor for the tail
    run->segments = lost;
    td_page_map_set_run(td_run_end(run), behind, NULL);
    td_store_relaxed(&mapped_segments, mapped_segments - behind);
    if (lost != 0)
        td_run_put(run, TD_RUN_DIRTY, now_ms);
    else
        td_run_put_spare(run);
}

bool td_run_extend(struct td_segment_run *run, size_t segments) {
    size_t missing = segments - run->segments;
    struct td_segment_run *after = td_page_map_run((void *)td_run_end(run));
    if (after == NULL || !is_free(after) || after->segments < missing)
        return false;
    unlink_free(after);
    set_base(after, after->base + missing * TD_SEGMENT_BYTES);
    after->segments -= missing;
    if (after->segments != 0)
        link_free(after);
    else
        td_run_put_spare(after);
    td_page_map_set_run(td_run_end(run), missing, run);
    run->segments = segments;
    run->is_huge = run->is_huge || after->is_huge;
    return true;
}

void td_run_extend_over_dirty(struct td_segment_run *run) {
    const struct td_segment_run *after = td_page_map_run((void *)td_run_end(run));
    if (after != NULL && after->state == TD_RUN_DIRTY && after->is_huge == run->is_huge)
        td_run_extend(run, run->segments + after->segments);
}

struct td_segment_run *td_run_take_oldest_dirty(uint64_t purge, size_t segments) {
    struct td_segment_run *oldest = NULL;
    for (size_t bin = next_bin(TD_RUN_DIRTY, 0); bin < BIN_COUNT; bin = next_bin(TD_RUN_DIRTY, bin + 1)) {
        struct td_segment_run *run = bins[TD_RUN_DIRTY][bin].oldest;
        while (run != NULL && run->failed_purge >= purge)
            run = run->prev;
        if (run != NULL && (oldest == NULL || run->freed_ms < oldest->freed_ms))
            oldest = run;
    }
    if (oldest == NULL)
        return NULL;
    unlink_free(oldest);
    if (oldest->segments > segments && spare_run_count != 0)
        link_free(split(&oldest, segments));
    oldest->state = TD_RUN_HELD;
    return oldest;
}

struct td_segment *td_run_to_segment(struct td_segment_run *run, bool is_clean) {
    td_assert(run->segments == 1 && spare_segments != NULL);
    struct td_segment *segment = spare_segments;
    spare_segments = segment->run.next != NULL ? td_segment_of_run(segment->run.next) : NULL;
    td_segment_init(segment, run->base, !is_clean);
    td_segment_set_huge(segment, td_page_map_is_place(run->base));
    segment->free_run = run;
    td_page_map_set_run(run->base, 1, &segment->run);
    return segment;
}

struct td_segment_run *td_run_from_segment(struct td_segment *segment) {
    struct td_segment_run *run = segment->free_run;
    *run = segment->run;
    run->bytes = 0;
    td_page_map_set_run(run->base, 1, run);
    td_page_map_set_place(run->base, 1, run->is_huge);
    td_segment_end(segment);
    td_run_put_spare_segment(segment);
    return run;
}

bool td_run_has_fit(size_t segments) {
    return find_fit(TD_RUN_DIRTY, segments, 1) != NULL || find_fit(TD_RUN_CLEAN, segments, 1) != NULL;
}

void td_run_add(struct td_segment_run *run, enum td_run_state state, uint64_t now_ms) {
    td_store_relaxed(&mapped_segments, mapped_segments + run->segments);
    td_page_map_set_run(run->base, run->segments, run);
    td_run_put(run, state, now_ms);
}

struct td_segment_run *td_run_take_to_unmap(enum td_run_state *state) {
    struct td_segment_run *run = find_fit(TD_RUN_CLEAN, 1, 1);
    if (run == NULL)
        run = find_fit(TD_RUN_DIRTY, 1, 1);
    if (run == NULL)
        return NULL;
    unlink_free(run);
    // Without a descriptor for the rest all of it goes.
    if (run->segments > 1 && spare_run_count != 0)
        link_free(split(&run, 1));
    *state = run->state;
    run->state = TD_RUN_HELD;
    td_page_map_set_run(run->base, run->segments, NULL);
    td_store_relaxed(&mapped_segments, mapped_segments - run->segments);
    return run;
}

struct td_segment_run *td_run_take_huge_beside_other(void) {
    const struct td_segment_run other = {.state = TD_RUN_CLEAN, .is_huge = false};
    for (size_t bin = next_bin(TD_RUN_CLEAN, 0); bin < BIN_COUNT; bin = next_bin(TD_RUN_CLEAN, bin + 1))
        for (struct td_segment_run *run = bins[TD_RUN_CLEAN][bin].newest; run != NULL; run = run->next)
            if (run->is_huge &&
                (free_neighbour(td_run_end(run), &other) != NULL || free_neighbour(run->base - 1, &other) != NULL)) {
                unlink_free(run);
                run->state = TD_RUN_HELD;
                return run;
            }
    return NULL;
}

size_t td_free_runs_bytes(enum td_run_state state) {
    return free_segments[state] * TD_SEGMENT_BYTES;
}

size_t td_free_runs_mapped_bytes(void) {
    return td_load_relaxed(&mapped_segments) * TD_SEGMENT_BYTES;
}
