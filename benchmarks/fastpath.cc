// fastpath: what one call costs, with one thread and everything in the cache.
//
// Each kernel does a fixed number of operations (one allocation and its free) per repetition. The repetitions of all
// kernels are interleaved, and each kernel reports its fastest and its median repetition in nanoseconds per operation.
// A repetition that something else on the machine has slowed is done again: see `reference`. With --in_turns several
// processes, each with another allocator, do the same repetition one after the other, within some milliseconds.
// What an object holds is written through volatile and compared before its free. When the clock has stopped, objects of
// the same sizes are looked at more closely: see `check_batch`.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, operations, 8192, "operations per repetition of each kernel");
ABSL_FLAG(uint64_t, repetitions, 205, "repetitions of each kernel");
ABSL_FLAG(uint64_t, max_size, 1000, "largest object of the kernels with random sizes, bytes");
ABSL_FLAG(bool, in_turns, false, "wait for a line on stdin before each repetition, print an empty one behind it");

namespace {

constexpr size_t batch = 128;
constexpr size_t ring_slots = 4096;
constexpr size_t mixed_least = 16;
constexpr size_t mixed_most = 128;
constexpr size_t aligned_to = 64;
constexpr size_t realloc_steps = 4;
constexpr size_t batch_kernel_sizes[] = {8, 16, 32, 64, 128, 512, 2048, 8192, 32768};
constexpr size_t face_kernel_sizes[] = {16, 64, 128, 1024, 8192};
constexpr int reference_calls = 500;
constexpr double reference_tolerance = 1.04;
constexpr int most_tries = 5;

// How an object comes and goes. `nothing` has no allocator: what the calls cost by themselves.
enum class face { nothing, malloc_free, calloc_free, aligned_free, new_sized_delete };

// A function of libc, by a name that the compiler does not know: three instructions and the way into a shared library,
// as malloc's and free's is.
extern "C" long call_libc(long number) __asm__("labs");

template <face Face> void *allocate(size_t size) {
    void *object = nullptr;
    if (Face == face::nothing) {
        alignas(64) static char place[64];
        object = reinterpret_cast<void *>(call_libc(reinterpret_cast<long>(place)));
    } else if (Face == face::malloc_free) {
        object = malloc(size);
    } else if (Face == face::calloc_free) {
        object = calloc(1, size);
    } else if (Face == face::aligned_free) {
        object = aligned_alloc(aligned_to, size);
    } else {
        object = ::operator new(size);
    }
    return object;
}

template <face Face> void release(void *object, size_t size) {
    if (Face == face::nothing) {
        call_libc(reinterpret_cast<long>(object));
    } else if (Face == face::new_sized_delete) {
        ::operator delete(object, size);
    } else {
        free(object);
    }
}

volatile uint64_t *word(void *object) {
    return static_cast<volatile uint64_t *>(object);
}

[[noreturn]] void fail_contents(void *object, uint64_t expected) {
    bench::fail("object %p reads %llu where %llu was written", object, static_cast<unsigned long long>(*word(object)),
                static_cast<unsigned long long>(expected));
}

// An allocation whose first word is `value`. A NULL crashes on the write; a calloc that is not zero fails.
template <face Face> inline void *make(size_t size, uint64_t value) {
    void *const object = allocate<Face>(size);
    if (Face == face::calloc_free && *word(object) != 0) {
        fail_contents(object, 0);
    }
    *word(object) = value;
    return object;
}

template <face Face> inline void drop(void *object, size_t size, uint64_t value) {
    if (*word(object) != value) {
        fail_contents(object, value);
    }
    release<Face>(object, size);
}

// Allocates one object and frees it.
template <face Face> void run_pair(size_t size, uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        drop<Face>(make<Face>(size, i), size, i);
    }
}

// The same with sizes of which none follows from the one before. `sizes` is drawn before the clock starts.
template <face Face> void run_mixed_pairs(const std::vector<uint32_t> &sizes) {
    for (size_t i = 0; i < sizes.size(); i++) {
        drop<Face>(make<Face>(sizes[i], i), sizes[i], i);
    }
}

std::vector<uint32_t> draw_mixed_sizes(uint64_t operations, uint64_t seed) {
    bench::random_source random(seed);
    std::vector<uint32_t> sizes(operations);
    for (uint32_t &size : sizes) {
        size = static_cast<uint32_t>(random.between(mixed_least, mixed_most));
    }
    return sizes;
}

