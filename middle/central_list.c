#include "middle/central_list.h"

#include <errno.h>

#include "backend/backend.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/minmax.h"
#include "base/size_class.h"
#include "middle/free_pages.h"
#include "middle/objects.h"

// Spans with free objects are kept by how full they are, in eighths: bucket 0 the fullest. Full spans are in no list.
#define BUCKET_COUNT 8
#define BUCKET_NONE BUCKET_COUNT

// A span's `age`, as the purge's hand left it: a CLOCK hand, which passes the spans of a class in turn and finds those
// that were not used since it passed last. AGE_PURGED + n: pages were given back when the span's segment had been made
// a hugepage n times (modulo TD_REBUILDS). If n has changed since, the kernel has filled those pages again.
enum { AGE_USED, AGE_UNUSED, AGE_WITHOUT_PAGES, AGE_PURGED };

_Static_assert(AGE_PURGED + TD_REBUILDS - 1 <= UINT8_MAX, "an age is a byte");

// Spans that the hand passes at once, at most: the lock is held meanwhile. And at one tick, which one allocation waits
// for: by the default decay it comes around more slowly where a class has more than some 80,000 spans.
#define VISITS_AT_ONCE 256
#define VISITS_PER_TICK 4096

struct central_list {
    struct td_lock lock;
    struct td_span *buckets[BUCKET_COUNT];  // guarded by lock
    size_t spans;                           // guarded by lock
    size_t linked_spans;                    // atomic, written under lock; those in `buckets`
    size_t free_objects;                    // guarded by lock; the sum of `free_objects` over the spans
    uint64_t lock_count;                    // guarded by lock
    struct td_span *hand;                   // guarded by lock; the span that the purge comes to next
    const struct td_span *held_span;        // guarded by lock; the one that gives pages back right now, or NULL
    struct td_free_pages held;              // guarded by lock; those pages
    size_t hand_bucket;                     // guarded by lock; where `hand` is or, if it is NULL, was
    uint64_t visits_due;                    // td_central_purge_idle's; spans to be passed, times the decay's ms
} TD_ALIGNED(TD_CACHE_LINE);

static struct central_list lists[TD_CLASS_COUNT];

static void list_lock(struct central_list *list) {
    td_lock_acquire(&list->lock, TD_RANK_CENTRAL);
    list->lock_count++;
}

static void list_unlock(struct central_list *list) {
    td_lock_release(&list->lock, TD_RANK_CENTRAL);
}

static size_t bucket_for(const struct td_class_info *info, const struct td_span *span) {
    if (span->free_objects == 0)
        return BUCKET_NONE;
    return (size_t)(span->free_objects - 1) * BUCKET_COUNT / info->span_objects;
}

static void link_span(struct central_list *list, struct td_span *span, size_t bucket) {
    span->bucket = (uint8_t)bucket;
    if (bucket == BUCKET_NONE)
        return;
    td_store_relaxed(&list->linked_spans, list->linked_spans + 1);
    span->prev = NULL;
    span->next = list->buckets[bucket];
    if (span->next != NULL)
        span->next->prev = span;
    list->buckets[bucket] = span;
}

static void unlink_span(struct central_list *list, struct td_span *span) {
    if (span->bucket == BUCKET_NONE)
        return;
    td_store_relaxed(&list->linked_spans, list->linked_spans - 1);
    if (list->hand == span)
        list->hand = span->next;
    if (span->prev != NULL)
        span->prev->next = span->next;
    else
        list->buckets[span->bucket] = span->next;
    if (span->next != NULL)
        span->next->prev = span->prev;
}

static void relink_span(struct central_list *list, const struct td_class_info *info, struct td_span *span) {
    size_t bucket = bucket_for(info, span);
    if (bucket == span->bucket)
        return;
    unlink_span(list, span);
    link_span(list, span, bucket);
}

static struct td_span *fullest_span(struct central_list *list) {
    for (size_t bucket = 0; bucket < BUCKET_COUNT; bucket++)
        if (list->buckets[bucket] != NULL)
            return list->buckets[bucket];
    return NULL;
}

