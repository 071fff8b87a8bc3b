// Everything that a program does to its allocator, in a second: for processes that run under special circumstances.
#ifndef TESTS_PROCESS_EXERCISE_H_
#define TESTS_PROCESS_EXERCISE_H_

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/process/workload.h"

// Objects that one thread makes and another checks and frees.
inline bool exercise_hand_over() {
    constexpr size_t object_count = 20000;
    constexpr size_t object_bytes = 40;
    std::vector<std::atomic<void *>> mailbox(1024);
    std::atomic<bool> whole{true};
    std::thread producer([&] {
        for (size_t i = 0; i < object_count; i++) {
            void *object = opaque(malloc(object_bytes));
            fill_pattern(object, object_bytes, i);
            void *expected = nullptr;
            while (!mailbox[i % mailbox.size()].compare_exchange_weak(expected, object)) {
                expected = nullptr;
                std::this_thread::yield();
            }
        }
    });
    for (size_t i = 0; i < object_count; i++) {
        void *object;
        while ((object = mailbox[i % mailbox.size()].exchange(nullptr)) == nullptr) {
            std::this_thread::yield();
        }
        whole = whole && has_pattern(object, object_bytes, i);
        free(opaque(object));
    }
    producer.join();
    return whole;
}

inline bool exercise_fork() {
    pid_t pid = fork();
    if (pid == 0) {
        workload work(5);
        _exit(work.run(2000) && work.free_all() ? 0 : 1);
    }
    int status = -1;
    return waitpid(pid, &status, 0) == pid && status == 0;
}

// True if nothing went wrong.
inline bool exercise_everything() {
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (uint64_t seed = 0; seed < 6; seed++) {
        threads.emplace_back([seed, &failures] {
            workload small(seed, 300);
            workload large(seed, 300000);
            for (int round = 0; round < 20; round++) {
                failures += !small.run(500);
                failures += !large.run(5);
                tandem_flush();
                std::this_thread::yield();
            }
        });
    }
    failures += !exercise_hand_over();
    failures += !exercise_fork();
    for (std::thread &thread : threads) {
        thread.join();
    }
    tandem_release_memory(SIZE_MAX);
    workload work(9);
    failures += !work.run(2000);
    return failures.load() == 0;
}

#endif  // TESTS_PROCESS_EXERCISE_H_
