#include "tests/vm/object.h"

#include <stdlib.h>
#include <string.h>

#include "tests/vm/sabotage.h"
#include "tests/vm/verdict.h"

_Thread_local const char *volatile allocator_call;

enum {
    SABOTEUR = 9999,  // the owner of `sabotage_held`
    OWNER_SHIFT = 48,
    WORD_BYTES = 8,
    STAMP_WORDS = 2,
    DENSE_WORDS = 32,     // so many words at the start of an object have the pattern;
    SPARSE_STRIDE = 128,  // from there on one word of so many has, and the last
    ALIGNMENT_COUNT = 6,
};

static const uint64_t pattern_step = UINT64_C(0x9e3779b97f4a7c15);
static const size_t min_alignment_bytes = 16;

// What `replace_by_held` answers. Atomic, any thread.
static uint64_t *sabotage_held;

static unsigned owner_of(uint64_t stamp) {
    return (unsigned)(stamp >> OWNER_SHIFT);
}

static uint64_t number_of(uint64_t stamp) {
    return stamp & ((UINT64_C(1) << OWNER_SHIFT) - 1);
}

static uint64_t seal_of(const void *memory, uint64_t stamp) {
    uint64_t mixed = (uint64_t)(uintptr_t)memory * pattern_step ^ stamp;
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xd6e8feb86659fd93);
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return mixed ^ mixed >> 32;
}