// Makes a span and adds it. The lock is given up meanwhile: if others returned objects of this class in between, the
// span is not needed and left in `surplus`, since a span that nothing was taken from would never be given back. False
// if there is no memory.
static bool add_span(struct central_list *list, size_t class_index, struct td_span **surplus) {
    list_unlock(list);
    struct td_span *span = td_backend_alloc_span(class_index);
    if (span != NULL)
        td_objects_set_all_free(span);
    list_lock(list);
    if (list->free_objects != 0) {
        *surplus = span;
        return true;
    }
    if (span == NULL)
        return false;
    list->spans++;
    span->age = AGE_USED;
    list->free_objects += span->free_objects;
    link_span(list, span, bucket_for(&td_class_info[class_index], span));
    return true;
}

// A span of whose pages some were given back, and are used again from now on: as many bytes.
struct reuse {
    struct td_span *span;  // NULL: none
    size_t bytes;
};

static struct reuse reuse_of(struct td_span *span) {
    struct reuse reuse = {NULL, 0};
    if (td_likely(span->age < AGE_PURGED))
        return reuse;
    reuse.span = span;
    struct td_free_pages pages = {.start = span->start};
    // Nothing was taken or returned since: what is free now is what was given back.
    while (td_free_pages_next(span, pages.start + pages.bytes, &pages))
        reuse.bytes += pages.bytes;
    return reuse;
}

// Takes up to `count` objects, as many as `*words` has room for. Makes a span if there are none and `may_grow`. Ends
// with a span whose pages were given back, and returns that.
static struct reuse take_objects(size_t class_index, size_t count, bool may_grow, struct td_object_words *words) {
    const struct td_class_info *info = &td_class_info[class_index];
    struct central_list *list = &lists[class_index];
    struct td_span *surplus = NULL;
    struct reuse reuse = {NULL, 0};
    size_t taken = 0;
    words->count = 0;
    list_lock(list);
    while (taken < count && words->count < TD_OBJECT_WORDS && reuse.span == NULL) {
        struct td_span *span = fullest_span(list);
        if (span == NULL) {
            // What there is is enough: a short batch costs less than memory that was not asked for.
            if (taken != 0 || !may_grow || !add_span(list, class_index, &surplus))
                break;
            continue;
        }
        reuse = reuse_of(span);
        size_t now = td_objects_take(span, count - taken, words);
        span->age = AGE_USED;
        taken += now;
        list->free_objects -= now;
        relink_span(list, info, span);
    }
    list_unlock(list);
    if (surplus != NULL)
        td_backend_free_span(surplus);
    return reuse;
}

size_t td_central_fetch(size_t class_index, void **objects, size_t count) {
    struct td_object_words words;
    struct reuse reuse;
    size_t fetched = 0;
    do {
        reuse = take_objects(class_index, count - fetched, fetched == 0, &words);
        if (td_unlikely(reuse.span != NULL))
            td_backend_note_reuse(reuse.span, reuse.bytes);
        fetched += td_objects_list(&words, objects + fetched);
    } while (fetched < count && (words.count == TD_OBJECT_WORDS || reuse.span != NULL));
    return fetched;
}

// The bits of one word of the held span that stand for free objects, though they are clear.
static uint64_t held_bits(const struct td_free_pages *held, size_t word) {
    uint64_t bits = 0;
    for (size_t i = td_max(held->first, word * 64); i < held->first + held->objects && i < (word + 1) * 64; i++)
        bits |= (uint64_t)1 << (i % 64);
    return bits;
}

// Sets the objects' bits in their span. That it was theirs all the time is certain only for objects in use.
static void return_word(struct central_list *list, const struct td_object_word *word, size_t class_index) {
    struct td_span *span = word->span;
    uint64_t old = span->free_bits[word->word];
    uint64_t is_free = td_unlikely(span == list->held_span) ? old | held_bits(&list->held, word->word) : old;
    if (td_unlikely((is_free & word->bits) != 0 || span->class_index != class_index)) {
        uint64_t twice = (is_free & word->bits) != 0 ? is_free & word->bits : word->bits;
        size_t index = (size_t)word->word * 64 + (size_t)__builtin_ctzll(twice);
        td_fatal_double_free(td_objects_at(span, class_index, index), td_class_bytes(class_index));
    }
    td_store_relaxed(&span->free_bits[word->word], old | word->bits);
    span->free_objects = (uint16_t)(span->free_objects + word->count);
    list->free_objects += word->count;
}

// Files a span that objects were returned to. True if no object of it is in use any more: then it has left the list.
static bool file_span(struct central_list *list, size_t class_index, struct td_span *span) {
    const struct td_class_info *info = &td_class_info[class_index];
    if (td_likely(span->free_objects < info->span_objects)) {
        relink_span(list, info, span);
        return false;
    }
    unlink_span(list, span);
    list->spans--;
    list->free_objects -= span->free_objects;
    return true;
}

