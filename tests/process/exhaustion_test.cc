// Memory that runs out: NULL and ENOMEM or std::bad_alloc, a heap that is whole afterwards and allocates again.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>
#include <sys/resource.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/child.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

const size_t limit_bytes = size_t{variant_is_tiny ? 96u : 160u} << 20;

child::settings with_limit(decltype(RLIMIT_AS) resource, size_t bytes, std::vector<std::string> arguments = {}) {
    child::settings settings;
    settings.arguments = std::move(arguments);
    settings.before_exec = [resource, bytes] {
        struct rlimit limit = {bytes, bytes};
        return setrlimit(resource, &limit) == 0;
    };
    return settings;
}

// Objects of one size in a list that needs no memory of its own.
class object_chain {
  public:
    explicit object_chain(size_t size) : size_(size) {}

    // Allocates until nothing comes any more; returns the bytes.
    size_t grow() {
        size_t bytes = 0;
        for (;;) {
            errno = 0;
            auto *object = static_cast<link *>(opaque(malloc(size_)));
            if (object == nullptr) {
                return bytes;
            }
            fill_pattern(object + 1, written_bytes(), 9);
            object->previous = last_;
            last_ = object;
            bytes += size_;
        }
    }

    // Frees all; false if one has changed.
    bool release() {
        bool whole = true;
        while (last_ != nullptr) {
            link *object = last_;
            last_ = object->previous;
            whole = has_pattern(object + 1, written_bytes(), 9) && whole;
            free(opaque(object));
        }
        return whole;
    }

  private:
    struct link {
        link *previous;
    };

    // Large objects are not written to their end: touching memory is what takes time.
    size_t written_bytes() const { return size_ < 16384 ? size_ - sizeof(link) : 16384; }

    size_t size_;
    link *last_ = nullptr;
};

// One line per disappointment; the child's exit status is their number.
class verdict {
  public:
    void expect(bool condition, const char *what) {
        if (!condition) {
            fprintf(stderr, "expected %s\n", what);
            failures_++;
        }
    }
    int status() const { return failures_; }

  private:
    int failures_ = 0;
};

#define EXPECT_IN(verdict, condition) (verdict).expect(condition, #condition)

void every_function_fails(verdict *verdict, size_t size) {
    void *pointer = nullptr;
    void *kept = &pointer;
    errno = 0;
    EXPECT_IN(*verdict, opaque(calloc(1, size)) == nullptr && errno == ENOMEM);
    errno = 0;
    EXPECT_IN(*verdict, opaque(memalign(64, size)) == nullptr && errno == ENOMEM);
    EXPECT_IN(*verdict, posix_memalign(&kept, 64, size) == ENOMEM && kept == &pointer);
    EXPECT_IN(*verdict, opaque(operator new(size, std::nothrow)) == nullptr);
    bool threw = false;
    try {
        operator delete(opaque(operator new(size)));
    } catch (const std::bad_alloc &) {
        threw = true;
    }
    EXPECT_IN(*verdict, threw);
}

// Arguments: the size to exhaust memory with, the least share in percent that must come, the size that comes after.
CHILD_ROLE(exhaust) {
    size_t size = std::stoul(child::arguments()[0]);
    size_t wanted = limit_bytes / 100 * std::stoul(child::arguments()[1]);
    size_t size_after = std::stoul(child::arguments()[2]);
    verdict verdict;
    object_chain chain(size);
    size_t first = chain.grow();
    EXPECT_IN(verdict, errno == ENOMEM);
    EXPECT_IN(verdict, first >= wanted);
    // What is left may serve less than a span of such objects takes.
    every_function_fails(&verdict, size * 8 + 32768);
    EXPECT_IN(verdict, chain.release());
    size_t second = chain.grow();
    EXPECT_IN(verdict, second >= first / 10 * 9);
    EXPECT_IN(verdict, chain.release());
    object_chain after(size_after);
    size_t third = after.grow();
    // Mappings between its segments, whose places the system draws, break the memory up: large objects get less of it.
    EXPECT_IN(verdict, third >= wanted / 10 * 7);
    EXPECT_IN(verdict, after.release());
    fprintf(stderr, "%zu, %zu, then %zu bytes\n", first, second, third);
    return verdict.status();
}

