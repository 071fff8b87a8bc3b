// pipeline: producers fill batches of objects, consumers empty and free them.
//
// A batch is an object of its own, a list of --batch others; both are allocated by a producer and freed by whichever
// consumer takes the batch from the channel between them. The channel holds --places batches, so the memory in flight
// is bounded, and what goes round is the allocator's to carry back from the consumers to the producers.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/channel.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 4, "producers");
ABSL_FLAG(uint64_t, consumers, 0, "consumers; 0 for as many as producers");
ABSL_FLAG(uint64_t, operations, 2000000, "objects in all");
ABSL_FLAG(uint64_t, batch, 64, "objects in a batch");
ABSL_FLAG(uint64_t, places, 64, "batches that the channel holds");
ABSL_FLAG(uint64_t, min_size, 16, "size of the smallest object, bytes");
ABSL_FLAG(uint64_t, max_size, 512, "size of the largest object, bytes");

namespace {

struct batch {
    uint64_t count;
    uint64_t sum_of_sizes;
    void *objects[1];  // `count` of them
};

batch *batch_new(bench::random_source *random, uint64_t count, size_t min_size, size_t max_size) {
    batch *const made = static_cast<batch *>(malloc(sizeof(batch) + count * sizeof(void *)));
    if (made == nullptr) {
        bench::fail("malloc for a batch gave NULL");
    }
    made->count = count;
    made->sum_of_sizes = 0;
    for (uint64_t i = 0; i < count; i++) {
        const size_t size = random->between(min_size, max_size);
        made->objects[i] = bench::object_new(size);
        made->sum_of_sizes += size;
    }
    return made;
}

// Returns how many objects there were.
uint64_t batch_free(batch *dead) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < dead->count; i++) {
        sum += bench::object_free(dead->objects[i]);
    }
    if (sum != dead->sum_of_sizes) {
        bench::fail("batch %p: its objects have %llu bytes together, not %llu", static_cast<void *>(dead),
                    static_cast<unsigned long long>(sum), static_cast<unsigned long long>(dead->sum_of_sizes));
    }
    const uint64_t count = dead->count;
    free(dead);
    return count;
}

uint64_t consume(bench::channel *batches) {
    uint64_t objects = 0;
    while (void *const item = batches->pop()) {
        objects += batch_free(static_cast<batch *>(item));
    }
    return objects;
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("pipeline", argc, argv);
    const uint64_t producers = absl::GetFlag(FLAGS_threads);
    const uint64_t consumers = absl::GetFlag(FLAGS_consumers) != 0 ? absl::GetFlag(FLAGS_consumers) : producers;
    const uint64_t operations = absl::GetFlag(FLAGS_operations);
    const uint64_t per_batch = absl::GetFlag(FLAGS_batch);
    const uint64_t places = absl::GetFlag(FLAGS_places);
    const uint64_t min_size = absl::GetFlag(FLAGS_min_size);
    const uint64_t max_size = absl::GetFlag(FLAGS_max_size);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", producers, 1, 50000);
    bench::require_flag("consumers", consumers, 1, 50000);
    bench::require_flag("operations", operations, 1, UINT64_MAX);
    bench::require_flag("batch", per_batch, 1, 1 << 20);
    bench::require_flag("places", places, 1, 1 << 20);
    bench::require_flag("min_size", min_size, bench::object_min_bytes, bench::object_max_bytes);
    bench::require_flag("max_size", max_size, min_size, bench::object_max_bytes);

    bench::channel batches(places);
    std::atomic<uint64_t> producing{producers};
    std::atomic<uint64_t> consumed{0};
    bench::expect_operations(operations);
    const double seconds = bench::run_threads(producers + consumers, [&](uint64_t thread) {
        if (thread >= producers) {
            consumed.fetch_add(consume(&batches), std::memory_order_relaxed);  // read after the join
            return;
        }
        bench::random_source random(seed * producers + thread);
        const uint64_t share = bench::share_of(operations, producers, thread);
        for (uint64_t done = 0; done < share; done += per_batch) {
            const uint64_t count = std::min(per_batch, share - done);
            batches.push(batch_new(&random, count, min_size, max_size));
            bench::advance(count);
        }
        if (producing.fetch_sub(1, std::memory_order_relaxed) == 1) {  // the channel's lock orders the pushes
            batches.close();
        }
    });
    if (consumed.load(std::memory_order_relaxed) != operations) {
        bench::fail("%llu objects arrived of %llu",
                    static_cast<unsigned long long>(consumed.load(std::memory_order_relaxed)),
                    static_cast<unsigned long long>(operations));
    }

    bench::report report;
    report.parameter("threads", producers);
    report.parameter("consumers", consumers);
    report.parameter("operations", operations);
    report.parameter("batch", per_batch);
    report.parameter("places", places);
    report.parameter("min_size", min_size);
    report.parameter("max_size", max_size);
    report.parameter("seed", seed);
    report.verified("contents of all " + std::to_string(operations) + " objects, each batch's sum");
    report.print(seconds, operations);
    return 0;
}
