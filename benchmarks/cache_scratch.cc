// cache_scratch: does the allocator make threads share cache lines?
//
// The main thread allocates small objects that lie side by side and deals them out to the threads. Each thread frees
// its own, allocates again, and writes to what it gets over and over. If two threads are now given objects in one cache
// line, each write of one stalls the other. The writes are volatile: a compiler that sinks them out of the loop leaves
// nothing to measure.
//
// What the threads hold at the end stays until all have come there: `sharing_percent` says how many of those objects
// lie in a cache line with another thread's, which tells the same story without a clock.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 4, "threads alive at once");
ABSL_FLAG(uint64_t, size, 8, "size of an object, bytes, a multiple of 8");
ABSL_FLAG(uint64_t, objects, 8, "objects dealt to each thread, and held by it at a time");
ABSL_FLAG(uint64_t, iterations, 400000, "allocations by all threads together, at least threads times objects");
ABSL_FLAG(uint64_t, writes, 200, "how often each allocated object is written to");

namespace {

constexpr uintptr_t cache_line_bytes = 64;

struct workload {
    size_t size;
    uint64_t objects;
    uint64_t writes;
};

// Each thread's words count from a number of their own.
uint64_t first_count(uint64_t thread) {
    return thread << 32;
}

volatile uint64_t *words_of(void *object) {
    return static_cast<volatile uint64_t *>(object);
}

// Adds 1 to each word of the object `writes` times.
void scratch(void *object, size_t size, uint64_t writes) {
    volatile uint64_t *const words = words_of(object);
    for (uint64_t i = 0; i < writes; i++) {
        for (size_t word = 0; word < size / 8; word++) {
            words[word] = words[word] + 1;
        }
    }
}

void check_words(void *object, size_t size, uint64_t expected) {
    for (size_t word = 0; word < size / 8; word++) {
        const uint64_t found = words_of(object)[word];
        if (found != expected) {
            bench::fail("object %p, word %zu: reads %llu after %llu writes", object, word,
                        static_cast<unsigned long long>(found), static_cast<unsigned long long>(expected));
        }
    }
}

// A new object whose words are all `start`.
void *counting_object(size_t size, uint64_t start) {
    void *const object = malloc(size);
    if (object == nullptr) {
        bench::fail("malloc(%zu) gave NULL", size);
    }
    for (size_t word = 0; word < size / 8; word++) {
        words_of(object)[word] = start;
    }
    return object;
}

// Frees what is checked to have been written to `writes` times.
void free_counted(void *object, const workload &shared, uint64_t thread) {
    check_words(object, shared.size, first_count(thread) + shared.writes);
    free(object);
}

// `held` has the objects dealt to the thread, and in the end those that it allocated last.
void run_thread(const workload &shared, void **held, uint64_t batches, uint64_t thread) {
    for (uint64_t batch = 0; batch < batches; batch++) {
        for (uint64_t i = 0; i < shared.objects; i++) {
            if (batch == 0) {
                bench::object_free(held[i]);
            } else {
                free_counted(held[i], shared, thread);
            }
        }
        for (uint64_t i = 0; i < shared.objects; i++) {
            held[i] = counting_object(shared.size, first_count(thread));
        }
        for (uint64_t i = 0; i < shared.objects; i++) {
            scratch(held[i], shared.size, shared.writes);
        }
        bench::advance(shared.objects);
    }
}

// How many in a hundred of the objects that the threads still hold lie in a cache line with one of another thread.
double sharing_percent(const std::vector<void *> &held, const workload &shared) {
    std::vector<std::pair<uintptr_t, uint64_t>> lines;  // line, thread
    for (uint64_t i = 0; i < held.size(); i++) {
        lines.emplace_back(reinterpret_cast<uintptr_t>(held[i]) / cache_line_bytes, i / shared.objects);
    }
    std::sort(lines.begin(), lines.end());
    size_t sharing = 0;
    for (size_t first = 0, end = 0; first < lines.size(); first = end) {
        while (end < lines.size() && lines[end].first == lines[first].first) {
            end++;
        }
        sharing += lines[first].second != lines[end - 1].second ? end - first : 0;
    }
    return 100.0 * static_cast<double>(sharing) / static_cast<double>(lines.size());
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("cache_scratch", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const workload shared = {absl::GetFlag(FLAGS_size), absl::GetFlag(FLAGS_objects), absl::GetFlag(FLAGS_writes)};
    bench::require_flag("threads", threads, 1, 100000);
    bench::require_flag("size", shared.size, 8, 1 << 20);
    if (shared.size % 8 != 0) {
        bench::give_up("--size is %zu, must be a multiple of 8", shared.size);
    }
    bench::require_flag("objects", shared.objects, 1, 1 << 20);
    bench::require_flag("iterations", absl::GetFlag(FLAGS_iterations), threads * shared.objects, UINT64_MAX);
    bench::require_flag("writes", shared.writes, 1, UINT32_MAX);

    const uint64_t batches = absl::GetFlag(FLAGS_iterations) / shared.objects;
    const uint64_t iterations = batches * shared.objects;
    std::vector<void *> held(threads * shared.objects);
    for (uint64_t i = 0; i < shared.objects; i++) {
        for (uint64_t thread = 0; thread < threads; thread++) {
            held[thread * shared.objects + i] = bench::object_new(shared.size);
        }
    }
    bench::expect_operations(iterations);
    const double seconds = bench::run_threads(threads, [&](uint64_t thread) {
        run_thread(shared, &held[thread * shared.objects], bench::share_of(batches, threads, thread), thread);
    });
    const double sharing = sharing_percent(held, shared);
    for (uint64_t i = 0; i < held.size(); i++) {
        free_counted(held[i], shared, i / shared.objects);
    }

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("size", shared.size);
    report.parameter("objects", shared.objects);
    report.parameter("iterations", iterations);
    report.parameter("writes", shared.writes);
    report.parameter("seed", absl::GetFlag(FLAGS_seed));
    report.figure("sharing_percent", sharing);
    report.verified("every word of " + std::to_string(iterations) + " objects counted its " +
                    std::to_string(shared.writes) + " writes");
    report.print(seconds, iterations);
    return 0;
}
