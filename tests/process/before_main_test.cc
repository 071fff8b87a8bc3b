// Allocation before main, after it, and on every way out.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include "tests/api/opaque.h"
#include "tests/process/child.h"
#include "tests/process/workload.h"
#include "gtest/gtest.h"

namespace {

// Objects allocated before main, freed in it or after it.
struct early_objects {
    void *from_preinit;
    void *from_first_constructor;
    void *from_constructor;
} early;

void *allocate_early() {
    void *object = opaque(malloc(1000));
    fill_pattern(object, 1000, 1);
    free(opaque(malloc(100000)));
    free(opaque(calloc(10, 10)));
    return object;
}

void preinit() {
    early.from_preinit = allocate_early();
}
__attribute__((section(".preinit_array"), used)) void (*const preinit_entry)() = preinit;

__attribute__((constructor(101))) void first_constructor() {
    early.from_first_constructor = allocate_early();
}
__attribute__((constructor)) void last_constructor() {
    early.from_constructor = allocate_early();
}

const std::vector<std::string> static_strings(100, "allocated by a constructor of namespace scope");

TEST(before_main, objects_are_whole_and_can_be_freed) {
    for (void **object : {&early.from_preinit, &early.from_first_constructor, &early.from_constructor}) {
        ASSERT_NE(*object, nullptr);
        EXPECT_TRUE(has_pattern(*object, 1000, 1));
        *object = opaque(realloc(*object, 5000));
        EXPECT_TRUE(has_pattern(*object, 1000, 1, 1000));
        free(*object);
        *object = nullptr;
    }
    EXPECT_EQ(static_strings[99], static_strings[0]);
}

void say(const char *text) {
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) {
        _exit(125);
    }
}

void allocate_and_say(const char *text) {
    workload work(1, 1000);
    say(work.run(2000) && work.free_all() ? text : "spoilt ");
}

bool is_leaving;
__attribute__((destructor(101))) void last_destructor() {
    if (is_leaving) {
        allocate_and_say("destructor ");
        free(early.from_preinit);
        free(early.from_first_constructor);
        free(early.from_constructor);
    }
}

struct says_goodbye {
    const char *text = nullptr;
    void *object = opaque(malloc(3000));

    ~says_goodbye() {
        free(object);
        if (text != nullptr) {
            allocate_and_say(text);
        }
    }
};
says_goodbye static_object;
thread_local says_goodbye thread_object;

CHILD_ROLE(leave_main) {
    is_leaving = true;
    static_object.text = "static ";
    thread_object.text = "thread_local ";
    atexit([] { allocate_and_say("atexit "); });
    on_exit([](int, void *object) { free(object); }, opaque(malloc(100)));
    return 3;
}

CHILD_ROLE(leave_by_quick_exit) {
    at_quick_exit([] { allocate_and_say("at_quick_exit "); });
    quick_exit(3);
}

CHILD_ROLE(leave_by_exit_in_a_thread) {
    is_leaving = true;
    std::thread([] { exit(3); }).join();
    return 4;
}

CHILD_ROLE(leave_main_by_pthread_exit) {
    static pthread_t main_thread = pthread_self();
    std::thread([] {
        pthread_join(main_thread, nullptr);
        allocate_and_say("after main ");
        exit(3);
    }).detach();
    pthread_exit(nullptr);
}

CHILD_ROLE(leave_while_threads_allocate) {
    is_leaving = true;
    for (uint64_t seed = 0; seed < 3; seed++) {
        std::thread([seed] {
            workload work(seed, 1000);
            while (work.run(1000)) {
            }
            abort();
        }).detach();
    }
    usleep(2000);
    atexit([] { allocate_and_say("atexit "); });
    return 3;
}

void expect_way_out(const char *role, const char *output) {
    child::outcome outcome = child::run(role);
    EXPECT_EQ(outcome.status, 3) << outcome;
    EXPECT_EQ(outcome.out, output) << outcome;
    EXPECT_EQ(outcome.err, "") << outcome;
}

TEST(after_main, handlers_and_destructors_allocate_and_free) {
    expect_way_out("leave_main", "thread_local atexit static destructor ");
}

TEST(after_main, quick_exit) {
    expect_way_out("leave_by_quick_exit", "at_quick_exit ");
}

TEST(after_main, exit_in_a_thread) {
    expect_way_out("leave_by_exit_in_a_thread", "destructor ");
}

TEST(after_main, pthread_exit_in_main) {
    expect_way_out("leave_main_by_pthread_exit", "after main ");
}

TEST(after_main, exit_while_threads_allocate) {
    for (int i = 0; i < 25; i++) {
        expect_way_out("leave_while_threads_allocate", "atexit destructor ");
    }
}

TEST(after_main, exit_while_threads_allocate_with_stats) {
    for (int i = 0; i < 10; i++) {
        child::outcome outcome =
            child::run("leave_while_threads_allocate", child::with_environment({"TANDEM_OPTIONS=stats=exit"}));
        EXPECT_EQ(outcome.status, 3) << outcome;
        EXPECT_EQ(outcome.out, "atexit destructor ") << outcome;
    }
}

}  // namespace
