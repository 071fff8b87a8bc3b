// Objects freed twice.
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

#include <malloc.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/misuse/wrong_program.h"
#include "tests/process/child.h"
#include "tests/process/seccomp_filter.h"

namespace {

void expect_double_free(void *object) {
    misuse::expect("double free of %p (%zu-byte object)", object, malloc_usable_size(object));
}

void free_twice(size_t size) {
    void *object = misuse::allocate(size);
    expect_double_free(object);
    free(opaque(object));
    free(opaque(object));
}

WRONG_PROGRAM(double_free_16) {
    free_twice(16);
}
WRONG_PROGRAM(double_free_48) {
    free_twice(48);
}
WRONG_PROGRAM(double_free_1000) {
    free_twice(1000);
}
WRONG_PROGRAM(double_free_30000) {
    free_twice(30000);
}
WRONG_PROGRAM(double_free_100000) {
    free_twice(100000);
}

// On other CPUs the per-CPU front end asks membarrier for certainty.
#if defined(__x86_64__)
WRONG_PROGRAM(double_free_without_membarrier) {
    if (!forbid_system_calls({SYS_membarrier}, EPERM))
        _exit(child::status_unprepared);
    free_twice(48);
    _exit(0);  // nothing else is to notice
}
#endif

// The message is written whatever else awaits the thread.
WRONG_PROGRAM(double_free_by_a_thread_to_be_cancelled) {
    void *object = misuse::allocate(5000000);
    expect_double_free(object);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    free(opaque(object));
    free(opaque(object));
}

// What a crash reporter does, in a handler of SIGABRT: the allocator was in the middle of something.
void report(int) {
    void *object = opaque(malloc(48));
    void *large = opaque(malloc(100000));
    free(object);
    free(large);
    tandem_release_memory(SIZE_MAX);
    pid_t pid = fork();
    if (pid == 0) {
        free(opaque(malloc(48)));
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    signal(SIGABRT, status == 0 ? SIG_DFL : SIG_IGN);
    raise(SIGABRT);
}

void free_twice_with_report(size_t size) {
    signal(SIGABRT, report);
    void *kept = misuse::allocate(size);
    void *object = misuse::allocate(size);
    void *other = misuse::allocate(size);
    expect_double_free(object);
    free(opaque(object));
    free(opaque(other));
    free(opaque(object));
    misuse::drain();
    free(opaque(kept));
}

WRONG_PROGRAM(double_free_48_with_a_report) {
    free_twice_with_report(48);
}
WRONG_PROGRAM(double_free_30000_with_a_report) {
    free_twice_with_report(30000);
}
WRONG_PROGRAM(double_free_5M_with_a_report) {
    signal(SIGABRT, report);
    free_twice(5000000);
}

WRONG_PROGRAM(double_free_of_an_aligned_object) {
    void *object = opaque(memalign(256, 700));
    expect_double_free(object);
    free(opaque(object));
    free(opaque(object));
}

WRONG_PROGRAM(double_free_by_delete) {
    void *object = opaque(operator new(80));
    expect_double_free(object);
    operator delete(opaque(object));
    operator delete(opaque(object));
}

WRONG_PROGRAM(double_free_after_other_frees) {
    std::vector<void *> others;
    for (int i = 0; i < 50; i++) {
        others.push_back(misuse::allocate(48));
    }
    void *object = others[25];
    expect_double_free(object);
    for (void *other : others) {
        free(opaque(other));
    }
    free(opaque(object));
}

WRONG_PROGRAM(double_free_before_other_frees) {
    std::vector<void *> others;
    for (int i = 0; i < 20000; i++) {
        others.push_back(misuse::allocate(200));
    }
    void *object = misuse::allocate(200);
    expect_double_free(object);
    free(opaque(object));
    free(opaque(object));
    for (void *other : others) {
        free(opaque(other));
    }
}

WRONG_PROGRAM(double_free_after_flush) {
    void *object = misuse::allocate(48);
    expect_double_free(object);
    free(opaque(object));
    tandem_flush();
    free(opaque(object));
}

WRONG_PROGRAM(double_free_after_drain) {
    void *neighbour = misuse::allocate(48);
    void *object = misuse::allocate(48);
    expect_double_free(object);
    free(opaque(object));
    misuse::drain();
    free(opaque(object));
    opaque(neighbour);
}

// Both threads give their caches back, so that the two frees meet in the middle end.
WRONG_PROGRAM(double_free_by_two_threads) {
    void *object = misuse::allocate(320);
    expect_double_free(object);
    for (int i = 0; i < 2; i++) {
        std::thread([object] {
            free(opaque(object));
            tandem_flush();
        }).join();
    }
}

// The last of so many has no cache of its own yet.
WRONG_PROGRAM(double_free_by_one_of_many_threads) {
    pthread_barrier_t barrier;
    const unsigned others = 20 * std::thread::hardware_concurrency();
    pthread_barrier_init(&barrier, nullptr, others + 1);
    for (unsigned i = 0; i < others; i++) {
        std::thread([&barrier] {
            free(misuse::allocate(48));
            pthread_barrier_wait(&barrier);
            pause();
        }).detach();
    }
    pthread_barrier_wait(&barrier);
    std::thread([] {
        for (int i = 0; i < 20; i++) {
            free(misuse::allocate(48));
        }
        void *neighbour = misuse::allocate(48);
        void *object = misuse::allocate(48);
        expect_double_free(object);
        free(opaque(object));
        free(opaque(neighbour));
        free(opaque(object));
        misuse::drain();
    }).join();
}

// A large object may have left the process by then, and nothing may be known of it.
void free_large_twice(size_t size) {
    void *object = misuse::allocate(size);
    expect_double_free(object);
    misuse::expect("free of %p, which was not allocated here", object);
    free(opaque(object));
    free(opaque(object));
}

WRONG_PROGRAM(double_free_1M) {
    free_large_twice(1000000);
}
WRONG_PROGRAM(double_free_5M) {
    free_large_twice(5 << 20);
}
WRONG_PROGRAM(double_free_300M) {
    free_large_twice(300 << 20);
}

WRONG_PROGRAM(double_free_5M_after_drain) {
    void *object = misuse::allocate(5 << 20);
    expect_double_free(object);
    misuse::expect("free of %p, which was not allocated here", object);
    free(opaque(object));
    misuse::drain();
    free(opaque(object));
}

}  // namespace
