#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "tests/backend/fake_os.h"
#include "tests/backend/large_fixture.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/backend.h"
#include "backend/free_runs.h"
#include "backend/large.h"
#include "backend/page_heap.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
}

namespace {

TEST_F(large, holds_what_was_asked_for_where_it_was_asked_for) {
    for (size_t alignment = 16; alignment <= 8 * mib; alignment *= 4) {
        for (size_t size : {65 * kib, 100 * kib, 1 * mib, 1 * mib + 1, 2 * mib, 3 * mib, 9 * mib + 5}) {
            char *memory = allocate(size, alignment);
            ASSERT_NE(memory, nullptr);
            EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % alignment, 0u);
            size_t usable = td_large_usable_bytes(memory, "free");
            EXPECT_GE(usable, size);
            EXPECT_LT(usable, size + TD_PAGE_BYTES);
            memset(memory, 0xa5, usable);
            deallocate(memory);
        }
    }
}

// The promise that calloc relies on: `allocate` reads what is said to be zero.
TEST_F(large, is_zero_only_where_it_reads_as_zeros) {
    std::mt19937 random(1);
    std::vector<char *> objects;
    for (int step = 0; step < 300; step++) {
        if (objects.size() < 6 || random() % 2 == 0) {
            size_t size = 65 * kib + random() % (random() % 2 == 0 ? 1 * mib : 4 * mib);
            char *memory = allocate(size, size_t{16} << random() % 18);
            ASSERT_NE(memory, nullptr);
            memset(memory, 0xa5, td_large_usable_bytes(memory, "free"));
            objects.push_back(memory);
        } else {
            size_t which = random() % objects.size();
            deallocate(objects[which]);
            objects.erase(objects.begin() + static_cast<std::ptrdiff_t>(which));
        }
        if (step % 50 == 0) {
            fake_os::fail_purges(step % 100 == 0);
            td_backend_purge((random() % 8) * mib);
            fake_os::fail_purges(false);
        }
    }
    for (char *memory : objects) {
        deallocate(memory);
    }
}

TEST_F(large, fresh_memory_is_known_to_be_zero) {
    bool is_zero = false;
    void *memory = td_large_alloc(64 * mib, 16, &is_zero);
    ASSERT_NE(memory, nullptr);
    EXPECT_TRUE(is_zero);
    deallocate(memory);
}

TEST_F(large, grows_and_shrinks_in_place) {
    for (size_t size : {100 * kib, 5 * mib}) {
        object it = {allocate(size), size, 'g'};
        it.fill(0);
        // Freed memory behind it makes room.
        size_t half = size / 2 > TD_MAX_SMALL_BYTES ? size / 2 : TD_MAX_SMALL_BYTES + 1;
        ASSERT_EQ(td_large_resize(it.memory, half), it.memory);
        EXPECT_TRUE(it.is_whole(half));
        EXPECT_LT(td_large_usable_bytes(it.memory, "free"), half + TD_PAGE_BYTES);
        ASSERT_EQ(td_large_resize(it.memory, size), it.memory);
        EXPECT_TRUE(it.is_whole(half));
        EXPECT_GE(td_large_usable_bytes(it.memory, "free"), size);
        deallocate(it.memory);
    }
}

TEST_F(large, moves_by_pages_and_keeps_its_contents) {
    object it = {allocate(5 * mib), 5 * mib, 'm'};
    it.fill(0);
    std::vector<char *> fences;
    size_t moves = 0;
    while (it.size < 60 * mib) {
        fences.push_back(allocate(2 * mib));  // in the way, as likely as not
        size_t size = it.size * 5 / 4;
        char *memory = static_cast<char *>(td_large_resize(it.memory, size));
        ASSERT_NE(memory, nullptr);
        moves += memory != it.memory;
        it.memory = memory;
        ASSERT_TRUE(it.is_whole(it.size));
        size_t from = it.size;
        it.size = size;
        it.fill((from + 4095) / 4096 * 4096);
        ASSERT_GE(td_large_usable_bytes(memory, "free"), size);
    }
    EXPECT_GT(moves, 0u);
    deallocate(it.memory);
    for (char *fence : fences) {
        deallocate(fence);
    }
}