// Allocates `batch` objects, then frees the newest first.
void run_lifo(size_t size, uint64_t operations) {
    void *objects[batch];
    for (uint64_t done = 0; done < operations; done += batch) {
        for (size_t i = 0; i < batch; i++) {
            objects[i] = make<face::malloc_free>(size, done + i);
        }
        for (size_t i = batch; i-- > 0;) {
            drop<face::malloc_free>(objects[i], size, done + i);
        }
    }
}

// Allocates `batch` objects, then frees the oldest first.
void run_fifo(size_t size, uint64_t operations) {
    void *objects[batch];
    for (uint64_t done = 0; done < operations; done += batch) {
        for (size_t i = 0; i < batch; i++) {
            objects[i] = make<face::malloc_free>(size, done + i);
        }
        for (size_t i = 0; i < batch; i++) {
            drop<face::malloc_free>(objects[i], size, done + i);
        }
    }
}

// The ring: `ring_slots` objects of random sizes; each operation replaces the one in a random slot. The numbers are
// drawn before the clock starts.
struct ring {
    std::vector<void *> objects;
    std::vector<uint32_t> sizes;
    std::vector<uint32_t> order;

    ring(uint64_t operations, size_t max_size, uint64_t seed) {
        bench::random_source random(seed);
        for (uint64_t i = 0; i < operations; i++) {
            sizes.push_back(static_cast<uint32_t>(random.between(8, max_size)));
            order.push_back(static_cast<uint32_t>(random.below(ring_slots)));
        }
        for (size_t slot = 0; slot < ring_slots; slot++) {
            objects.push_back(make<face::malloc_free>(random.between(8, max_size), slot));
        }
    }
    ring(const ring &) = delete;
    ring &operator=(const ring &) = delete;
    ~ring() {
        for (size_t slot = 0; slot < ring_slots; slot++) {
            drop<face::malloc_free>(objects[slot], 0, slot);
        }
    }

    void run() {
        for (size_t i = 0; i < order.size(); i++) {
            const uint32_t slot = order[i];
            drop<face::malloc_free>(objects[slot], 0, slot);
            objects[slot] = make<face::malloc_free>(sizes[i], slot);
        }
    }
};

// An object that doubles `realloc_steps` times from `size` on; each step is an operation. The first and the last word
// that were there before must still be there.
void run_realloc(size_t size, uint64_t operations) {
    for (uint64_t done = 0; done < operations; done += realloc_steps) {
        void *object = make<face::malloc_free>(size, done);
        size_t now = size;
        for (size_t step = 0; step < realloc_steps; step++) {
            word(object)[now / 8 - 1] = done;
            object = realloc(object, 2 * now);
            if (word(object)[now / 8 - 1] != done) {
                fail_contents(object, done);
            }
            now *= 2;
        }
        drop<face::malloc_free>(object, now, done);
    }
}

// ---- what the kernels cannot look at while the clock runs

// Bytes of the objects that are alive at once: the kernels have touched as much.
constexpr size_t checked_bytes = 64 << 10;

void expect_bytes(const void *object, size_t begin, size_t end, unsigned char value) {
    const volatile unsigned char *const bytes = static_cast<const volatile unsigned char *>(object);
    for (size_t i = begin; i < end; i++) {
        if (bytes[i] != value) {
            bench::fail("object %p: byte %zu of %zu is %d instead of %d", object, i, end, bytes[i], value);
        }
    }
}

// An object where it should be, zeroed if it should be, and filled.
template <face Face> void *make_checked(size_t size, unsigned char value) {
    void *const object = allocate<Face>(size);
    const size_t alignment = Face == face::aligned_free ? aligned_to : size < 16 ? 8 : 16;
    if (object == nullptr || reinterpret_cast<uintptr_t>(object) % alignment != 0) {
        bench::fail("an object of %zu bytes is at %p, no multiple of %zu", size, object, alignment);
    }
    if (Face == face::calloc_free) {
        expect_bytes(object, 0, size, 0);
    }
    memset(object, value, size);
    return object;
}

