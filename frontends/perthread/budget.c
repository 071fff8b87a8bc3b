#include "frontends/perthread/budget.h"

#include "base/minmax.h"
#include "middle/middle.h"

static size_t thread_count;        // atomic, any thread
static size_t claimed_bytes;       // atomic, any thread; the sum of all slabs' budgets
static size_t total_budget_bytes;  // immutable after init
static size_t few_threads;         // immutable after init

void td_budget_init(size_t cpus) {
    // One thread may have what a CPU has.
    total_budget_bytes = td_max(cpus * TD_THREAD_BUDGETS_PER_CPU_BYTES, TD_SLAB_BUDGET_BYTES);
    few_threads = cpus * TD_FEW_THREADS;
}

void td_budget_add_thread(void) {
    td_add_relaxed(&thread_count, 1);
}

void td_budget_remove_thread(void) {
    td_sub_relaxed(&thread_count, 1);
}

bool td_budget_are_few(size_t threads) {
    return threads <= few_threads;
}

void td_budget_begin(struct td_slab *slab) {
    // None: a thread that another library's handler started in a forked child, before the count began anew.
    size_t threads = td_load_relaxed(&thread_count);
    size_t share = total_budget_bytes / (threads != 0 ? threads : 1);
    slab->budget_bytes = td_clamp(share, TD_SLAB_BUDGET_MIN_BYTES, TD_SLAB_BUDGET_FIRST_BYTES);
    td_add_relaxed(&claimed_bytes, slab->budget_bytes);
}

// Whether so much more is in use than all slabs would have then, by small objects, or than this slab would, by its
// balance: what the threads that had it have of what they allocated, what it caches included, or have passed on to
// others or taken from them.
static bool has_much_in_use(const struct td_slab *slab, size_t bytes, size_t threads) {
    // If each thread had as much, or if the others, with those that threads have left, stay as they are.
    size_t all_bytes = td_max(bytes * threads, td_load_relaxed(&claimed_bytes) - slab->budget_bytes + bytes);
    if (TD_MUCH_IN_USE_TIMES * all_bytes <= td_middle_span_bytes())
        return true;
    int64_t balance = td_load_relaxed(&slab->balance_bytes);
    return TD_MUCH_IN_USE_TIMES * bytes <= (uint64_t)(balance < 0 ? -balance : balance);
}

// Whether bins that are empty and full in turns have cost as many slow paths as a larger budget is worth, and in so
// short a time that they matter.
static bool is_cramped(struct td_slab *slab) {
    uint64_t cramped = td_load_relaxed(&slab->cramped);
    uint64_t count = cramped - slab->cramped_seen;
    if (count * TD_CRAMPED_EARNS_BYTES < slab->budget_bytes)
        return false;
    uint64_t now_ms = td_middle_clock_ms();
    uint64_t elapsed_ms = now_ms - slab->cramped_ms;
    slab->cramped_seen = cramped;
    slab->cramped_ms = now_ms;
    return elapsed_ms * TD_CRAMPED_PER_MS <= count;
}

// Whether so many threads are few enough for as much each. With some more than a few it falls fast, but not at once.
static bool may_few_have(size_t bytes, size_t threads) {
    return bytes * threads * threads <= 2 * TD_SLAB_BUDGET_BYTES * few_threads * few_threads;
}

void td_budget_claim(struct td_slab *slab, size_t class_index) {
    size_t budget = slab->budget_bytes;
    bool lacks_slots = td_slab_lacks_first_slots(slab, class_index);
    if (lacks_slots)
        td_store_relaxed(&slab->unserved, slab->unserved + 1);
    bool is_used = (size_t)td_load_relaxed(&slab->capacity_bytes) >= budget / 2;
    if ((!is_used && !lacks_slots) || budget >= TD_SLAB_BUDGET_BYTES)
        return;
    // Each bin grows with a few slow paths of its own; the slab as a whole is to have had enough of them.
    uint64_t slow_paths = td_slab_slow_paths(slab);
    if (slow_paths * TD_SLOW_PATH_EARNS_BYTES < budget)
        return;
    size_t threads = td_load_relaxed(&thread_count);
    bool has_much = has_much_in_use(slab, 2 * budget, threads);
    bool is_starved = lacks_slots && slab->unserved * TD_UNSERVED_SHARE >= slow_paths + td_load_relaxed(&slab->swaps);
    if (2 * budget > TD_SLAB_BUDGET_SMALL_BYTES && !has_much && !is_starved && !is_cramped(slab))
        return;
    // Its share, or what few may have, whatever others have claimed.
    bool may_exceed = 2 * budget * threads <= total_budget_bytes || (has_much && may_few_have(2 * budget, threads));
    // Most claims that fail do so here, without a store that all threads would wait for.
    if (!may_exceed && td_load_relaxed(&claimed_bytes) + budget > total_budget_bytes)
        return;
    if (td_add_relaxed(&claimed_bytes, budget) + budget <= total_budget_bytes || may_exceed)
        slab->budget_bytes = 2 * budget;
    else
        td_sub_relaxed(&claimed_bytes, budget);
}

void td_budget_end(struct td_slab *slab) {
    td_sub_relaxed(&claimed_bytes, slab->budget_bytes);
    slab->budget_bytes = 0;
}

void td_budget_fork_child(size_t threads, size_t bytes) {
    td_store_relaxed(&thread_count, threads);
    td_store_relaxed(&claimed_bytes, bytes);
}