// Returns the objects of `words`. Those of one span that follow each other are filed once.
static void return_words(struct central_list *list, size_t class_index, const struct td_object_words *words,
                         struct td_span **empty) {
    for (size_t i = 0; i < words->count; i++) {
        struct td_span *span = words->words[i].span;
        return_word(list, &words->words[i], class_index);
        if (i + 1 < words->count && words->words[i + 1].span == span)
            continue;
        span->age = AGE_USED;
        if (file_span(list, class_index, span)) {
            span->next = *empty;
            *empty = span;
        }
    }
}

// Returns the first objects, as many as can be gathered at once, and says how many they were.
static size_t return_some(size_t class_index, void *const *objects, size_t count) {
    struct central_list *list = &lists[class_index];
    struct td_object_words words;
    struct td_span *empty = NULL;
    size_t returned = td_objects_gather(class_index, objects, count, &words);
    list_lock(list);
    return_words(list, class_index, &words, &empty);
    list_unlock(list);
    while (empty != NULL) {
        struct td_span *next = empty->next;
        td_backend_free_span(empty);
        empty = next;
    }
    return returned;
}

void td_central_return(size_t class_index, void *const *objects, size_t count) {
    for (size_t now; count > 0; objects += now, count -= now)
        now = return_some(class_index, objects, count);
}

// Takes the objects that lie in `pages` out of the span, and puts them back.
static void hold_objects(struct central_list *list, struct td_span *span, const struct td_free_pages *pages) {
    for (size_t i = pages->first; i < pages->first + pages->objects; i++)
        td_store_relaxed(&span->free_bits[i / 64], span->free_bits[i / 64] & ~((uint64_t)1 << (i % 64)));
    span->free_objects = (uint16_t)(span->free_objects - pages->objects);
    list->free_objects -= pages->objects;
    list->held_span = span;
    list->held = *pages;
    relink_span(list, &td_class_info[span->class_index], span);
}

static void release_objects(struct central_list *list, struct td_span *span, const struct td_free_pages *pages) {
    for (size_t i = pages->first; i < pages->first + pages->objects; i++)
        td_store_relaxed(&span->free_bits[i / 64], span->free_bits[i / 64] | (uint64_t)1 << (i % 64));
    span->free_objects = (uint16_t)(span->free_objects + pages->objects);
    list->free_objects += pages->objects;
    list->held_span = NULL;
}

// Gives the span's free pages back, until some are refused, and adds their bytes to `*bytes`. Their objects count as
// in use meanwhile: so no thread takes them, and the span stays. False if there are none.
static bool purge_span(struct central_list *list, size_t class_index, struct td_span *span, size_t *bytes) {
    struct td_free_pages pages;
    bool has_pages = td_free_pages_next(span, span->start, &pages);
    span->age = has_pages ? (uint8_t)(AGE_PURGED + td_backend_rebuilds(span)) : AGE_WITHOUT_PAGES;
    for (bool goes_on = has_pages; goes_on;) {
        hold_objects(list, span, &pages);
        list_unlock(list);
        size_t purged = td_backend_purge_pages(pages.start, pages.bytes);
        *bytes += purged;
        list_lock(list);
        release_objects(list, span, &pages);
        // What is locked, or in a hugepage of which much is used, may not be so at the next try.
        if (purged == 0 && span->age >= AGE_PURGED)
            span->age = AGE_UNUSED;
        if (file_span(list, class_index, span)) {
            list_unlock(list);
            td_backend_free_span(span);
            list_lock(list);
            break;
        }
        // Not where objects were taken or returned meanwhile: what was given back may be there again.
        goes_on = span->age >= AGE_PURGED && td_free_pages_next(span, pages.start + pages.bytes, &pages);
    }
    return has_pages;
}

// The span that the hand comes to next, and past it; NULL if no span has free objects.
static struct td_span *pass_span(struct central_list *list) {
    for (int i = 0; i < BUCKET_COUNT && list->hand == NULL; i++) {
        list->hand_bucket = (list->hand_bucket + 1) % BUCKET_COUNT;
        list->hand = list->buckets[list->hand_bucket];
    }
    struct td_span *span = list->hand;
    if (span != NULL)
        list->hand = span->next;
    return span;
}

