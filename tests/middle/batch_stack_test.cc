#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "tests/middle/fake_backend.h"
#include "gtest/gtest.h"

extern "C" {
#include "middle/batch_stack.h"
}

namespace {

struct td_batch *new_batch() {
    struct td_batch *batch = td_batch_new();
    EXPECT_NE(batch, nullptr);
    return batch;
}

TEST(batch_stack, a_word_of_zeros_is_empty) {
    td_batch_stack stack = 0;
    EXPECT_EQ(td_batch_stack_pop(&stack), nullptr);
    EXPECT_EQ(td_batch_stack_top(&stack), nullptr);
    EXPECT_EQ(td_batch_stack_height(&stack), 0u);
    EXPECT_EQ(td_batch_stack_objects(&stack), 0u);
}

TEST(batch_stack, what_is_pushed_last_is_popped_first) {
    td_batch_stack stack = 0;
    std::vector<struct td_batch *> batches;
    for (uint32_t i = 0; i < 200; i++) {
        batches.push_back(new_batch());
        batches.back()->count = i;
        td_batch_stack_push(&stack, batches.back());
        ASSERT_EQ(td_batch_stack_top(&stack), batches.back());
        ASSERT_EQ(td_batch_stack_height(&stack), batches.size());
        ASSERT_EQ(td_batch_stack_objects(&stack), size_t{i} * (i + 1) / 2);
    }
    while (!batches.empty()) {
        ASSERT_EQ(td_batch_stack_pop(&stack), batches.back());
        batches.pop_back();
        ASSERT_EQ(td_batch_stack_height(&stack), batches.size());
    }
    EXPECT_EQ(td_batch_stack_pop(&stack), nullptr);
}

TEST(batch_stack, new_batches_are_distinct_and_empty) {
    std::set<struct td_batch *> seen;
    for (int i = 0; i < 1000; i++) {
        struct td_batch *batch = new_batch();
        ASSERT_TRUE(seen.insert(batch).second);
        ASSERT_EQ(batch->count, 0u);
        ASSERT_EQ(reinterpret_cast<uintptr_t>(batch) % TD_CACHE_LINE, 0u);
    }
}

TEST(batch_stack, without_memory_there_is_no_batch_and_none_is_lost) {
    fake_backend::limit_metadata(0);
    uint32_t last = new_batch()->number;
    for (struct td_batch *batch; (batch = td_batch_new()) != nullptr;) {
        last = batch->number;
    }
    EXPECT_EQ(td_batch_new(), nullptr);
    fake_backend::limit_metadata(SIZE_MAX);
    EXPECT_EQ(new_batch()->number, last + 1);
}

// The height is less certain than what is in the stack: it stops at what its bits can say.
TEST(batch_stack, more_batches_than_the_height_can_say_all_come_back) {
    td_batch_stack stack = 0;
    std::set<struct td_batch *> inside;
    for (int i = 0; i < 5000; i++) {
        struct td_batch *batch = new_batch();
        inside.insert(batch);
        td_batch_stack_push(&stack, batch);
    }
    EXPECT_EQ(td_batch_stack_height(&stack), 4095u);
    for (struct td_batch *batch; (batch = td_batch_stack_pop(&stack)) != nullptr;) {
        ASSERT_EQ(inside.erase(batch), 1u);
    }
    EXPECT_TRUE(inside.empty());
    EXPECT_EQ(td_batch_stack_height(&stack), 0u);
}

// Whoever has popped a batch has it alone: `count` is 1 while nobody does.
bool take(struct td_batch *batch) {
    return __atomic_exchange_n(&batch->count, 0, __ATOMIC_RELAXED) == 1;
}

void give_back(td_batch_stack *stack, struct td_batch *batch) {
    __atomic_store_n(&batch->count, 1, __ATOMIC_RELAXED);
    td_batch_stack_push(stack, batch);
}

void fill(td_batch_stack *stack, int batches) {
    for (int i = 0; i < batches; i++) {
        give_back(stack, new_batch());
    }
}

td_batch_stack interrupted_stack;
std::atomic<struct td_batch *> reserve;          // for the handler to put below the top
std::atomic<struct td_batch *> held_by_handler;  // what it found there
std::atomic<bool> is_owned_twice;
std::atomic<int> interruptions;

// Leaves the same batch on top and as many in all, but another one below the top than whoever was interrupted may have
// seen.
void change_below_the_top(int) {
    interruptions++;
    struct td_batch *other = reserve.exchange(nullptr);
    if (other == nullptr) {
        return;
    }
    struct td_batch *top = td_batch_stack_pop(&interrupted_stack);
    struct td_batch *below = td_batch_stack_pop(&interrupted_stack);
    if (below != nullptr) {
        is_owned_twice = is_owned_twice || !take(below);
        held_by_handler = below;
    }
    give_back(&interrupted_stack, other);
    if (top != nullptr) {
        td_batch_stack_push(&interrupted_stack, top);
    }
}

// Where a word says which batch is on top and how many there are, and no more, this fails at the first signal that
// meets a pop.
TEST(batch_stack, a_pop_that_is_interrupted_sees_what_has_changed_below_the_top) {
    fill(&interrupted_stack, 8);
    reserve = new_batch();
    struct sigaction action = {};
    action.sa_handler = change_below_the_top;
    ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
    std::atomic<bool> is_done{false};
    pthread_t interrupted = pthread_self();
    std::thread storm([&] {
        while (!is_done) {
            pthread_kill(interrupted, SIGUSR1);
            std::this_thread::yield();
        }
    });
    // Where other programs want this CPU too, signals are few.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    const auto is_enough = [&] { return interruptions >= 10000 || std::chrono::steady_clock::now() >= end; };
    for (long pops = 0; (pops < 200000 || !is_enough()) && !is_owned_twice; pops++) {
        struct td_batch *batch = td_batch_stack_pop(&interrupted_stack);
        if (batch != nullptr) {
            if (!take(batch)) {
                is_owned_twice = true;
            }
            give_back(&interrupted_stack, batch);
        }
        if (struct td_batch *held = held_by_handler.exchange(nullptr)) {
            reserve = held;
        }
    }
    is_done = true;
    storm.join();
    EXPECT_FALSE(is_owned_twice);
    EXPECT_GT(interruptions, 0);
}

// Threads move few batches between two stacks, so that the same ones are on top again and again.
TEST(batch_stack, each_batch_has_one_owner_at_a_time) {
    constexpr int threads = 4, batches = 6, moves = 200000;
    td_batch_stack stacks[2] = {0, 0};
    fill(&stacks[0], batches);
    std::atomic<int> owned_twice{0};
    std::vector<std::thread> running;
    for (int t = 0; t < threads; t++) {
        running.emplace_back([&, t] {
            for (int i = 0; i < moves; i++) {
                struct td_batch *batch = td_batch_stack_pop(&stacks[(i + t) % 2]);
                if (batch == nullptr) {
                    continue;
                }
                owned_twice += !take(batch);
                // Plain, for ThreadSanitizer to see.
                batch->objects[0] = static_cast<char *>(batch->objects[0]) + 1;
                if (i % 64 == 0) {
                    std::this_thread::yield();
                }
                give_back(&stacks[(i + t / 2) % 2], batch);
            }
        });
    }
    for (std::thread &thread : running) {
        thread.join();
    }
    EXPECT_EQ(owned_twice, 0);
    std::set<struct td_batch *> seen;
    for (td_batch_stack &stack : stacks) {
        for (struct td_batch *batch; (batch = td_batch_stack_pop(&stack)) != nullptr;) {
            EXPECT_TRUE(seen.insert(batch).second);
        }
    }
    EXPECT_EQ(seen.size(), size_t{batches});
}

}  // namespace