static uint64_t load_word(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

// Relaxed: objects pass between threads through mailboxes, which order them.
static void store_word(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static size_t next_pattern_word(size_t word, size_t words) {
    size_t next = word < DENSE_WORDS ? word + 1 : word + SPARSE_STRIDE;
    return next >= words && word < words - 1 ? words - 1 : next;
}

static void fill_pattern(const struct object *object, uint64_t seed) {
    size_t words = object->size / WORD_BYTES;
    for (size_t i = STAMP_WORDS; i < words; i = next_pattern_word(i, words)) {
        store_word(&object->memory[i], seed + i * pattern_step);
    }
}

// Looks at the words that the pattern of an object of `size` bytes has within the first `kept_bytes` of it.
static void verify_pattern(const struct object *object, uint64_t seed, size_t kept_bytes, const char *moment) {
    size_t words = object->size / WORD_BYTES;
    size_t kept_words = kept_bytes / WORD_BYTES;
    for (size_t i = STAMP_WORDS; i < words && i < kept_words; i = next_pattern_word(i, words)) {
        uint64_t found = load_word(&object->memory[i]);
        if (found != seed + i * pattern_step) {
            fail("damaged object %p (%zu bytes) of thread %u, number %llu, %s: %#llx at byte %zu in place of %#llx",
                 (void *)object->memory, object->size, owner_of(object->stamp),
                 (unsigned long long)number_of(object->stamp), moment, (unsigned long long)found, i * WORD_BYTES,
                 (unsigned long long)(seed + i * pattern_step));
        }
    }
}

static void put_stamp(struct object *object, uint64_t stamp) {
    uint64_t seal = seal_of(object->memory, stamp);
    object->stamp = stamp;
    store_word(&object->memory[0], stamp);
    store_word(&object->memory[1], seal);
    fill_pattern(object, seal);
}

static void wipe_stamp(const struct object *object) {
    store_word(&object->memory[1], 0);
}

// The allocator has just handed this memory out: nobody may hold it.
static void verify_unheld(const struct object *object, unsigned owner) {
    uint64_t stamp = load_word(&object->memory[0]);
    if (load_word(&object->memory[1]) == seal_of(object->memory, stamp)) {
        fail("doubled object %p (%zu bytes): thread %u got it while thread %u holds it, number %llu",
             (void *)object->memory, object->size, owner, owner_of(stamp), (unsigned long long)number_of(stamp));
    }
}

static void verify_zeroed(const struct object *object) {
    for (size_t i = 0; i < object->size / WORD_BYTES; i = next_pattern_word(i, object->size / WORD_BYTES)) {
        if (load_word(&object->memory[i]) != 0) {
            fail("calloc gave an object %p (%zu bytes) with %#llx at byte %zu", (void *)object->memory, object->size,
                 (unsigned long long)load_word(&object->memory[i]), i * WORD_BYTES);
        }
    }
}

static void *allocate_aligned(size_t size) {
    size_t alignment = min_alignment_bytes << (size / WORD_BYTES % ALIGNMENT_COUNT);
    void *memory = aligned_alloc(alignment, size);
    if ((uintptr_t)memory % alignment != 0)
        fail("aligned_alloc(%zu, %zu) gave %p", alignment, size, memory);
    return memory;
}

static void *allocate(enum object_origin origin, size_t size) {
    switch (origin) {
    case OBJECT_FROM_CALLOC:
        allocator_call = "calloc";
        return calloc(1, size);
    case OBJECT_FROM_ALIGNED_ALLOC:
        allocator_call = "aligned_alloc";
        return allocate_aligned(size);
    case OBJECT_FROM_MALLOC:
    default:
        allocator_call = "malloc";
        return malloc(size);
    }
}

// Plays an allocator that hands out what somebody holds: a stamped object that only this function knows.
static void replace_by_held(struct object *object) {
    uint64_t *held = __atomic_load_n(&sabotage_held, __ATOMIC_ACQUIRE);  // pairs with the release below
    if (held == NULL) {
        struct object hidden = {.memory = malloc(OBJECT_MIN_BYTES), .size = OBJECT_MIN_BYTES};
        if (hidden.memory == NULL)
            fail("no memory for an object of %d bytes", OBJECT_MIN_BYTES);
        put_stamp(&hidden, (uint64_t)SABOTEUR << OWNER_SHIFT);
        held = hidden.memory;
        __atomic_store_n(&sabotage_held, held, __ATOMIC_RELEASE);  // pairs with the acquire above
    }
    free(object->memory);
    object->memory = held;
}

void object_create(struct object *object, enum object_origin origin, size_t size, unsigned owner, uint64_t number) {
    const char *outer_call = allocator_call;
    object->size = size;
    object->memory = allocate(origin, size);
    allocator_call = outer_call;
    if (object->memory == NULL)
        fail("no memory for an object of %zu bytes", size);
    if ((uintptr_t)object->memory % min_alignment_bytes != 0)
        fail("misaligned object %p", (void *)object->memory);
    if (sabotage == SABOTAGE_DOUBLE && number == SABOTAGE_DELAY)
        replace_by_held(object);
    if (origin == OBJECT_FROM_CALLOC)
        verify_zeroed(object);
    verify_unheld(object, owner);
    put_stamp(object, (uint64_t)owner << OWNER_SHIFT | number);
}

void object_verify(const struct object *object, const char *moment) {
    uint64_t stamp = load_word(&object->memory[0]);
    uint64_t seal = load_word(&object->memory[1]);
    if (stamp != object->stamp || seal != seal_of(object->memory, object->stamp)) {
        fail("doubled object %p (%zu bytes) of thread %u, number %llu, %s: it has %s of thread %u, number %llu",
             (void *)object->memory, object->size, owner_of(object->stamp),
             (unsigned long long)number_of(object->stamp), moment,
             seal == seal_of(object->memory, stamp) ? "the stamp" : "a wiped or damaged stamp", owner_of(stamp),
             (unsigned long long)number_of(stamp));
    }
    verify_pattern(object, seal, object->size, moment);
}

void object_resize(struct object *object, size_t size) {
    object_verify(object, "before realloc");
    uint64_t seal = load_word(&object->memory[1]);
    size_t kept_bytes = size < object->size ? size : object->size;
    wipe_stamp(object);
    const char *outer_call = allocator_call;
    allocator_call = "realloc";
    uint64_t *memory = realloc(object->memory, size);
    allocator_call = outer_call;
    if (memory == NULL)
        fail("no memory to make an object of %zu bytes one of %zu", object->size, size);
    object->memory = memory;
    if (load_word(&memory[0]) != object->stamp)
        fail("realloc to %zu bytes lost the start of %p", size, (void *)memory);
    verify_pattern(object, seal, kept_bytes, "after realloc");
    object->size = size;
    put_stamp(object, object->stamp);
}

void object_destroy(struct object *object) {
    object_verify(object, "before free");
    wipe_stamp(object);
    const char *outer_call = allocator_call;
    allocator_call = "free";
    free(object->memory);
    allocator_call = outer_call;
    *object = (struct object){0};
}
