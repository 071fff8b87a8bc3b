// What the allocator itself takes: in a program that does nearly nothing, and in one with a thousand idle threads.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/child.h"
#include "tests/process/hugepages.h"
#include "tests/process/resident.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

// The smallest peak of several runs: how much of the program's own file is mapped in one fault varies.
long trivial_peak_kib(const std::string &variant) {
    long least = -1;
    for (int i = 0; i < 9; i++) {
        child::outcome outcome = child::run_program({"tests/process/trivial_" + variant});
        EXPECT_TRUE(outcome.succeeded()) << outcome;
        long peak = atol(outcome.out.c_str());
        EXPECT_GT(peak, 0) << outcome;
        least = least < 0 ? peak : std::min(least, peak);
    }
    return least;
}

TEST(footprint, a_trivial_program_takes_at_most_one_mib_more_than_with_glibc) {
    long with_glibc = trivial_peak_kib("system");
    long with_tandem = trivial_peak_kib(variant_is_tandem ? variant_front_end : "system");
    printf("peak resident set: %ld KiB with glibc, %ld KiB with %s\n", with_glibc, with_tandem, variant_front_end);
    EXPECT_LE(with_tandem, with_glibc + 1024);
}

pthread_barrier_t all_are_idle;
pthread_barrier_t may_end;

void *use_little_and_wait(void *argument) {
    if (argument != nullptr) {
        void *objects[64];
        for (size_t i = 0; i < 64; i++) {
            objects[i] = opaque(malloc(8 + i * 37 % 1000));
            static_cast<char *>(objects[i])[0] = 1;
        }
        for (void *object : objects) {
            free(opaque(object));
        }
    }
    pthread_barrier_wait(&all_are_idle);
    pthread_barrier_wait(&may_end);
    return nullptr;
}

// Prints the resident set with a thousand idle threads; the argument tells whether they have allocated before.
CHILD_ROLE(idle_threads) {
    constexpr unsigned thread_count = 1000;
    bool allocate = child::arguments()[0] == "allocate";
    pthread_barrier_init(&all_are_idle, nullptr, thread_count + 1);
    pthread_barrier_init(&may_end, nullptr, thread_count + 1);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, size_t{64} << 10);
    static pthread_t threads[thread_count];
    for (pthread_t &thread : threads) {
        if (pthread_create(&thread, &attributes, use_little_and_wait, allocate ? &all_are_idle : nullptr) != 0) {
            perror("pthread_create");
            return 1;
        }
    }
    pthread_barrier_wait(&all_are_idle);
    printf("%ld\n", status_kib("VmRSS:"));
    pthread_barrier_wait(&may_end);
    for (pthread_t thread : threads) {
        pthread_join(thread, nullptr);
    }
    return 0;
}