TEST_F(large, what_a_move_leaves_behind_is_zero_and_still_mapped) {
    fake_os::range left = {0, 0};
    object it = {allocate(4 * mib), 4 * mib, 'l'};
    char *fence = allocate(2 * mib);
    it.fill(0);
    left.begin = reinterpret_cast<uintptr_t>(it.memory);
    char *memory = static_cast<char *>(td_large_resize(it.memory, 100 * mib));
    ASSERT_NE(memory, nullptr);
    ASSERT_NE(memory, it.memory);
    EXPECT_TRUE(fake_os::is_mapped(left.begin, 4 * mib));
    EXPECT_TRUE(reads_as_zeros(reinterpret_cast<char *>(left.begin), 4 * mib));
    deallocate(memory);
    deallocate(fence);
}

TEST_F(large, a_failed_move_changes_nothing) {
    object it = {allocate(4 * mib), 4 * mib, 'f'};
    char *fence = allocate(2 * mib);
    it.fill(0);
    fake_os::let_moves(fake_os::moves::are_unknown);
    EXPECT_EQ(td_large_resize(it.memory, 500 * mib), nullptr);
    EXPECT_TRUE(it.is_whole(it.size));
    EXPECT_EQ(td_large_usable_bytes(it.memory, "free"), it.size);
    deallocate(it.memory);
    deallocate(fence);
}

// As when the program has protected a part of it, so that the kernel does not move it as one.
TEST_F(large, pages_that_cannot_be_moved_are_copied) {
    object it = {allocate(5 * mib), 5 * mib, 'c'};
    char *fence = allocate(2 * mib);
    it.fill(0);
    fake_os::let_moves(fake_os::moves::are_refused);
    char *memory = static_cast<char *>(td_large_resize(it.memory, 90 * mib));
    ASSERT_NE(memory, nullptr);
    it.memory = memory;
    EXPECT_TRUE(it.is_whole(it.size));
    EXPECT_TRUE(fake_os::is_mapped(reinterpret_cast<uintptr_t>(memory), 90 * mib));
    deallocate(memory);
    deallocate(fence);
}

TEST_F(large, locked_pages_are_not_moved) {
    object it = {allocate(6 * mib), 6 * mib, 'k'};
    char *fence = allocate(2 * mib);
    it.fill(0);
    fake_os::lock_segment_of(it.memory + 5 * mib);
    EXPECT_EQ(td_large_resize(it.memory, 95 * mib), nullptr);
    EXPECT_TRUE(it.is_whole(it.size));
    fake_os::lock_segment_of(nullptr);
    it.memory = static_cast<char *>(td_large_resize(it.memory, 95 * mib));
    ASSERT_NE(it.memory, nullptr);
    EXPECT_TRUE(it.is_whole(it.size));
    deallocate(it.memory);
    deallocate(fence);
}

class large_hugepages : public large_heap {
  protected:
    // Objects that are filled, so that later ones are taken to be.
    void fill_some() {
        for (int i = 0; i < 8; i++) {
            memset(keep(allocate(4 * mib)), 1, 4 * mib);
        }
    }

    // Segments of new spans are hugepages, all of them or some, and the back end knows which.
    void expect_truth(size_t spans, bool are_all) {
        for (size_t i = 0; i < spans; i++) {
            char *memory = keep(allocate(TD_MAX_SPAN_BYTES));
            EXPECT_EQ(td_page_map_run(memory)->is_huge, wants_hugepages(memory, 0)) << i;
            EXPECT_TRUE(wants_hugepages(memory, 0) || !are_all) << i;
        }
    }

    static bool wants_hugepages(const char *memory, size_t offset) {
        return fake_os::wants_hugepages(reinterpret_cast<uintptr_t>(memory) + offset);
    }
};