// How many spans the hand is to pass at this tick, to come around twice within `decay_ms`; never around at once.
static size_t take_visits(struct central_list *list, uint64_t decay_ms) {
    size_t visits = td_load_relaxed(&list->linked_spans);
    if (decay_ms > 2 * TD_TICK_MS) {
        list->visits_due += visits * 2 * TD_TICK_MS;
        visits = list->visits_due / decay_ms;
        list->visits_due %= decay_ms;
    }
    return td_min(visits, VISITS_PER_TICK);
}

// What a span gave back is there again, as if it were used just now, once a hugepage was made of it.
static void note_new_hugepage(struct td_span *span) {
    if (span->age >= AGE_PURGED && span->age != AGE_PURGED + td_backend_rebuilds(span))
        span->age = AGE_USED;
}

// Has the hand pass `visits` spans: those that are `age` at least give their free pages back, the others grow older.
// Returns the bytes, and takes the spans that were to give some off `*spans_left`; ends when that is 0.
static size_t pass_spans_at_once(size_t class_index, size_t visits, int age, size_t *spans_left) {
    struct central_list *list = &lists[class_index];
    size_t bytes = 0;
    list_lock(list);
    for (; visits > 0 && *spans_left > 0; visits--) {
        struct td_span *span = pass_span(list);
        if (span == NULL)
            break;
        note_new_hugepage(span);
        if (span->age < age)
            span->age++;
        else if (span->age < AGE_WITHOUT_PAGES)
            *spans_left -= purge_span(list, class_index, span, &bytes);
    }
    list_unlock(list);
    return bytes;
}

// The same for any number of them.
static size_t pass_spans(size_t class_index, size_t visits, int age, size_t *spans_left) {
    size_t bytes = 0;
    for (size_t now; visits > 0 && *spans_left > 0; visits -= now) {
        now = td_min(visits, VISITS_AT_ONCE);
        bytes += pass_spans_at_once(class_index, now, age, spans_left);
    }
    return bytes;
}

void td_central_purge_idle(size_t class_index, uint64_t decay_ms, size_t *spans_left) {
    pass_spans(class_index, take_visits(&lists[class_index], decay_ms), AGE_UNUSED, spans_left);
}

// A purged span returns to the head of its bucket: from the first head on, the hand meets none of them again.
static void rewind_hand(struct central_list *list) {
    list_lock(list);
    list->hand = NULL;
    list->hand_bucket = BUCKET_COUNT - 1;
    list_unlock(list);
}

size_t td_central_purge(size_t class_index) {
    size_t any = SIZE_MAX;
    rewind_hand(&lists[class_index]);
    return pass_spans(class_index, td_load_relaxed(&lists[class_index].linked_spans), AGE_USED, &any);
}

void td_central_check_object(size_t class_index, const void *pointer, const char *call) {
    struct td_span *span = td_backend_span_of(pointer, call);
    size_t index = td_objects_index(span, class_index, pointer, call);
    // It needs no lock: the bit of an object in use does not change.
    if ((td_load_relaxed(&span->free_bits[index / 64]) >> (index % 64) & 1) != 0)
        td_fatal_freed(call, pointer, td_class_bytes(class_index));
}

void td_central_get_stats(size_t class_index, struct td_central_stats *stats) {
    struct central_list *list = &lists[class_index];
    list_lock(list);
    *stats = (struct td_central_stats){list->spans, list->free_objects, list->lock_count};
    list_unlock(list);
}

void td_central_fork_prepare(void) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++)
        td_lock_acquire(&lists[i].lock, TD_RANK_CENTRAL);
}

void td_central_fork_done(void) {
    for (size_t i = TD_CLASS_COUNT - 1; i >= 1; i--)
        td_lock_release(&lists[i].lock, TD_RANK_CENTRAL);
}

void td_central_check(size_t class_index) {
    const struct td_class_info *info = &td_class_info[class_index];
    struct central_list *list = &lists[class_index];
    size_t free_objects = 0;
    size_t linked = 0;
    list_lock(list);
    for (size_t bucket = 0; bucket < BUCKET_COUNT; bucket++)
        for (struct td_span *span = list->buckets[bucket]; span != NULL; span = span->next) {
            td_assert(span->class_index == class_index && span->bucket == bucket);
            td_assert(span->free_objects == td_objects_count_free(span));
            td_assert(bucket_for(info, span) == bucket);
            linked++;
            free_objects += span->free_objects;
        }
    td_assert(free_objects == list->free_objects);
    td_assert(linked == list->linked_spans);
    list_unlock(list);
}
