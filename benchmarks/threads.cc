// threads: what threads cost an allocator that keeps something for each of them.
//
// First, --short_threads short threads, --together at a time: each allocates --objects small objects, frees those that
// its predecessor left behind and every second one of its own, and exits. This is what is timed.
// Then --idle_threads threads that have each used as many objects and freed them all, and sleep: `idle_rss_mib` is the
// whole process at that time, `idle_kib_per_thread` what each of them added, its stack included.
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 8, "short threads alive at once");
ABSL_FLAG(uint64_t, short_threads, 10000, "short threads in all");
ABSL_FLAG(uint64_t, idle_threads, 1000, "threads that sleep together afterwards; 0 for none");
ABSL_FLAG(uint64_t, objects, 64, "objects that each thread allocates");
ABSL_FLAG(uint64_t, max_size, 1024, "size of the largest object, bytes");

namespace {

using object_list = std::vector<void *>;

void free_all(object_list *objects) {
    for (void *&object : *objects) {
        if (object != nullptr) {
            bench::object_free(object);
            object = nullptr;
        }
    }
}

void allocate_all(object_list *objects, uint64_t seed, size_t max_size) {
    bench::random_source random(seed);
    for (void *&object : *objects) {
        object = bench::object_new(bench::mixed_size(&random, max_size));
    }
}

// `objects` has what the predecessor left behind, and in the end what this thread leaves.
void live_shortly(object_list *objects, uint64_t seed, size_t max_size) {
    object_list own(objects->size());
    allocate_all(&own, seed, max_size);
    free_all(objects);
    for (size_t i = 0; i < own.size(); i++) {
        if (i % 2 == 0) {
            bench::object_free(own[i]);
        } else {
            (*objects)[i] = own[i];
        }
    }
}

double run_short_threads(uint64_t together, uint64_t count, uint64_t objects, size_t max_size, uint64_t seed) {
    std::vector<object_list> left_behind(together, object_list(objects));
    const double start = bench::now();
    for (uint64_t done = 0; done < count; done += together) {
        const uint64_t wave = count - done < together ? count - done : together;
        bench::run_threads(
            wave, [&](uint64_t thread) { live_shortly(&left_behind[thread], seed * count + done + thread, max_size); });
        bench::advance(wave * objects);
    }
    for (object_list &rest : left_behind) {
        free_all(&rest);
    }
    return bench::now() - start;
}

// The resident bytes while `count` threads sleep that have used and freed their objects.
uint64_t resident_while_idle(uint64_t count, uint64_t objects, size_t max_size, uint64_t seed) {
    bench::meeting all_idle(count);
    uint64_t resident = 0;
    bench::meeting measured(count);
    bench::run_threads(count, [&](uint64_t thread) {
        object_list own(objects);
        allocate_all(&own, seed * count + thread, max_size);
        free_all(&own);
        all_idle.wait();
        if (thread == 0) {
            resident = bench::resident_bytes();
        }
        measured.wait();
        bench::advance(objects);
    });
    return resident;
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("threads", argc, argv);
    const uint64_t together = absl::GetFlag(FLAGS_threads);
    const uint64_t count = absl::GetFlag(FLAGS_short_threads);
    const uint64_t idle = absl::GetFlag(FLAGS_idle_threads);
    const uint64_t objects = absl::GetFlag(FLAGS_objects);
    const uint64_t max_size = absl::GetFlag(FLAGS_max_size);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", together, 1, 100000);
    bench::require_flag("short_threads", count, 1, UINT32_MAX);
    bench::require_flag("idle_threads", idle, 0, 100000);
    bench::require_flag("objects", objects, 1, 1 << 20);
    bench::require_flag("max_size", max_size, bench::object_min_bytes, bench::object_max_bytes);

    const uint64_t operations = count * objects;
    bench::expect_operations(operations + idle * objects);
    const double seconds = run_short_threads(together, count, objects, max_size, seed);
    const uint64_t before = bench::resident_bytes();
    const uint64_t resident = idle > 0 ? resident_while_idle(idle, objects, max_size, seed) : before;

    bench::report report;
    report.parameter("threads", together);
    report.parameter("short_threads", count);
    report.parameter("idle_threads", idle);
    report.parameter("objects", objects);
    report.parameter("max_size", max_size);
    report.parameter("seed", seed);
    report.figure("idle_rss_mib", static_cast<double>(resident) / (1 << 20));
    if (idle > 0) {
        const double added = static_cast<double>(resident) - static_cast<double>(before);
        report.figure("idle_kib_per_thread", added / 1024 / static_cast<double>(idle));
    }
    report.verified("contents of all " + std::to_string(operations + idle * objects) + " objects before their free");
    report.print(seconds, operations);
    return 0;
}