// Objects that live together, each of them whole.
template <face Face> void check_batch(const std::vector<uint32_t> &sizes) {
    std::vector<void *> objects;
    size_t bytes = 0;
    for (size_t i = 0; i < std::min(sizes.size(), batch) && (i < 2 || bytes < checked_bytes); i++) {
        objects.push_back(make_checked<Face>(sizes[i], static_cast<unsigned char>(i + 1)));
        bytes += sizes[i];
    }
    for (size_t i = 0; i < objects.size(); i++) {
        expect_bytes(objects[i], 0, sizes[i], static_cast<unsigned char>(i + 1));
        release<Face>(objects[i], sizes[i]);
    }
}

template <face Face> void check_size(size_t size) {
    check_batch<Face>(std::vector<uint32_t>(batch, static_cast<uint32_t>(size)));
}

void check_realloc(size_t size) {
    void *object = make_checked<face::malloc_free>(size, 1);
    for (size_t step = 0; step < realloc_steps; step++, size *= 2) {
        object = realloc(object, 2 * size);
        expect_bytes(object, 0, size, 1);
        memset(object, 1, 2 * size);
    }
    free(object);
}

void check_objects(const std::vector<uint32_t> &mixed_sizes) {
    for (size_t size = 8; size <= 32768; size *= 2) {
        check_size<face::malloc_free>(size);
    }
    check_batch<face::malloc_free>(mixed_sizes);
    for (const size_t size : face_kernel_sizes) {
        check_size<face::calloc_free>(size);
        check_realloc(size);
        check_size<face::aligned_free>(size < aligned_to ? aligned_to : size);
        check_size<face::new_sized_delete>(size);
    }
    check_batch<face::new_sized_delete>(mixed_sizes);
}

// ---- the clock

__attribute__((noinline)) void call_nothing() {
    __asm__ volatile("");
}

// A loop that always does the same, and takes longer while this CPU shares its core, or runs at a lower clock. Who
// finds it at its fastest before and after something else takes that to have been undisturbed.
class reference {
  public:
    bool is_fast() {
        const double start = bench::now();
        for (int i = 0; i < reference_calls; i++) {
            call_nothing();
            __asm__ volatile(".rept 40\n\tnop\n\t.endr");
            call_nothing();
        }
        const double seconds = bench::now() - start;
        fastest_ = std::min(fastest_, seconds);
        return seconds <= fastest_ * reference_tolerance;
    }

  private:
    double fastest_ = 1;
};

struct kernel {
    std::string name;
    size_t size;          // bytes; 0 if random
    uint64_t operations;  // per repetition
    std::function<void()> run;
    std::vector<double> nanoseconds;  // per operation, one per repetition
    uint64_t disturbed;               // of these
};

// Large objects take longer, so that fewer of them tell as much. A multiple of `batch`.
uint64_t operations_for(size_t size, uint64_t operations) {
    const uint64_t fewer = size <= 1024 ? operations : operations * 1024 / size;
    return std::max<uint64_t>(fewer / batch, 1) * batch;
}

std::vector<kernel> all_kernels(const std::vector<uint32_t> &mixed_sizes, ring *random_ring) {
    const uint64_t operations = mixed_sizes.size();
    std::vector<kernel> kernels;
    const auto add = [&](const char *name, size_t size, void (*run)(size_t, uint64_t)) {
        const uint64_t count = operations_for(size, operations);
        kernels.push_back({name, size, count, [=] { run(size, count); }, {}, 0});
    };
    add("empty calls", 64, run_pair<face::nothing>);
    for (size_t size = 8; size <= 32768; size *= 2) {
        add("pair", size, run_pair<face::malloc_free>);
    }
    kernels.push_back(
        {"pair of 16 to 128", 0, operations, [&] { run_mixed_pairs<face::malloc_free>(mixed_sizes); }, {}, 0});
    for (const size_t size : batch_kernel_sizes) {
        add("lifo batch", size, run_lifo);
        add("fifo batch", size, run_fifo);
    }
    kernels.push_back({"random ring", 0, operations, [=] { random_ring->run(); }, {}, 0});
    for (const size_t size : face_kernel_sizes) {
        add("calloc", size, run_pair<face::calloc_free>);
        add("realloc", size, run_realloc);
        add("aligned to 64", size < aligned_to ? aligned_to : size, run_pair<face::aligned_free>);
        add("new, sized delete", size, run_pair<face::new_sized_delete>);
    }
    kernels.push_back({"new, sized delete of 16 to 128",
                       0,
                       operations,
                       [&] { run_mixed_pairs<face::new_sized_delete>(mixed_sizes); },
                       {},
                       0});
    return kernels;
}

