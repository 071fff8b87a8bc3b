// Millions of random operations, all functions mixed, against a naive model.
//
// TANDEM_FUZZ_SEED=N takes that seed instead of the built-in ones, or a new one if N is 0; TANDEM_FUZZ_STEPS=N takes so
// many steps for each. A failure prints its seed.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sys/random.h>

#include "tests/fuzz/fuzzer.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

uint64_t from_environment(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text == nullptr ? otherwise : strtoull(text, nullptr, 10);
}

size_t step_count(size_t usual) {
    return from_environment("TANDEM_FUZZ_STEPS", variant_is_tiny ? usual / 4 : usual);
}

// The seeds to try: always the same ones, and one that nobody has tried before.
std::vector<uint64_t> seeds() {
    const bool is_chosen = getenv("TANDEM_FUZZ_SEED") != nullptr;
    const uint64_t chosen = from_environment("TANDEM_FUZZ_SEED", 0);
    if (chosen != 0) {
        return {chosen};
    }
    uint32_t fresh = 0;
    if (getrandom(&fresh, sizeof fresh, 0) != sizeof fresh) {
        abort();
    }
    if (is_chosen) {
        return {fresh};
    }
    return {1, 2, fresh};
}

std::string how_to_repeat(uint64_t seed) {
    return "to repeat: TANDEM_FUZZ_SEED=" + std::to_string(seed) + " and --gtest_filter of this test";
}

void run_alone(fuzz::settings settings, size_t steps) {
    for (uint64_t seed : seeds()) {
        settings.seed = seed;
        fuzz::fuzzer fuzzer(settings);
        ASSERT_TRUE(fuzzer.run(steps) && fuzzer.finish()) << fuzzer.failure() << '\n' << how_to_repeat(seed);
    }
}

TEST(random_operations, of_one_thread) {
    run_alone({}, step_count(800000));
}

TEST(random_operations, on_few_objects) {
    fuzz::settings settings;
    settings.max_objects = 20;
    run_alone(settings, step_count(500000));
}

TEST(random_operations, on_many_small_objects) {
    fuzz::settings settings;
    settings.max_objects = 20000;
    settings.max_size = 1000;
    run_alone(settings, step_count(300000));
}

TEST(random_operations, on_large_objects) {
    fuzz::settings settings;
    settings.max_size = size_t{48} << 20;
    settings.max_live_bytes = size_t{512} << 20;
    settings.max_objects = 300;
    run_alone(settings, step_count(200000));
}

// Checks what no thread can see alone: that the objects of all threads are apart.
std::string overlap_between(const std::vector<std::unique_ptr<fuzz::fuzzer>> &fuzzers) {
    size_t count = 0;
    for (const auto &fuzzer : fuzzers) {
        count += fuzzer->objects().count();
    }
    fuzz::model together(count + 1);
    for (const auto &fuzzer : fuzzers) {
        for (size_t i = 0; i < fuzzer->objects().count(); i++) {
            const fuzz::object &object = fuzzer->objects().at(i);
            if (!together.insert(object)) {
                char text[100];
                snprintf(text, sizeof text, "the object at %p of %zu bytes overlaps one of another thread",
                         object.pointer, object.size);
                return text;
            }
        }
    }
    return "";
}

// Rounds of random operations in threads that hand objects to each other; new threads in every round.
void run_together(uint64_t seed, size_t thread_count, size_t steps) {
    constexpr size_t round_count = 10;
    auto mail = std::make_unique<fuzz::mailbox>();
    std::vector<std::unique_ptr<fuzz::fuzzer>> fuzzers;
    for (size_t i = 0; i < thread_count; i++) {
        fuzz::settings settings;
        settings.seed = seed * 1000 + i;
        settings.max_objects = 600;
        settings.max_size = size_t{1} << 20;
        settings.max_live_bytes = size_t{16} << 20;
        settings.mail = mail.get();
        settings.is_alone = false;
        fuzzers.push_back(std::make_unique<fuzz::fuzzer>(settings));
    }
    for (size_t round = 0; round < round_count; round++) {
        std::vector<std::thread> threads;
        for (const auto &fuzzer : fuzzers) {
            threads.emplace_back([&fuzzer, steps] { fuzzer->run(steps / round_count); });
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
        for (const auto &fuzzer : fuzzers) {
            ASSERT_EQ(fuzzer->failure(), "") << how_to_repeat(seed);
        }
        ASSERT_EQ(overlap_between(fuzzers), "") << how_to_repeat(seed);
    }
    for (const auto &fuzzer : fuzzers) {
        ASSERT_TRUE(fuzzer->finish()) << fuzzer->failure() << '\n' << how_to_repeat(seed);
    }
}

TEST(random_operations, of_two_threads) {
    for (uint64_t seed : seeds()) {
        run_together(seed, 2, step_count(300000));
    }
}

TEST(random_operations, of_eight_threads) {
    for (uint64_t seed : seeds()) {
        run_together(seed, 8, step_count(75000));
    }
}

TEST(random_operations, of_sixty_four_threads) {
    for (uint64_t seed : seeds()) {
        run_together(seed, 64, step_count(2500));
    }
}

}  // namespace
