// mlockall: whatever is mapped becomes resident at once, and madvise does not give it back.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/child.h"
#include "tests/process/workload.h"
#include "gtest/gtest.h"

namespace {

constexpr int status_not_allowed = 77;

size_t locked_kib() {
    FILE *file = fopen("/proc/self/status", "r");
    char line[200];
    size_t kib = 0;
    while (fgets(line, sizeof line, file) != nullptr) {
        if (sscanf(line, "VmLck: %zu", &kib) == 1) {
            break;
        }
    }
    fclose(file);
    return kib;
}

// Objects that were full of ones, are freed, given back if that is possible, and come back zeroed.
bool calloc_zeroes_locked_memory() {
    for (size_t size : {100, 5000, 100000, 3000000}) {
        std::vector<void *> objects(1 + 4000000 / size);
        for (void *&object : objects) {
            object = opaque(malloc(size));
            memset(object, 0xff, size);
        }
        for (void *object : objects) {
            free(object);
        }
        tandem_flush();
        tandem_release_memory(SIZE_MAX);
        for (void *&object : objects) {
            object = opaque(calloc(1, size));
            if (!is_zero(object, size)) {
                return false;
            }
        }
        for (void *object : objects) {
            free(object);
        }
    }
    return true;
}

CHILD_ROLE(lock_and_work) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        perror("mlockall");
        return status_not_allowed;
    }
    workload work(1);
    if (!work.run(20000) || !calloc_zeroes_locked_memory()) {
        return 1;
    }
    std::thread([] {
        workload other(2);
        if (!other.run(20000)) {
            abort();
        }
    }).join();
    if (!work.run(20000) || !work.free_all()) {
        return 1;
    }
    printf("%zu\n", locked_kib());
    return 0;
}

bool is_locked(void *memory) {
    auto page = reinterpret_cast<uintptr_t>(memory) & -static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    return msync(reinterpret_cast<void *>(page), 1, MS_ASYNC | MS_INVALIDATE) != 0 && errno == EBUSY;
}

CHILD_ROLE(lock_and_reallocate) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        perror("mlockall");
        return status_not_allowed;
    }
    std::vector<void *> others(16);
    for (void *&other : others) {
        other = opaque(malloc(700000));
    }
    int unlocked = 0;
    void *grows = opaque(malloc(size_t{6} << 20));
    for (size_t mib = 8; mib <= 32; mib += 8) {
        others.push_back(opaque(malloc(size_t{3} << 20)));
        grows = opaque(realloc(grows, mib << 20));
        unlocked += !is_locked(grows);
    }
    for (void *other : others) {
        unlocked += !is_locked(other);
    }
    printf("%d\n", unlocked);
    return 0;
}

TEST(mlockall, a_realloc_unlocks_nothing) {
    child::outcome outcome = child::run("lock_and_reallocate");
    if (outcome.status == status_not_allowed) {
        GTEST_SKIP() << "NOT TESTED: this user may not lock memory: " << outcome.err;
    }
    ASSERT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "0\n");
}

TEST(mlockall, before_anything_is_mapped_later) {
    child::outcome outcome = child::run("lock_and_work");
    if (outcome.status == status_not_allowed) {
        GTEST_SKIP() << "NOT TESTED: this user may not lock memory: " << outcome.err;
    }
    ASSERT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_LE(std::stoul(outcome.out), 160u << 10) << "KiB locked by a program that uses 10 MiB";
}

}  // namespace
