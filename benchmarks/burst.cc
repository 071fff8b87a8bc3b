// burst: a peak, then a trough, then the same peak again. How much memory comes back, and when? And what does the next
// burst pay for it?
//
// All threads build a heap of --peak_mib together and free all but --keep_percent of it at random. In the trough each
// does a little work every few milliseconds, and the resident set is read at set times. Then the second burst, of the
// same sizes. The time is that of both bursts without the trough.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 4, "threads alive at once");
ABSL_FLAG(uint64_t, peak_mib, 256, "what the threads hold together at the peak, MiB as asked for");
ABSL_FLAG(uint64_t, keep_percent, 5, "how many in a hundred objects stay in the trough");
ABSL_FLAG(uint64_t, trough_ms, 10000, "length of the trough, milliseconds");
ABSL_FLAG(uint64_t, max_size, 32768, "size of the largest object, bytes");

namespace {

constexpr double sample_times[] = {0, 0.1, 0.5, 1, 2, 5, 10};  // seconds into the trough
constexpr size_t samples = sizeof sample_times / sizeof *sample_times;
constexpr uint64_t pause_ms = 5;
constexpr uint64_t light_objects = 32;  // allocated and freed between two pauses

struct settings {
    uint64_t bytes_per_thread;
    uint64_t keep_percent;
    double trough_seconds;
    size_t max_size;
};

struct thread_state {
    std::vector<void *> objects;
    uint64_t live_bytes = 0;  // as asked for
    uint64_t made = 0;
};

struct findings {
    double first_seconds = 0;
    double second_seconds = 0;
    double peak_mib = 0;
    double live_mib = 0;
    double trough_mib[samples] = {};
};

void build_up(thread_state *own, const settings &set, uint64_t seed) {
    bench::random_source random(seed);
    while (own->live_bytes < set.bytes_per_thread) {
        const size_t size = bench::mixed_size(&random, set.max_size);
        own->objects.push_back(bench::object_new(size));
        own->live_bytes += size;
        own->made++;
    }
}

void break_down(thread_state *own, uint64_t keep_percent, uint64_t seed) {
    bench::random_source random(seed);
    size_t kept = 0;
    for (void *object : own->objects) {
        if (random.below(100) < keep_percent) {
            own->objects[kept++] = object;
        } else {
            own->live_bytes -= bench::object_free(object);
        }
    }
    own->objects.resize(kept);
}

// A process that is not dead, only not busy.
void work_lightly(thread_state *own, bench::random_source *random) {
    void *objects[light_objects];
    for (void *&object : objects) {
        object = bench::object_new(bench::mixed_size(random, 1024));
    }
    for (void *object : objects) {
        bench::object_free(object);
    }
    own->made += light_objects;
    const struct timespec pause = {0, pause_ms * 1000000};
    nanosleep(&pause, nullptr);
}

// The first thread reads the resident set at the times that fall into the trough.
void live_through_trough(thread_state *own, const settings &set, uint64_t seed, findings *found) {
    bench::random_source random(seed);
    const double start = bench::now();
    size_t next = 0;
    for (;;) {
        const double passed = bench::now() - start;
        if (found != nullptr && next < samples && passed >= sample_times[next]) {
            found->trough_mib[next++] = static_cast<double>(bench::resident_bytes()) / (1 << 20);
        }
        if (passed >= set.trough_seconds) {
            return;
        }
        work_lightly(own, &random);
    }
}

findings run_phases(uint64_t threads, const settings &set, uint64_t seed, std::vector<thread_state> *states) {
    findings found;
    bench::meeting all_there(threads);
    // Called by all; the first thread learns how long the phase took.
    const auto burst = [&](uint64_t thread, double *seconds) {
        all_there.wait();
        const double start = bench::now();
        build_up(&(*states)[thread], set, seed * threads + thread);
        all_there.wait();
        if (thread == 0) {
            *seconds = bench::now() - start;
        }
    };
    bench::run_threads(threads, [&](uint64_t thread) {
        thread_state *const own = &(*states)[thread];
        burst(thread, &found.first_seconds);
        if (thread == 0) {
            found.peak_mib = static_cast<double>(bench::resident_bytes()) / (1 << 20);
        }
        all_there.wait();
        break_down(own, set.keep_percent, seed + thread);
        all_there.wait();
        if (thread == 0) {
            for (const thread_state &each : *states) {
                found.live_mib += static_cast<double>(each.live_bytes) / (1 << 20);
            }
        }
        live_through_trough(own, set, seed + thread, thread == 0 ? &found : nullptr);
        burst(thread, &found.second_seconds);
        break_down(own, 0, 0);
    });
    return found;
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("burst", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const uint64_t peak_mib = absl::GetFlag(FLAGS_peak_mib);
    const uint64_t trough_ms = absl::GetFlag(FLAGS_trough_ms);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", threads, 1, 10000);
    bench::require_flag("peak_mib", peak_mib, 1, 1 << 20);
    bench::require_flag("keep_percent", absl::GetFlag(FLAGS_keep_percent), 0, 100);
    bench::require_flag("trough_ms", trough_ms, 0, 3600000);
    bench::require_flag("max_size", absl::GetFlag(FLAGS_max_size), bench::object_min_bytes, bench::object_max_bytes);
    settings set;
    set.bytes_per_thread = (peak_mib << 20) / threads;
    set.keep_percent = absl::GetFlag(FLAGS_keep_percent);
    set.trough_seconds = static_cast<double>(trough_ms) / 1000;
    set.max_size = absl::GetFlag(FLAGS_max_size);

    std::vector<thread_state> states(threads);
    const findings found = run_phases(threads, set, seed, &states);
    uint64_t objects = 0;
    for (const thread_state &each : states) {
        objects += each.made;
    }

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("peak_mib", peak_mib);
    report.parameter("keep_percent", set.keep_percent);
    report.parameter("trough_ms", trough_ms);
    report.parameter("max_size", set.max_size);
    report.parameter("seed", seed);
    report.figure("peak_mib", found.peak_mib);
    report.figure("live_mib", found.live_mib);
    for (size_t i = 0; i < samples; i++) {
        if (sample_times[i] <= set.trough_seconds) {
            char name[64];
            snprintf(name, sizeof name, "trough_mib_after_%gs", sample_times[i]);
            report.figure(name, found.trough_mib[i]);
        }
    }
    report.figure("first_burst_s", found.first_seconds);
    report.figure("second_burst_s", found.second_seconds);
    report.figure("second_over_first", found.second_seconds / found.first_seconds);
    report.verified("contents of all " + std::to_string(objects) + " objects before their free");
    report.print(found.first_seconds + found.second_seconds, objects);
    return 0;
}
