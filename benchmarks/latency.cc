// latency: how long single calls take, the rare slow ones included.
//
// Each thread replaces objects of mixed sizes in places of its own and, now and then, on a shelf that it shares with
// the others. Every malloc and every free is timed on its own. As often, nothing at all is timed: those `clock_`
// figures are what the clock costs and what the scheduler does to a thread that is running, and belong to no allocator.
#include <time.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/histogram.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 8, "threads alive at once");
ABSL_FLAG(uint64_t, operations, 4000000, "allocations in all, each with its free");
ABSL_FLAG(uint64_t, live, 20000, "objects that all threads together keep");
ABSL_FLAG(uint64_t, max_size, 32768, "size of the largest object, bytes");

namespace {

constexpr uint64_t hand_over_one_in = 8;
constexpr uint64_t chunk = 1024;  // operations between two notes on the progress

struct latencies {
    bench::histogram mallocs;
    bench::histogram frees;
    bench::histogram clocks;
};

struct workload {
    size_t max_size;
    uint64_t slots_per_thread;
    std::vector<std::atomic<void *>> shelf;  // atomic, any thread
};

uint64_t nanoseconds() {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

void *timed_new(latencies *times, size_t size) {
    const uint64_t start = nanoseconds();
    void *const object = malloc(size);
    const uint64_t end = nanoseconds();
    times->mallocs.add(end - start);
    if (object == nullptr) {
        bench::fail("malloc(%zu) gave NULL", size);
    }
    bench::object_write(object, size);
    return object;
}

void timed_free(latencies *times, void *object) {
    bench::object_check(object);
    *static_cast<volatile uint64_t *>(object) = 0;
    const uint64_t start = nanoseconds();
    free(object);
    const uint64_t end = nanoseconds();
    times->frees.add(end - start);
}

void time_nothing(latencies *times) {
    const uint64_t start = nanoseconds();
    times->clocks.add(nanoseconds() - start);
}

void run_thread(workload *shared, latencies *times, uint64_t operations, uint64_t seed) {
    bench::random_source random(seed);
    std::vector<void *> kept(shared->slots_per_thread);
    for (uint64_t i = 0; i < operations; i++) {
        void *&slot = kept[random.below(kept.size())];
        void *old = slot;
        slot = timed_new(times, bench::mixed_size(&random, shared->max_size));
        if (old != nullptr && random.one_in(hand_over_one_in)) {
            // Hands the contents over: acquire and release pair with the same exchange in another thread.
            old = shared->shelf[random.below(shared->shelf.size())].exchange(old, std::memory_order_acq_rel);
        }
        if (old != nullptr) {
            timed_free(times, old);
        }
        time_nothing(times);
        if (i % chunk == chunk - 1) {
            bench::advance(chunk);
        }
    }
    for (void *object : kept) {
        if (object != nullptr) {
            timed_free(times, object);
        }
    }
}

void add_percentiles(bench::report *report, const std::string &of, const bench::histogram &times) {
    const auto add = [&](const char *name, uint64_t value) {
        report->figure((of + "_" + name + "_ns").c_str(), static_cast<double>(value));
    };
    add("p50", times.at(0.5));
    add("p99", times.at(0.99));
    add("p99_9", times.at(0.999));
    add("p99_99", times.at(0.9999));
    add("max", times.largest());
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("latency", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const uint64_t operations = absl::GetFlag(FLAGS_operations);
    const uint64_t live = absl::GetFlag(FLAGS_live);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", threads, 1, 10000);
    bench::require_flag("operations", operations, 1, UINT64_MAX);
    bench::require_flag("live", live, 1, UINT32_MAX);
    bench::require_flag("max_size", absl::GetFlag(FLAGS_max_size), bench::object_min_bytes, bench::object_max_bytes);

    workload shared;
    shared.max_size = absl::GetFlag(FLAGS_max_size);
    shared.slots_per_thread = live / threads > 0 ? live / threads : 1;
    shared.shelf = std::vector<std::atomic<void *>>(live / 8 + 1);
    std::vector<latencies> per_thread(threads);
    bench::expect_operations(operations);
    const double seconds = bench::run_threads(threads, [&](uint64_t thread) {
        run_thread(&shared, &per_thread[thread], bench::share_of(operations, threads, thread), seed * threads + thread);
    });
    for (std::atomic<void *> &place : shared.shelf) {
        void *const object = place.load(std::memory_order_relaxed);  // the threads are gone
        if (object != nullptr) {
            bench::object_free(object);
        }
    }
    const std::unique_ptr<latencies> all(new latencies);
    for (const latencies &each : per_thread) {
        all->mallocs.add(each.mallocs);
        all->frees.add(each.frees);
        all->clocks.add(each.clocks);
    }

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("operations", operations);
    report.parameter("live", live);
    report.parameter("max_size", shared.max_size);
    report.parameter("seed", seed);
    add_percentiles(&report, "malloc", all->mallocs);
    add_percentiles(&report, "free", all->frees);
    add_percentiles(&report, "clock", all->clocks);
    report.verified("contents of all " + std::to_string(operations) + " objects before their free");
    report.print(seconds, operations);
    return 0;
}