TEST_F(large_hugepages, are_for_large_heaps) {
    char *early = allocate(4 * mib);
    EXPECT_FALSE(wants_hugepages(early, 0));
    make_heap_large();
    fill_some();
    char *late = allocate(4 * mib);
    EXPECT_TRUE(wants_hugepages(late, 0));
    EXPECT_TRUE(wants_hugepages(late, 4 * mib - 1));
    deallocate(early);
    deallocate(late);
}

TEST_F(large_hugepages, are_not_where_an_object_ends) {
    make_heap_large();
    fill_some();
    char *memory = allocate(4 * mib + 1);
    EXPECT_TRUE(wants_hugepages(memory, 4 * mib - 1));
    EXPECT_FALSE(wants_hugepages(memory, 4 * mib));
    char *grown = static_cast<char *>(td_large_resize(memory, 8 * mib - 1));
    ASSERT_NE(grown, nullptr);
    EXPECT_TRUE(wants_hugepages(grown, 4 * mib));
    EXPECT_TRUE(wants_hugepages(grown, 8 * mib - 1)) << "whole pages";
    deallocate(grown);
}

// Such a heap declines them nowhere when it grows.
TEST_F(large_hugepages, are_where_an_object_ends_too_with_the_option_always) {
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    char *memory = allocate(4 * mib + 1);
    for (size_t offset : {0 * mib, 4 * mib}) {
        EXPECT_TRUE(td_page_map_is_place(reinterpret_cast<uintptr_t>(memory) + offset));
        EXPECT_TRUE(wants_hugepages(memory, offset));
    }
    deallocate(memory);
    memory = allocate(1500 * kib);
    EXPECT_NE(td_page_map_run(memory)->tail, TD_TAIL_CLEAN) << "the kernel may fill it";
    char *grown = static_cast<char *>(td_large_resize(memory, 3500 * kib));
    EXPECT_EQ(grown, memory);
    EXPECT_NE(td_page_map_run(memory)->tail, TD_TAIL_CLEAN);
    deallocate(grown);
    td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
}

TEST_F(large_hugepages, are_not_where_an_object_fills_none) {
    make_heap_large();
    char *memory = allocate(1500 * kib);
    EXPECT_FALSE(wants_hugepages(memory, 0));
    EXPECT_FALSE(td_page_map_run(memory)->is_huge);
    deallocate(memory);
}

TEST_F(large_hugepages, are_for_what_an_object_grows_by) {
    char *memory = allocate(4 * mib);
    make_heap_large();
    char *grown = static_cast<char *>(td_large_resize(memory, 8 * mib));
    ASSERT_NE(grown, nullptr);
    EXPECT_TRUE(wants_hugepages(grown, 4 * mib));
    EXPECT_TRUE(wants_hugepages(grown, 8 * mib - 1));
    deallocate(grown);
}

TEST_F(large_hugepages, are_where_they_were_though_pages_could_not_be_moved) {
    char *memory = allocate(4 * mib);
    memset(memory, 1, 4 * mib);
    make_heap_large();
    keep(allocate(2 * mib));
    fake_os::let_moves(fake_os::moves::are_refused);
    char *grown = static_cast<char *>(td_large_resize(memory, 64 * mib));
    ASSERT_NE(grown, nullptr);
    ASSERT_NE(grown, memory);
    for (size_t offset = 0; offset < 64 * mib; offset += TD_SEGMENT_BYTES) {
        EXPECT_EQ(td_page_map_is_place(reinterpret_cast<uintptr_t>(grown) + offset), wants_hugepages(grown, offset))
            << offset;
    }
    EXPECT_TRUE(wants_hugepages(grown, 62 * mib));
    deallocate(grown);
}

// The segments that the object ended in are none, and the purge may take pages of what uses them later.
TEST_F(large_hugepages, are_what_the_kernel_was_asked_for_where_small_objects_get_the_memory) {
    for (bool is_purged : {false, true}) {
        make_heap_large();
        fill_some();
        std::vector<char *> objects;
        for (int i = 0; i < 4; i++) {
            objects.push_back(allocate(3 * mib));
            memset(objects.back(), 1, 3 * mib);
        }
        EXPECT_TRUE(wants_hugepages(objects[0], 0));
        EXPECT_EQ(td_backend_purge(SIZE_MAX - 1), 0u) << "nothing was behind the objects";
        for (char *memory : objects) {
            deallocate(memory);
        }
        if (is_purged) {
            EXPECT_EQ(td_backend_purge(SIZE_MAX - 1), 4 * 4 * mib);
        }
        expect_truth(16, is_purged);
    }
}

