// server: threads that come and go, requests with arenas of objects, replies that are freed elsewhere.
//
// --threads workers live at a time. Each serves --requests_per_thread requests and exits; a new one takes its place. A
// request allocates an arena of objects with sizes as real programs have them, replaces one of the objects that its
// session remembers, and puts a reply into a channel, from which one of --writers takes it, checks it and frees it. A
// session outlives its worker: the next one goes on with it.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/channel.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"
#include "benchmarks/harness/sizes.h"

ABSL_FLAG(uint64_t, threads, 16, "workers alive at once");
ABSL_FLAG(uint64_t, requests, 40000, "requests in all");
ABSL_FLAG(uint64_t, requests_per_thread, 100, "requests after which another worker takes a worker's place");
ABSL_FLAG(uint64_t, writers, 2, "threads that free the replies");
ABSL_FLAG(uint64_t, session_objects, 64, "objects that each worker's session remembers");

namespace {

constexpr size_t channel_places = 256;
constexpr size_t arena_least = 8;
constexpr size_t arena_most = 64;
constexpr size_t remembered_most_bytes = 4096;
constexpr size_t reply_least_bytes = 64;
constexpr size_t reply_most_bytes = 16384;

struct session {
    std::vector<void *> remembered;  // owner only: the worker of the moment
    bench::random_source random;
    uint64_t objects_made = 0;
};

void serve(session *own, bench::channel *replies) {
    bench::random_source *const random = &own->random;
    void *arena[arena_most];
    const size_t count = random->between(arena_least, arena_most);
    const bench::recorded_sizes &program = bench::recorded[random->below(bench::recorded_programs)];
    for (size_t i = 0; i < count; i++) {
        arena[i] = bench::object_new(bench::recorded_size(random, program));
    }
    void *&remembered = own->remembered[random->below(own->remembered.size())];
    if (remembered != nullptr) {
        bench::object_free(remembered);
    }
    remembered = bench::object_new(bench::mixed_size(random, remembered_most_bytes));
    replies->push(bench::object_new(random->between(reply_least_bytes, reply_most_bytes)));
    for (size_t i = 0; i < count; i++) {
        bench::object_free(arena[i]);
    }
    own->objects_made += count + 2;
}

// One worker after the other, until the session has had its share of the requests.
void run_session(session *own, bench::channel *replies, uint64_t requests, uint64_t per_worker) {
    for (uint64_t served = 0; served < requests; served += per_worker) {
        const uint64_t count = std::min(per_worker, requests - served);
        bench::run_threads(1, [&](uint64_t) {
            for (uint64_t i = 0; i < count; i++) {
                serve(own, replies);
            }
        });
        bench::advance(count);
    }
}

uint64_t write_replies(bench::channel *replies) {
    uint64_t written = 0;
    while (void *const reply = replies->pop()) {
        bench::object_free(reply);
        written++;
    }
    return written;
}

void free_session(session *own) {
    for (void *object : own->remembered) {
        if (object != nullptr) {
            bench::object_free(object);
        }
    }
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("server", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const uint64_t requests = absl::GetFlag(FLAGS_requests);
    const uint64_t per_worker = absl::GetFlag(FLAGS_requests_per_thread);
    const uint64_t writers = absl::GetFlag(FLAGS_writers);
    const uint64_t remembered = absl::GetFlag(FLAGS_session_objects);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", threads, 1, 50000);
    bench::require_flag("requests", requests, 1, UINT32_MAX);
    bench::require_flag("requests_per_thread", per_worker, 1, UINT32_MAX);
    bench::require_flag("writers", writers, 1, 1000);
    bench::require_flag("session_objects", remembered, 1, 1 << 20);

    bench::channel replies(channel_places);
    std::vector<session> sessions;
    for (uint64_t i = 0; i < threads; i++) {
        sessions.push_back({std::vector<void *>(remembered), bench::random_source(seed * threads + i)});
    }
    std::atomic<uint64_t> sessions_open{threads};
    std::atomic<uint64_t> replies_written{0};
    bench::expect_operations(requests);
    const double seconds = bench::run_threads(threads + writers, [&](uint64_t thread) {
        if (thread >= threads) {
            replies_written.fetch_add(write_replies(&replies), std::memory_order_relaxed);  // read after the join
            return;
        }
        run_session(&sessions[thread], &replies, bench::share_of(requests, threads, thread), per_worker);
        if (sessions_open.fetch_sub(1, std::memory_order_relaxed) == 1) {  // the channel's lock orders the pushes
            replies.close();
        }
    });
    uint64_t objects = 0;
    for (session &each : sessions) {
        free_session(&each);
        objects += each.objects_made;
    }
    if (replies_written.load(std::memory_order_relaxed) != requests) {
        bench::fail("%llu replies came out of %llu requests",
                    static_cast<unsigned long long>(replies_written.load(std::memory_order_relaxed)),
                    static_cast<unsigned long long>(requests));
    }

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("requests", requests);
    report.parameter("requests_per_thread", per_worker);
    report.parameter("writers", writers);
    report.parameter("session_objects", remembered);
    report.parameter("seed", seed);
    report.figure("objects", static_cast<double>(objects));
    report.verified("contents of all " + std::to_string(objects) + " objects before their free; each request's reply");
    report.print(seconds, requests);
    return 0;
}
