// mstress: threads that allocate, keep, hand over and free objects of many sizes.
//
// All threads together keep up to --live objects, so that what the memory chart shows is the allocator and not the
// workload. Every --hand_over-th object goes over a shelf to whichever thread picks it up. After each round the threads
// exit, and the next round's threads inherit what their predecessors kept.
#include <atomic>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 4, "threads alive at once");
ABSL_FLAG(uint64_t, operations, 2000000, "allocations in all, each with its free");
ABSL_FLAG(uint64_t, live, 40000, "objects that all threads together keep");
ABSL_FLAG(uint64_t, rounds, 2, "how often all threads exit and new ones inherit their objects");
ABSL_FLAG(uint64_t, max_size, 262144, "size of the largest object, bytes");
ABSL_FLAG(uint64_t, hand_over, 8, "every how-manieth object is handed to another thread; 0 for none");

namespace {

constexpr uint64_t chunk = 1024;  // operations between two notes on the progress

struct workload {
    uint64_t slots_per_thread;
    uint64_t hand_over;
    size_t max_size;
    std::vector<void *> kept;                // owner only: `slots_per_thread` for each thread
    std::vector<std::atomic<void *>> shelf;  // atomic, any thread
};

// Puts `object` on the shelf and takes what lay there. The exchange hands the contents over: acquire and release pair
// with the same exchange in another thread.
void *swap_with_shelf(workload *shared, bench::random_source *random, void *object) {
    std::atomic<void *> &place = shared->shelf[random->below(shared->shelf.size())];
    return place.exchange(object, std::memory_order_acq_rel);
}

void run_thread(workload *shared, void **kept, uint64_t operations, uint64_t seed) {
    bench::random_source random(seed);
    for (uint64_t i = 0; i < operations; i++) {
        void **const slot = &kept[random.below(shared->slots_per_thread)];
        void *old = *slot;
        *slot = bench::object_new(bench::mixed_size(&random, shared->max_size));
        if (old != nullptr && shared->hand_over != 0 && random.one_in(shared->hand_over)) {
            old = swap_with_shelf(shared, &random, old);
        }
        if (old != nullptr) {
            bench::object_free(old);
        }
        if (i % chunk == chunk - 1) {
            bench::advance(chunk);
        }
    }
}

void free_rest(workload *shared) {
    for (void *object : shared->kept) {
        if (object != nullptr) {
            bench::object_free(object);
        }
    }
    for (std::atomic<void *> &place : shared->shelf) {
        void *const object = place.load(std::memory_order_relaxed);  // the threads are gone
        if (object != nullptr) {
            bench::object_free(object);
        }
    }
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("mstress", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const uint64_t operations = absl::GetFlag(FLAGS_operations);
    const uint64_t live = absl::GetFlag(FLAGS_live);
    const uint64_t rounds = absl::GetFlag(FLAGS_rounds);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", threads, 1, 100000);
    bench::require_flag("operations", operations, 1, UINT64_MAX);
    bench::require_flag("live", live, 1, UINT32_MAX);
    bench::require_flag("rounds", rounds, 1, 1000000);
    bench::require_flag("max_size", absl::GetFlag(FLAGS_max_size), bench::object_min_bytes, bench::object_max_bytes);

    workload shared;
    shared.slots_per_thread = live / threads > 0 ? live / threads : 1;
    shared.hand_over = absl::GetFlag(FLAGS_hand_over);
    shared.max_size = absl::GetFlag(FLAGS_max_size);
    shared.kept.resize(shared.slots_per_thread * threads);
    shared.shelf = std::vector<std::atomic<void *>>(live / 8 + 1);

    bench::expect_operations(operations);
    double seconds = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        const uint64_t in_round = bench::share_of(operations, rounds, round);
        seconds += bench::run_threads(threads, [&](uint64_t thread) {
            const uint64_t heir = (thread + round) % threads;
            run_thread(&shared, &shared.kept[heir * shared.slots_per_thread],
                       bench::share_of(in_round, threads, thread), (seed * rounds + round) * threads + thread);
        });
    }
    const double start = bench::now();
    free_rest(&shared);
    seconds += bench::now() - start;

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("operations", operations);
    report.parameter("live", live);
    report.parameter("rounds", rounds);
    report.parameter("max_size", shared.max_size);
    report.parameter("hand_over", shared.hand_over);
    report.parameter("seed", seed);
    report.verified("contents of all " + std::to_string(operations) + " objects before their free");
    report.print(seconds, operations);
    return 0;
}
