// large: blocks of 64 KiB to 64 MiB that grow by realloc, as buffers and tables do.
//
// Each operation starts a block at 64 KiB or more, writes one word in every 4 KiB of it, and lets realloc grow it by
// halves until it has its final size; what was written before must still be there after each step. The block then stays
// while its thread works on --keep others. The sequence of blocks is the same for any number of threads.
#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 1, "threads alive at once");
ABSL_FLAG(uint64_t, operations, 200, "blocks in all");
ABSL_FLAG(uint64_t, max_size, 64 << 20, "final size of the largest block, bytes");
ABSL_FLAG(uint64_t, keep, 2, "blocks that each thread keeps while it works on the next one");

namespace {

constexpr size_t min_size = 64 << 10;
constexpr size_t step = 4096;  // one word in each is written

struct block {
    unsigned char *bytes = nullptr;
    size_t size = 0;  // bytes
    uint64_t mark = 0;
};

// The blocks in use: two that overlap are noticed, wherever in them.
class blocks_in_use {
  public:
    explicit blocks_in_use(uint64_t most) { blocks_.reserve(most); }

    void add(const block &fresh) {
        std::lock_guard<std::mutex> guard(mutex_);
        for (const block &other : blocks_) {
            if (fresh.bytes < other.bytes + other.size && other.bytes < fresh.bytes + fresh.size) {
                bench::fail("block %p of %zu bytes overlaps %p of %zu", static_cast<void *>(fresh.bytes), fresh.size,
                            static_cast<void *>(other.bytes), other.size);
            }
        }
        blocks_.push_back(fresh);
    }

    // Before the block may be anybody else's.
    void remove(const block &dead) {
        std::lock_guard<std::mutex> guard(mutex_);
        const auto found =
            std::find_if(blocks_.begin(), blocks_.end(), [&](const block &each) { return each.bytes == dead.bytes; });
        *found = blocks_.back();
        blocks_.pop_back();
    }

  private:
    std::mutex mutex_;
    std::vector<block> blocks_;
};

volatile uint64_t *word_at(const block &of, size_t offset) {
    return reinterpret_cast<volatile uint64_t *>(of.bytes + offset);
}

void write_from(const block &fresh, size_t offset) {
    for (; offset + step <= fresh.size; offset += step) {
        *word_at(fresh, offset) = fresh.mark + offset;
    }
}

void check_up_to(const block &old, size_t end) {
    for (size_t offset = 0; offset + step <= end; offset += step) {
        if (*word_at(old, offset) != old.mark + offset) {
            bench::fail("block %p of %zu bytes: the word at %zu is not what was written",
                        static_cast<void *>(old.bytes), old.size, offset);
        }
    }
}

// Sizes spread evenly over the logarithm, in whole steps.
size_t draw_size(bench::random_source *random, size_t low, size_t high) {
    const double fraction = static_cast<double>(random->below(1 << 20)) / (1 << 20);
    const double size =
        static_cast<double>(low) * std::pow(static_cast<double>(high) / static_cast<double>(low), fraction);
    return static_cast<size_t>(size) / step * step;
}

block make_block(uint64_t seed, size_t max_size, blocks_in_use *in_use) {
    bench::random_source random(seed);
    const size_t target = draw_size(&random, min_size, max_size);
    block made;
    made.mark = random.next();
    made.size = draw_size(&random, min_size, target);
    made.bytes = static_cast<unsigned char *>(malloc(made.size));
    if (made.bytes == nullptr) {
        bench::fail("malloc(%zu) gave NULL", made.size);
    }
    in_use->add(made);
    write_from(made, 0);
    while (made.size < target) {
        const size_t before = made.size;
        const size_t grown = std::min(target, (before + before / 2) / step * step);
        in_use->remove(made);
        void *const moved = realloc(made.bytes, grown);
        if (moved == nullptr) {
            bench::fail("realloc(%p, %zu) gave NULL", static_cast<void *>(made.bytes), grown);
        }
        made.bytes = static_cast<unsigned char *>(moved);
        made.size = grown;
        in_use->add(made);
        check_up_to(made, before);
        write_from(made, before);
    }
    return made;
}

void drop_block(block *dead, blocks_in_use *in_use) {
    if (dead->bytes != nullptr) {
        check_up_to(*dead, dead->size);
        in_use->remove(*dead);
        free(dead->bytes);
        dead->bytes = nullptr;
    }
}

void run_thread(uint64_t first, uint64_t count, uint64_t keep, size_t max_size, uint64_t seed, blocks_in_use *in_use) {
    std::vector<block> kept(keep + 1);
    for (uint64_t i = 0; i < count; i++) {
        block *const place = &kept[i % kept.size()];
        drop_block(place, in_use);
        *place = make_block(seed * 1000003 + first + i, max_size, in_use);
        bench::advance(1);
    }
    for (block &rest : kept) {
        drop_block(&rest, in_use);
    }
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("large", argc, argv);
    const uint64_t threads = absl::GetFlag(FLAGS_threads);
    const uint64_t operations = absl::GetFlag(FLAGS_operations);
    const uint64_t max_size = absl::GetFlag(FLAGS_max_size);
    const uint64_t keep = absl::GetFlag(FLAGS_keep);
    const uint64_t seed = absl::GetFlag(FLAGS_seed);
    bench::require_flag("threads", threads, 1, 100000);
    bench::require_flag("operations", operations, 1, UINT32_MAX);
    bench::require_flag("max_size", max_size, min_size, 1u << 30);
    bench::require_flag("keep", keep, 0, 1000);

    blocks_in_use in_use(threads * (keep + 1));
    bench::expect_operations(operations);
    const double seconds = bench::run_threads(threads, [&](uint64_t thread) {
        uint64_t first = 0;
        for (uint64_t before = 0; before < thread; before++) {
            first += bench::share_of(operations, threads, before);
        }
        run_thread(first, bench::share_of(operations, threads, thread), keep, max_size, seed, &in_use);
    });

    bench::report report;
    report.parameter("threads", threads);
    report.parameter("operations", operations);
    report.parameter("max_size", max_size);
    report.parameter("keep", keep);
    report.parameter("seed", seed);
    report.verified("one word in every 4 KiB of " + std::to_string(operations) +
                    " blocks after each realloc and before its free, and that no two overlap");
    report.print(seconds, operations);
    return 0;
}