TEST_F(large_hugepages, are_where_an_object_goes_on_behind_what_it_ended_in) {
    make_heap_large();
    fill_some();
    char *memory = allocate(3 * mib);
    memset(memory, 1, 3 * mib);
    keep(allocate(2 * mib));
    char *grown = static_cast<char *>(td_large_resize(memory, 7 * mib));
    ASSERT_NE(grown, nullptr);
    ASSERT_NE(grown, memory);
    EXPECT_TRUE(wants_hugepages(grown, 0));
    EXPECT_TRUE(wants_hugepages(grown, 2 * mib)) << "brought along";
    EXPECT_TRUE(wants_hugepages(grown, 4 * mib));
    EXPECT_FALSE(wants_hugepages(grown, 6 * mib));
    deallocate(grown);
    expect_truth(12, false);
}

TEST_F(large, refuses_what_cannot_be_and_says_enomem) {
    bool is_zero;
    for (size_t size : {size_t{PTRDIFF_MAX} + 1, SIZE_MAX, size_t{PTRDIFF_MAX}, size_t{1} << 50}) {
        errno = 0;
        EXPECT_EQ(td_large_alloc(size, 16, &is_zero), nullptr) << size;
        EXPECT_EQ(errno, ENOMEM);
    }
    errno = 0;
    EXPECT_EQ(td_large_alloc(1, size_t{1} << 63, &is_zero), nullptr);
    EXPECT_EQ(errno, ENOMEM);
}

TEST_F(large, random_operations_keep_contents) {
    std::mt19937 random(7);
    std::vector<object> objects;
    for (int step = 0; step < 2000 && !HasFatalFailure(); step++) {
        size_t size = 65 * kib + random() % (random() % 4 == 0 ? 8 * mib : 1 * mib);
        unsigned action = static_cast<unsigned>(random() % 4);
        if (objects.size() < 4 || (action < 2 && objects.size() < 24)) {
            object made = {allocate(size), size, static_cast<char>(1 + random() % 100)};
            ASSERT_NE(made.memory, nullptr);
            made.fill(0);
            objects.push_back(made);
            continue;
        }
        size_t which = random() % objects.size();
        object &it = objects[which];
        ASSERT_TRUE(it.is_whole(it.size));
        if (action == 3) {
            char *memory = static_cast<char *>(td_large_resize(it.memory, size));
            if (memory != nullptr) {
                it.memory = memory;
                ASSERT_TRUE(it.is_whole(std::min(size, it.size)));
                it.size = size;
                it.fill(0);
            }
        } else {
            deallocate(it.memory);
            objects.erase(objects.begin() + static_cast<std::ptrdiff_t>(which));
        }
        if (step % 16 == 0) {
            unsigned kind = static_cast<unsigned>(random() % 6);
            fake_os::let_moves(kind == 0   ? fake_os::moves::are_refused
                               : kind == 1 ? fake_os::moves::are_unknown
                                           : fake_os::moves::succeed);
            td_backend_purge(random() % (16 * mib));
        }
    }
    for (object &it : objects) {
        EXPECT_TRUE(it.is_whole(it.size));
        deallocate(it.memory);
    }
}

using large_death_test = large;

// Two threads that free it at once have both seen it in use; each looks again when it has the lock.
TEST_F(large_death_test, of_two_threads_that_free_one_object_one_is_told) {
    auto free_twice = [](void *memory) {
        td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
        std::thread first(deallocate, memory);
        std::thread second(deallocate, memory);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
        first.join();
        second.join();
    };
    for (size_t size : {200 * kib, 3 * mib}) {
        char *before = allocate(size);
        char *memory = allocate(size);
        EXPECT_EXIT(free_twice(memory), testing::KilledBySignal(SIGABRT), "tandem: double free of 0x[0-9a-f]+");
        deallocate(memory);
        deallocate(before);
    }
}