long idle_threads_kib(const char *what) {
    child::settings settings;
    settings.arguments = {what};
    child::outcome outcome = child::run("idle_threads", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    return atol(outcome.out.c_str());
}

TEST(footprint, a_thousand_idle_threads_hold_little) {
    long without = idle_threads_kib("wait");
    long with = idle_threads_kib("allocate");
    const bool is_percpu = std::string(tandem_front_end()) == "percpu";
    const long bound_kib = is_percpu ? 16 << 10 : 64 << 10;
    printf("a thousand idle threads: %ld KiB, of which %ld KiB since they allocated\n", with, with - without);
    ASSERT_GT(without, 0);
    EXPECT_LE(with, bound_kib);
}

// Prints the resident set before and after two objects in three of a heap that has proven large are freed, and what is
// free is given back.
CHILD_ROLE(keep_one_in_three) {
    constexpr size_t bytes = 700;
    std::vector<void *> objects((size_t{64} << 20) / bytes);
    for (void *&object : objects) {
        object = memset(opaque(malloc(bytes)), 1, bytes);
    }
    long before = status_kib("VmRSS:");
    for (size_t i = 0; i < objects.size(); i++) {
        if (i % 192 >= 64) {  // whole pages of them
            free(objects[i]);
        }
    }
    tandem_release_memory(SIZE_MAX);
    printf("%ld %ld\n", before, status_kib("VmRSS:"));
    for (size_t i = 0; i < objects.size(); i++) {
        if (i % 192 < 64) {
            free(objects[i]);
        }
    }
    return 0;
}

// A segment that is a hugepage stays whole while much of it is in use. What is none needs not.
TEST(footprint, where_the_kernel_gives_no_hugepages_pages_between_objects_go_back) {
    if (!variant_is_tandem) {
        GTEST_SKIP() << "glibc keeps them";
    }
    child::settings settings;
    settings.before_exec = [] { return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0; };
    child::outcome outcome = child::run("keep_one_in_three", settings);
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    long before = 0;
    long after = 0;
    ASSERT_EQ(sscanf(outcome.out.c_str(), "%ld %ld", &before, &after), 2) << outcome;
    EXPECT_GT(before, 64 << 10) << outcome;
    EXPECT_LT(after, before / 2) << outcome;
}

long minor_faults() {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

// Prints the page faults and the resident set of two peaks, and of the trough between them, in which every hundredth
// object stays.
CHILD_ROLE(peak_twice) {
    mountains peaks((size_t{64} << 20) / mountains::object_bytes, 100);
    const long before = minor_faults();
    bool whole = peaks.rise();
    const long first_faults = minor_faults() - before;
    const long first_kib = status_kib("VmRSS:");
    whole = peaks.fall() && whole;
    const long trough_kib = status_kib("VmRSS:");
    const long between = minor_faults();
    whole = peaks.rise() && whole;
    const long second_faults = minor_faults() - between;
    const long second_kib = status_kib("VmRSS:");
    printf("%ld %ld %ld %ld %ld\n", first_faults, first_kib, trough_kib, second_faults, second_kib);
    return !whole;
}

TEST(footprint, a_second_peak_has_hugepages_again_and_takes_no_more_than_the_first) {
    if (!variant_is_tandem || !kernel_makes_hugepages()) {
        GTEST_SKIP() << "not with glibc, or with this kernel";
    }
    child::outcome outcome = child::run("peak_twice");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    long first_faults, first_kib, trough_kib, second_faults, second_kib;
    ASSERT_EQ(sscanf(outcome.out.c_str(), "%ld %ld %ld %ld %ld", &first_faults, &first_kib, &trough_kib, &second_faults,
                     &second_kib),
              5)
        << outcome;
    EXPECT_LT(trough_kib, first_kib / 2) << outcome;
    // Page by page that would be some 12,000; until 4 MiB are used again it is.
    EXPECT_LT(second_faults, first_faults + 3000) << outcome;
    EXPECT_LT(second_kib, first_kib + 4096) << outcome;
}

// Prints how many hugepages a heap of 24 MiB was made of later, and the resident set before and after that.
CHILD_ROLE(stay_large) {
    constexpr size_t bytes = 1000;
    constexpr uint64_t enough = 4;  // of the 12 MiB that came before it was large
    std::vector<char *> objects((size_t{24} << 20) / bytes);
    for (char *&object : objects) {
        object = static_cast<char *>(memset(opaque(malloc(bytes)), 1, bytes));
    }
    const long before_kib = status_kib("VmRSS:");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (rebuilt_hugepages() < enough && std::chrono::steady_clock::now() < deadline) {
        tandem_flush();  // so that a slow path is walked, and the ticks with it
        free(opaque(malloc(bytes)));
        usleep(1000);
    }
    printf("%llu %ld %ld\n", static_cast<unsigned long long>(rebuilt_hugepages()), before_kib, status_kib("VmRSS:"));
    bool whole = true;
    for (char *object : objects) {
        whole = whole && object[0] == 1 && memcmp(object, object + 1, bytes - 1) == 0;
        free(object);
    }
    return !whole;
}

TEST(footprint, a_heap_that_stays_large_has_hugepages_for_its_first_objects_too) {
    if (!variant_is_tandem || !kernel_makes_hugepages()) {
        GTEST_SKIP() << "not with glibc, or with this kernel";
    }
    child::outcome outcome = child::run("stay_large");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    unsigned long long rebuilt;
    long before_kib, after_kib;
    ASSERT_EQ(sscanf(outcome.out.c_str(), "%llu %ld %ld", &rebuilt, &before_kib, &after_kib), 3) << outcome;
    EXPECT_GE(rebuilt, 4u) << outcome;
    EXPECT_LT(after_kib, before_kib + 2048) << outcome;
}

// Prints the resident set in two troughs; between them objects of half the sizes are allocated and freed again.
CHILD_ROLE(trough_twice) {
    constexpr size_t sizes[] = {224, 320, 448, 512, 640, 768, 896, 1024};
    constexpr size_t size_count = sizeof sizes / sizeof *sizes;
    std::vector<void *> objects(160000);
    const auto rise = [&](size_t size_end) {
        for (size_t i = 0; i < objects.size(); i++) {
            if (objects[i] == nullptr && i % size_count < size_end) {
                objects[i] = opaque(malloc(sizes[i % size_count]));
                memset(objects[i], 1, sizes[i % size_count]);
            }
        }
    };
    const auto fall = [&] {
        for (size_t i = 0; i < objects.size(); i++) {
            if (i / size_count % 24 != 0) {
                free(objects[i]);
                objects[i] = nullptr;
            }
        }
        tandem_release_memory(SIZE_MAX);
        return status_kib("VmRSS:");
    };
    rise(size_count);
    const long first_kib = fall();
    const unsigned long long before = rebuilt_hugepages();
    rise(size_count / 2);
    const unsigned long long rebuilt = rebuilt_hugepages() - before;
    const long second_kib = fall();
    printf("%ld %ld %llu\n", first_kib, second_kib, rebuilt);
    for (void *object : objects) {
        free(object);
    }
    return 0;
}

// In hugepages that are made whole lie spans that had given pages back before, and were not used since.
TEST(footprint, a_second_trough_is_as_low_as_the_first_though_there_were_new_hugepages) {
    if (!variant_is_tandem || !kernel_makes_hugepages()) {
        GTEST_SKIP() << "not with glibc, or with this kernel";
    }
    child::outcome outcome = child::run("trough_twice");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    long first_kib, second_kib;
    unsigned long long rebuilt;
    ASSERT_EQ(sscanf(outcome.out.c_str(), "%ld %ld %llu", &first_kib, &second_kib, &rebuilt), 3) << outcome;
    EXPECT_GT(rebuilt, 0u) << outcome;
    EXPECT_LT(second_kib, first_kib + first_kib / 4) << outcome;
}

}  // namespace
