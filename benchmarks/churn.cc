// churn: a heap that lives long, and what is left of its memory's density.
//
// Sizes are drawn from those of real programs (harness/sizes.h). Nine objects in ten die young, in the order of their
// births; the tenth stays until another one takes its place at random. The heap is filled up to --live_mib, churned,
// cut down to a quarter at random, and churned again with another program's sizes. `rss_per_live_full` and
// `rss_per_live_quarter` are the resident bytes that the heap added over the bytes that the program asked for: 1.00 is
// a heap without any loss.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"
#include "benchmarks/harness/sizes.h"

ABSL_FLAG(uint64_t, threads, 4, "threads alive at once");
ABSL_FLAG(uint64_t, operations, 4000000, "allocations while the heap is churned, each with its free");
ABSL_FLAG(uint64_t, live_mib, 64, "what the full heap holds, MiB as asked for");

namespace {

constexpr size_t young_places = 128;
constexpr uint64_t old_one_in = 10;
constexpr uint64_t chunk = 1024;  // operations between two notes on the progress

// One thread's part of the heap.
struct heap_part {
    explicit heap_part(uint64_t seed) : random(seed) {}

    bench::random_source random;
    std::vector<void *> old_objects;
    std::vector<void *> young = std::vector<void *>(young_places);
    uint64_t born = 0;
    uint64_t live_bytes = 0;  // as asked for
};

void *give_birth(heap_part *part, const bench::recorded_sizes &program) {
    const size_t size = bench::recorded_size(&part->random, program);
    part->live_bytes += size;
    return bench::object_new(size);
}

void kill(heap_part *part, void *object) {
    if (object != nullptr) {
        part->live_bytes -= bench::object_free(object);
    }
}

// Every program's sizes, so that the heap is mixed.
void fill(heap_part *part, uint64_t bytes) {
    while (part->live_bytes < bytes) {
        const bench::recorded_sizes &program = bench::recorded[part->random.below(bench::recorded_programs)];
        part->old_objects.push_back(give_birth(part, program));
    }
}

// A random old object's place. Requires that there is an old object.
void *&random_old(heap_part *part) {
    return part->old_objects[part->random.below(part->old_objects.size())];
}

// Kills random old objects until the heap has at most `bytes`, or only its young are left.
void cut_down(heap_part *part, uint64_t bytes) {
    while (part->live_bytes > bytes && !part->old_objects.empty()) {
        void *&victim = random_old(part);
        kill(part, victim);
        victim = part->old_objects.back();
        part->old_objects.pop_back();
    }
}

// The heap stays at `bytes`: a program with larger objects than the last one's kills more, one with smaller ones has
// more births.
void churn(heap_part *part, const bench::recorded_sizes &program, uint64_t operations, uint64_t bytes) {
    for (uint64_t i = 0; i < operations; i++) {
        void *const object = give_birth(part, program);
        if (part->live_bytes < bytes && part->random.one_in(2)) {
            part->old_objects.push_back(object);
        } else {
            const bool dies_old = part->random.one_in(old_one_in) && !part->old_objects.empty();
            void *&place = dies_old ? random_old(part) : part->young[part->born++ % young_places];
            kill(part, place);
            place = object;
        }
        cut_down(part, bytes);
        if (i % chunk == chunk - 1) {
            bench::advance(chunk);
        }
    }
}

void free_rest(heap_part *part) {
    for (std::vector<void *> *objects : {&part->old_objects, &part->young}) {
        for (void *&object : *objects) {
            kill(part, object);
            object = nullptr;
        }
    }
    if (part->live_bytes != 0) {
        bench::fail("%llu bytes are missing from the heap", static_cast<unsigned long long>(part->live_bytes));
    }
}

struct density {
    double full;
    double quarter;
    double seconds;
};

// Resident over live bytes, of what came on top of `base_bytes`.
double loss(const std::vector<heap_part> &parts, uint64_t base_bytes) {
    uint64_t live = 0;
    for (const heap_part &part : parts) {
        live += part.live_bytes;
    }
    const uint64_t resident = bench::resident_bytes();
    return static_cast<double>(resident - std::min(resident, base_bytes)) / static_cast<double>(live);
}

// All phases; the threads meet between them, and thread 0 looks at the memory while the others wait.
density run_phases(uint64_t threads, uint64_t operations, uint64_t live_bytes, uint64_t seed) {
    density found = {0, 0, 0};
    std::vector<heap_part> parts;
    for (uint64_t i = 0; i < threads; i++) {
        parts.emplace_back(seed * threads + i);
    }
    bench::meeting all_there(threads);
    const uint64_t base_bytes = bench::resident_bytes();
    const uint64_t part_bytes = live_bytes / threads;
    found.seconds = bench::run_threads(threads, [&](uint64_t thread) {
        heap_part *const part = &parts[thread];
        const uint64_t share = bench::share_of(operations, threads, thread);
        const size_t program = thread % bench::recorded_programs;
        fill(part, part_bytes);
        churn(part, bench::recorded[program], share / 2, part_bytes);
        all_there.wait();
        if (thread == 0) {
            found.full = loss(parts, base_bytes);
        }
        all_there.wait();
        cut_down(part, part_bytes / 4);
        churn(part, bench::recorded[(program + 1) % bench::recorded_programs], share - share / 2, part_bytes / 4);
        all_there.wait();
        if (thread == 0) {
            found.quarter = loss(parts, base_bytes);
        }
        all_there.wait();
        free_rest(part);
    });
    return found;
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("churn", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const uint64_t operations = absl::GetFlag(FLAGS_operations);
    const uint64_t live_mib = absl::GetFlag(FLAGS_live_mib);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", threads, 1, 10000);
    bench::require_flag("operations", operations, 1, UINT64_MAX);
    bench::require_flag("live_mib", live_mib, 1, 1 << 20);
    if (live_mib * 4 < threads) {
        bench::give_up("--live_mib is %llu, must be a quarter of --threads at least",
                       static_cast<unsigned long long>(live_mib));
    }

    bench::expect_operations(operations);
    const density found = run_phases(threads, operations, live_mib << 20, seed);

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("operations", operations);
    report.parameter("live_mib", live_mib);
    report.parameter("seed", seed);
    report.figure("rss_per_live_full", found.full);
    report.figure("rss_per_live_quarter", found.quarter);
    report.verified("contents and sizes of all objects before their free; the sum of the live bytes");
    report.print(found.seconds, operations);
    return 0;
}