// In a process of its own: nothing is moved any more afterwards.
TEST_F(large_death_test, memory_that_a_move_lost_to_somebody_else_is_not_touched) {
    auto move_and_lose = [] {
        object it = {allocate(6 * mib), 6 * mib, 'a'};
        char *fence = allocate(2 * mib);
        it.fill(0);
        size_t mapped = td_free_runs_mapped_bytes();
        size_t used = td_backend_used_bytes;
        fake_os::let_moves(fake_os::moves::give_the_target_away);
        void *moved = td_large_resize(it.memory, 95 * mib);
        bool is_grown = td_free_runs_mapped_bytes() >= mapped + 95 * mib - TD_SEGMENT_BYTES;
        bool is_as_before = moved == nullptr && it.is_whole(it.size) && td_backend_used_bytes == used && is_grown;
        auto *lost = reinterpret_cast<char *>(fake_os::given_away());
        while (td_run_store_unmap_one()) {
            // All that is free goes: not what is somebody else's.
        }
        struct td_backend_stats stats;
        td_backend_get_stats(&stats);
        bool adds_up = stats.mapped_bytes == stats.large_bytes;
        bool is_lost =
            td_page_map_run(lost) == nullptr && lost[0] == '\xaa' && memcmp(lost, lost + 1, TD_SEGMENT_BYTES - 1) == 0;
        bool copies = td_large_resize(it.memory, 95 * mib) == nullptr;
        deallocate(it.memory);
        deallocate(fence);
        _exit(is_as_before + 2 * adds_up + 4 * is_lost + 8 * copies);
    };
    EXPECT_EXIT(move_and_lose(), testing::ExitedWithCode(15), "");
}

TEST_F(large_death_test, misuse_ends_the_process_with_its_line) {
    for (size_t size : {200 * kib, 3 * mib}) {
        char *memory = allocate(size);
        char *other = allocate(size);  // keeps the segment in use
        EXPECT_EXIT(deallocate(memory + 16), testing::KilledBySignal(SIGABRT),
                    "tandem: free of 0x[0-9a-f]+, which points inside a [0-9]+-byte object");
        EXPECT_EXIT(deallocate(memory + 65536), testing::KilledBySignal(SIGABRT),
                    "tandem: free of 0x[0-9a-f]+, which points inside a [0-9]+-byte object");
        EXPECT_EXIT(td_large_resize(memory + 8192, 4 * mib), testing::KilledBySignal(SIGABRT),
                    "tandem: realloc of 0x[0-9a-f]+, which points inside a [0-9]+-byte object");
        EXPECT_EXIT(td_large_usable_bytes(&size, "malloc_usable_size"), testing::KilledBySignal(SIGABRT),
                    "tandem: malloc_usable_size of 0x[0-9a-f]+, which was not allocated here");
        deallocate(memory);
        EXPECT_EXIT(deallocate(memory), testing::KilledBySignal(SIGABRT),
                    "tandem: double free of 0x[0-9a-f]+ \\([0-9]+-byte object\\)");
        EXPECT_EXIT(td_large_usable_bytes(memory, "malloc_usable_size"), testing::KilledBySignal(SIGABRT),
                    "tandem: malloc_usable_size of 0x[0-9a-f]+, which is free \\([0-9]+-byte object\\)");
        deallocate(other);
    }
}

TEST_F(large_death_test, what_was_cut_off_an_object_was_none) {
    char *memory = allocate(10 * mib);
    ASSERT_EQ(td_large_resize(memory, 4 * mib), memory);
    EXPECT_EXIT(deallocate(memory + 4 * mib), testing::KilledBySignal(SIGABRT),
                "tandem: free of 0x[0-9a-f]+, which was not allocated here");
    deallocate(memory);
}

}  // namespace
