#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/backend/fake_os.h"
#include "tests/backend/large_fixture.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/large_fill.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
}

namespace {

constexpr size_t remembered = 8;

class large_fill : public large_heap {
  protected:
    void SetUp() override {
        large_heap::SetUp();
        make_heap_large();
    }

    void TearDown() override {
        td_backend_set_hugepages(TD_HUGEPAGES_AUTO);
        large_heap::TearDown();
    }

    // Fresh, and nothing in it is touched.
    char *make(size_t size) {
        bool is_zero = false;
        auto *memory = static_cast<char *>(td_large_alloc(size, 16, &is_zero));
        EXPECT_NE(memory, nullptr);
        EXPECT_TRUE(is_zero);
        return keep(memory);
    }

    std::vector<char *> make_some(size_t count, size_t size) {
        std::vector<char *> made;
        for (size_t i = 0; i < count; i++) {
            made.push_back(make(size));
        }
        return made;
    }

    void replace(char *object, char *other) { *std::find(objects_.begin(), objects_.end(), object) = other; }

    static void fill(const std::vector<char *> &objects, size_t size) {
        for (char *memory : objects) {
            memset(memory, 1, size);
        }
    }

    static bool is_huge(const char *memory) {
        EXPECT_EQ(td_page_map_run(memory)->is_huge, fake_os::wants_hugepages(reinterpret_cast<uintptr_t>(memory)));
        return td_page_map_run(memory)->is_huge;
    }
};

TEST_F(large_fill, decides_which_new_objects_are_places_for_hugepages) {
    std::vector<char *> objects = make_some(remembered, 4 * mib);
    EXPECT_FALSE(is_huge(make(4 * mib)));
    fill(objects, 4 * mib);
    EXPECT_TRUE(is_huge(make(4 * mib)));
    EXPECT_TRUE(is_huge(make(2 * mib)));
}

TEST_F(large_fill, does_not_matter_where_all_are_to_be) {
    make_some(remembered, 4 * mib);
    td_backend_set_hugepages(TD_HUGEPAGES_ALWAYS);
    EXPECT_TRUE(is_huge(make(4 * mib)));
    EXPECT_TRUE(is_huge(make(2 * mib)));
}

TEST_F(large_fill, does_not_matter_for_an_object_that_grows) {
    char *memory = make_some(remembered, 4 * mib).back();
    char *grown = static_cast<char *>(td_large_resize(memory, 640 * mib));
    ASSERT_NE(grown, nullptr);
    ASSERT_NE(grown, memory) << "so it has a new run";
    EXPECT_TRUE(is_huge(grown + 4 * mib)) << "where it is new: pages that are moved bring their advice along";
    replace(memory, grown);
}

TEST_F(large_fill, of_the_last_objects_counts) {
    fill(make_some(remembered, 4 * mib), 4 * mib);
    EXPECT_TRUE(td_large_fill_is_likely());
    make_some(remembered / 2, 4 * mib);
    EXPECT_TRUE(td_large_fill_is_likely()) << "half of them";
    make(4 * mib);
    EXPECT_FALSE(td_large_fill_is_likely());
}

TEST_F(large_fill, is_weighed_by_bytes) {
    fill(make_some(remembered, 4 * mib), 4 * mib);
    char *reserve = make(64 * mib);
    EXPECT_FALSE(td_large_fill_is_likely());
    memset(reserve, 1, 64 * mib / 2);
    EXPECT_FALSE(td_large_fill_is_likely()) << "less than half";
    memset(reserve, 1, 64 * mib / 2 + 1);
    EXPECT_TRUE(td_large_fill_is_likely());
}

TEST_F(large_fill, of_objects_that_fill_one_hugepage_at_most_does_not_count) {
    fill(make_some(remembered, 4 * mib), 4 * mib);
    make_some(remembered, 4 * mib - TD_PAGE_BYTES);
    EXPECT_TRUE(td_large_fill_is_likely());
}

// What another object has left there says nothing of this one.
TEST_F(large_fill, of_memory_that_is_not_fresh_does_not_count) {
    make_some(remembered, 4 * mib);
    char *memory = allocate(4 * mib);
    memset(memory, 1, 4 * mib);
    for (size_t i = 0; i < remembered; i++) {
        deallocate(memory);
        memory = allocate(4 * mib);
        ASSERT_EQ(memory[0], 1);
    }
    deallocate(memory);
    EXPECT_FALSE(td_large_fill_is_likely());
}

TEST_F(large_fill, of_an_object_that_has_moved_counts_no_more) {
    fill(make_some(remembered, 4 * mib), 4 * mib);
    char *memory = make(64 * mib);
    memset(memory, 1, 64 * mib);
    EXPECT_TRUE(td_large_fill_is_likely());
    char *moved = static_cast<char *>(td_large_resize(memory, 640 * mib));
    ASSERT_NE(moved, nullptr);
    ASSERT_NE(moved, memory);
    replace(memory, moved);
    EXPECT_TRUE(td_large_fill_is_likely()) << "though nothing is there";
}

TEST_F(large_fill, is_not_likely_where_there_are_no_objects) {
    std::vector<char *> objects = make_some(remembered, 4 * mib);
    fill(objects, 4 * mib);
    EXPECT_TRUE(td_large_fill_is_likely());
    td_lock_acquire(&td_backend_lock, TD_RANK_BACKEND);
    for (char *memory : objects) {
        td_large_fill_forget_locked(td_page_map_run(memory));
    }
    td_lock_release(&td_backend_lock, TD_RANK_BACKEND);
    EXPECT_FALSE(td_large_fill_is_likely());
}

}  // namespace
