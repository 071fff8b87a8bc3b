#include "middle/batch_stack.h"

#include "backend/metadata.h"
#include "base/lock.h"
#include "base/minmax.h"

#define NUMBER_BITS 20
#define HEIGHT_BITS 12
#define NUMBER_MASK (((uint64_t)1 << NUMBER_BITS) - 1)
#define HEIGHT_MASK (((uint64_t)1 << HEIGHT_BITS) - 1)
#define POPS_SHIFT (NUMBER_BITS + HEIGHT_BITS)

// Batches that are made at once.
#define CHUNK_BATCHES 64
#define CHUNKS (((size_t)1 << NUMBER_BITS) / CHUNK_BATCHES)

static struct td_lock lock;
static uint32_t last_number;             // guarded by lock
static struct td_batch *chunks[CHUNKS];  // atomic, any thread; written under lock, never cleared

static uint64_t stack_word(uint64_t pops, size_t height, uint32_t number) {
    return pops << POPS_SHIFT | (uint64_t)height << NUMBER_BITS | number;
}

static uint32_t number_of(uint64_t word) {
    return (uint32_t)(word & NUMBER_MASK);
}

static size_t height_of(uint64_t word) {
    return (size_t)(word >> NUMBER_BITS & HEIGHT_MASK);
}

// A number comes from a stack, or from a batch in one, or is made under the lock: so the chunk is there, and the load
// of its address depends on the load of the number.
static struct td_batch *batch_at(uint32_t number) {
    return number == 0 ? NULL : td_load_relaxed(&chunks[number / CHUNK_BATCHES]) + number % CHUNK_BATCHES;
}

size_t td_batch_stack_height(const td_batch_stack *stack) {
    return height_of(td_load_relaxed(stack));
}

// Pairs with the release in `td_batch_stack_push`.
const struct td_batch *td_batch_stack_top(const td_batch_stack *stack) {
    return batch_at(number_of(td_load_acquire(stack)));
}

struct td_batch *td_batch_stack_pop(td_batch_stack *stack) {
    uint64_t word = td_load_acquire(stack);
    for (;;) {
        struct td_batch *batch = batch_at(number_of(word));
        if (batch == NULL)
            return NULL;
        size_t height = td_max(height_of(word), 1) - 1;
        uint64_t popped = stack_word((word >> POPS_SHIFT) + 1, height, td_load_relaxed(&batch->below));
        // Pairs with the release in `td_batch_stack_push`; so does the load above, and that of a word found instead.
        if (td_compare_exchange_acquire(stack, &word, popped))
            return batch;
    }
}

void td_batch_stack_push(td_batch_stack *stack, struct td_batch *batch) {
    uint64_t word = td_load_relaxed(stack);
    uint64_t pushed;
    do {
        td_store_relaxed(&batch->below, number_of(word));
        pushed = stack_word(word >> POPS_SHIFT, td_min(height_of(word) + 1, HEIGHT_MASK), batch->number);
    } while (!td_compare_exchange_release(stack, &word, pushed));
}

size_t td_batch_stack_objects(const td_batch_stack *stack) {
    uint64_t word = td_load_acquire(stack);
    size_t objects = 0;
    const struct td_batch *batch = batch_at(number_of(word));
    for (size_t left = height_of(word); batch != NULL && left > 0; left--) {
        objects += td_load_relaxed(&batch->count);
        batch = batch_at(td_load_relaxed(&batch->below));
    }
    return objects;
}

// Number 0 stands for no batch, so the first batch of all is left out.
static bool add_chunk_locked(size_t chunk) {
    struct td_batch *batches = td_metadata_alloc(CHUNK_BATCHES * sizeof *batches, TD_CACHE_LINE);
    if (batches == NULL)
        return false;
    // Pairs with the loads of stacks, where numbers are found.
    td_store_release(&chunks[chunk], batches);
    return true;
}

struct td_batch *td_batch_new(void) {
    struct td_batch *batch = NULL;
    td_lock_acquire(&lock, TD_RANK_TRANSFER);
    uint32_t number = last_number + 1;
    size_t chunk = number / CHUNK_BATCHES;
    if (chunk < CHUNKS && (td_load_relaxed(&chunks[chunk]) != NULL || add_chunk_locked(chunk))) {
        batch = batch_at(number);
        batch->number = number;
        last_number = number;
    }
    td_lock_release(&lock, TD_RANK_TRANSFER);
    return batch;
}

void td_batch_fork_prepare(void) {
    td_lock_acquire(&lock, TD_RANK_TRANSFER);
}

void td_batch_fork_done(void) {
    td_lock_release(&lock, TD_RANK_TRANSFER);
}