class exhaustion : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(exhaustion, of_the_address_space) {
    child::outcome outcome = child::run("exhaust", with_limit(RLIMIT_AS, limit_bytes, GetParam()));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

TEST_P(exhaustion, of_private_writable_memory) {
    child::outcome outcome = child::run("exhaust", with_limit(RLIMIT_DATA, limit_bytes, GetParam()));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

INSTANTIATE_TEST_SUITE_P(sizes, exhaustion,
                         testing::Values(std::vector<std::string>{"48", "50", "1500000"},
                                         std::vector<std::string>{"1000", "60", "48"},
                                         std::vector<std::string>{"30000", "50", "7000000"},
                                         std::vector<std::string>{"200000", "60", "1000"},
                                         std::vector<std::string>{"1500000", "60", "30000"},
                                         std::vector<std::string>{"7000000", "60", "200000"},
                                         std::vector<std::string>{"40000000", "50", "48"}),
                         [](const auto &each) { return "of_" + each.param[0]; });

CHILD_ROLE(fail_to_grow) {
    verdict verdict;
    size_t size = 100000;
    void *object = opaque(malloc(size));
    fill_pattern(object, 100000, 1);
    for (void *moved = object; moved != nullptr; object = moved) {
        size += size / 2;
        errno = 0;
        moved = opaque(realloc(object, size));
        if (moved == nullptr) {
            break;
        }
    }
    EXPECT_IN(verdict, errno == ENOMEM);
    EXPECT_IN(verdict, size > limit_bytes / 5);
    EXPECT_IN(verdict, has_pattern(object, 100000, 1));
    free(object);
    object = opaque(malloc(size / 2));
    EXPECT_IN(verdict, object != nullptr);
    free(object);
    return verdict.status();
}

TEST(exhaustion, realloc_leaves_the_object_alone) {
    child::outcome outcome = child::run("fail_to_grow", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

// One object at a time, the second longer than all there was before: what was mapped for the first has to make room.
CHILD_ROLE(grow_one_at_a_time) {
    verdict verdict;
    for (const size_t size : {limit_bytes / 5 * 2, limit_bytes / 4 * 3}) {
        void *object = opaque(malloc(size));
        EXPECT_IN(verdict, object != nullptr);
        free(object);
    }
    return verdict.status();
}

TEST(exhaustion, a_longer_object_than_all_before) {
    child::outcome outcome = child::run("grow_one_at_a_time", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

CHILD_ROLE(shrink) {
    verdict verdict;
    std::vector<void *> objects(20);
    const size_t sizes[] = {1000, 30000, 400000, 3000000};
    for (size_t i = 0; i < objects.size(); i++) {
        objects[i] = opaque(malloc(sizes[i % 4]));
    }
    object_chain rest(16);
    EXPECT_IN(verdict, rest.grow() > limit_bytes / 2);
    for (size_t i = 0; i < objects.size(); i++) {
        const size_t size = sizes[i % 4] / 3;
        fill_pattern(objects[i], size, i);
        errno = 0;
        void *object = opaque(realloc(objects[i], size));
        EXPECT_IN(verdict, object != nullptr && has_pattern(object, size, i));
        EXPECT_IN(verdict, errno == 0);
        free(object);
    }
    EXPECT_IN(verdict, rest.release());
    return verdict.status();
}

TEST(exhaustion, realloc_always_shrinks) {
    if (variant_is_debug) {
        GTEST_SKIP() << "a sized free would be compared with what the object was";
    }
    child::outcome outcome = child::run("shrink", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

// Free memory in pieces, each too short: their address space makes room for a longer one.
CHILD_ROLE(need_more_at_once) {
    verdict verdict;
    std::vector<void *> objects(limit_bytes / 5000000);
    size_t count = 0;
    while (count < objects.size() && (objects[count] = opaque(malloc(5000000))) != nullptr) {
        count++;
    }
    EXPECT_IN(verdict, count > 10);
    for (size_t i = 0; i < count; i++) {
        if (i % 4 != 0) {
            free(objects[i]);
        }
    }
    void *object = opaque(malloc(limit_bytes / 4));
    EXPECT_IN(verdict, object != nullptr);
    free(object);
    for (size_t i = 0; i < count; i += 4) {
        free(objects[i]);
    }
    return verdict.status();
}

TEST(exhaustion, pieces_make_room_for_a_longer_object) {
    child::outcome outcome = child::run("need_more_at_once", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

// Behind an object lie two free runs that nobody has joined: one was used, the other never was.
CHILD_ROLE(grow_into_pieces) {
    verdict verdict;
    const size_t unit = limit_bytes / 16;
    free(opaque(malloc(12 * unit)));
    malloc_trim(0);
    char *object = static_cast<char *>(opaque(malloc(6 * unit)));
    void *behind = opaque(malloc(unit));
    EXPECT_IN(verdict, object != nullptr && behind != nullptr);
    fill_pattern(object, unit, 1);
    memset(behind, 1, unit);
    free(behind);
    errno = 0;
    object = static_cast<char *>(opaque(realloc(object, 9 * unit)));
    EXPECT_IN(verdict, object != nullptr && has_pattern(object, unit, 1));
    EXPECT_IN(verdict, errno == 0);
    free(object);
    return verdict.status();
}

TEST(exhaustion, an_object_grows_into_pieces_behind_it) {
    child::outcome outcome = child::run("grow_into_pieces", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

CHILD_ROLE(catch_bad_alloc) {
    verdict verdict;
    for (int round = 0; round < 2; round++) {
        std::list<std::string> strings;
        try {
            for (size_t i = 0;; i++) {
                strings.emplace_back(i % 5000, 's');
            }
        } catch (const std::bad_alloc &) {
        }
        size_t i = 0;
        for (const std::string &text : strings) {
            EXPECT_IN(verdict, text.size() == i++ % 5000);
        }
        EXPECT_IN(verdict, strings.size() > limit_bytes / 2 / 5000);
    }
    return verdict.status();
}

TEST(exhaustion, bad_alloc_in_containers) {
    child::outcome outcome = child::run("catch_bad_alloc", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

void *emergency_reserve;

CHILD_ROLE(free_in_new_handler) {
    verdict verdict;
    emergency_reserve = opaque(malloc(size_t{64} << 20));
    std::set_new_handler([] {
        std::set_new_handler(nullptr);
        free(emergency_reserve);
        emergency_reserve = nullptr;
    });
    object_chain chain(1 << 20);
    chain.grow();
    void *object = opaque(operator new (size_t{20} << 20, std::nothrow));
    EXPECT_IN(verdict, object != nullptr);
    EXPECT_IN(verdict, emergency_reserve == nullptr);
    operator delete(object);
    EXPECT_IN(verdict, chain.release());
    return verdict.status();
}

TEST(exhaustion, a_new_handler_that_frees_its_reserve) {
    child::outcome outcome = child::run("free_in_new_handler", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

CHILD_ROLE(exhaust_in_threads) {
    std::vector<std::thread> threads;
    std::atomic<bool> may_start{false};  // a thread's stack needs memory too
    std::atomic<int> failures{0};
    for (size_t size : {64, 3000, 90000, 2000000}) {
        threads.emplace_back([size, &may_start, &failures] {
            while (!may_start.load()) {
                std::this_thread::yield();
            }
            for (int round = 0; round < 3; round++) {
                object_chain chain(size);
                chain.grow();
                failures += errno != ENOMEM;
                failures += !chain.release();
            }
        });
    }
    may_start = true;
    for (std::thread &thread : threads) {
        thread.join();
    }
    workload work(1);
    return failures.load() + !work.run(10000);
}

TEST(exhaustion, in_threads_at_once) {
    child::outcome outcome = child::run("exhaust_in_threads", with_limit(RLIMIT_AS, limit_bytes));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

CHILD_ROLE(work_a_little) {
    workload work(1);
    return !work.run(10000) || !work.free_all();
}

TEST(exhaustion, a_small_program_needs_little_address_space) {
    child::outcome outcome = child::run("work_a_little", with_limit(RLIMIT_AS, size_t{48} << 20));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

TEST(exhaustion, a_small_program_needs_little_private_writable_memory) {
    child::outcome outcome = child::run("work_a_little", with_limit(RLIMIT_DATA, size_t{24} << 20));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
}

}  // namespace