// Lets the others run until whoever shares the turns out has sent a line.
void wait_for_turn() {
    printf("\n");
    fflush(stdout);
    int read = 0;
    do {
        read = getchar();
    } while (read != '\n' && read != EOF);
    if (read == EOF) {
        fprintf(stderr, "fastpath: stdin ended where --in_turns waits for a line\n");
        exit(2);
    }
}

// Runs the kernel until it was undisturbed or has been often enough, and keeps the last time if asked to. Returns how
// often it ran.
uint64_t time_once(kernel *timed, reference *undisturbed, bool keep) {
    uint64_t tries = 0;
    bool is_undisturbed = false;
    double seconds = 0;
    while (!is_undisturbed && tries < (keep ? most_tries : 1)) {
        is_undisturbed = undisturbed->is_fast();
        const double start = bench::now();
        timed->run();
        seconds = bench::now() - start;
        is_undisturbed = undisturbed->is_fast() && is_undisturbed;
        tries++;
    }
    if (keep) {
        timed->nanoseconds.push_back(seconds * 1e9 / static_cast<double>(timed->operations));
        timed->disturbed += !is_undisturbed;
    }
    bench::advance(timed->operations);
    return tries;
}

// [{"kernel": "pair", "size": 8, "min_ns": 1.0, "median_ns": 1.1, "disturbed": 0, "repetitions_ns": [1.1, 1.0]}, ...]
std::string kernels_json(const std::vector<kernel> &kernels) {
    std::string json;
    for (const kernel &each : kernels) {
        std::vector<double> sorted = each.nanoseconds;
        std::sort(sorted.begin(), sorted.end());
        absl::StrAppendFormat(&json,
                              "%s{\"kernel\": \"%s\", \"size\": %d, \"min_ns\": %.3f, \"median_ns\": %.3f, "
                              "\"disturbed\": %d, \"repetitions_ns\": [",
                              json.empty() ? "" : ", ", each.name, each.size, sorted.front(), sorted[sorted.size() / 2],
                              each.disturbed);
        for (size_t i = 0; i < each.nanoseconds.size(); i++) {
            absl::StrAppendFormat(&json, "%s%.3f", i == 0 ? "" : ", ", each.nanoseconds[i]);
        }
        json += "]}";
    }
    return "[" + json + "]";
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("fastpath", argc, argv);
    const uint64_t repetitions = absl::GetFlag(FLAGS_repetitions);
    const uint64_t max_size = absl::GetFlag(FLAGS_max_size);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("operations", absl::GetFlag(FLAGS_operations), batch, 1u << 30);
    bench::require_flag("repetitions", repetitions, 1, 1000000);
    bench::require_flag("max_size", max_size, 8, 1 << 20);
    const uint64_t operations = absl::GetFlag(FLAGS_operations) / batch * batch;
    const bool in_turns = absl::GetFlag(FLAGS_in_turns);

    double seconds;
    uint64_t done = 0;
    std::string json;
    {
        ring random_ring(operations, max_size, seed);
        const std::vector<uint32_t> mixed_sizes = draw_mixed_sizes(operations, seed);
        std::vector<kernel> kernels = all_kernels(mixed_sizes, &random_ring);
        uint64_t expected = 0;
        for (const kernel &each : kernels) {
            expected += each.operations * (repetitions + 1);
        }
        bench::expect_operations(expected);
        reference undisturbed;
        const double start = bench::now();
        for (uint64_t repetition = 0; repetition <= repetitions; repetition++) {
            for (kernel &each : kernels) {
                const bool is_counted = repetition > 0;  // the first one warms up
                if (is_counted && in_turns) {
                    wait_for_turn();
                    each.run();  // what the others' turns have left of the caches is no allocator's doing
                    done += each.operations;
                }
                done += each.operations * time_once(&each, &undisturbed, is_counted);
            }
        }
        seconds = bench::now() - start;
        json = kernels_json(kernels);
        check_objects(mixed_sizes);
    }

    bench::report report;
    report.parameter("threads", 1);
    report.parameter("operations", operations);
    report.parameter("repetitions", repetitions);
    report.parameter("max_size", max_size);
    report.parameter("seed", seed);
    report.json("kernels", json);
    report.verified(
        "the first word of every object before its free, of every calloc, and what realloc moved; afterwards "
        "batches of all sizes: where they are, what calloc zeroed, and every byte");
    report.print(seconds, done);
    return 0;
}
