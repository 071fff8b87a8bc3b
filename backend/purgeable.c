#include "backend/purgeable.h"

#include "base/fatal.h"

// Segments are sorted by their number of pages, but not finely: each span that is taken or freed changes it.
#define LIST_COUNT 8
#define PAGES_PER_LIST (TD_SEGMENT_PAGES / LIST_COUNT)

// A list from `purgeable_next` to `purgeable_next`, what came into it last first. The oldest is taken: a segment that
// pages were freed in may soon have them taken again.
struct list {
    struct td_segment *newest;
    struct td_segment *oldest;
};

size_t td_purgeable_pages;

static struct list by_pages[LIST_COUNT];  // guarded by td_backend_lock
static struct list had_turn;              // guarded by td_backend_lock
static uint64_t round_number = 1;         // guarded by td_backend_lock

// Where the segment belongs; NULL if it has no such pages.
static struct list *list_of(const struct td_segment *segment) {
    if (segment->purgeable == 0)
        return NULL;
    return segment->turn == round_number ? &had_turn : &by_pages[(segment->purgeable - 1u) / PAGES_PER_LIST];
}

static void link_segment(struct list *list, struct td_segment *segment) {
    segment->purgeable_prev = NULL;
    segment->purgeable_next = list->newest;
    *(list->newest != NULL ? &list->newest->purgeable_prev : &list->oldest) = segment;
    list->newest = segment;
}

static void unlink_segment(struct list *list, struct td_segment *segment) {
    struct td_segment *next = segment->purgeable_next, *prev = segment->purgeable_prev;
    *(prev != NULL ? &prev->purgeable_next : &list->newest) = next;
    *(next != NULL ? &next->purgeable_prev : &list->oldest) = prev;
}

void td_purgeable_set(struct td_segment *segment, size_t pages) {
    struct list *before = list_of(segment);
    td_purgeable_pages += pages - segment->purgeable;
    segment->purgeable = (uint16_t)pages;
    struct list *after = list_of(segment);
    if (before == after)
        return;
    if (before != NULL)
        unlink_segment(before, segment);
    if (after != NULL)
        link_segment(after, segment);
}

struct td_segment *td_purgeable_take(void) {
    size_t i = LIST_COUNT;
    while (i != 0 && by_pages[i - 1].oldest == NULL)
        i--;
    if (i == 0)
        return NULL;
    struct td_segment *segment = by_pages[i - 1].oldest;
    unlink_segment(&by_pages[i - 1], segment);
    segment->turn = round_number;
    link_segment(&had_turn, segment);
    return segment;
}

void td_purgeable_forget_turn(struct td_segment *segment) {
    td_assert(segment->purgeable == 0);
    segment->turn = 0;
}

void td_purgeable_begin_round(void) {
    round_number++;
    while (had_turn.oldest != NULL) {
        struct td_segment *segment = had_turn.oldest;
        unlink_segment(&had_turn, segment);
        link_segment(list_of(segment), segment);
    }
}
