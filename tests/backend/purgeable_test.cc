// Which segment has the next turn in giving pages back.
#include <cstddef>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "backend/purgeable.h"
}

namespace {

class purgeable : public testing::Test {
  protected:
    void TearDown() override {
        for (auto &segment : segments_) {
            td_purgeable_set(segment.get(), 0);
        }
        EXPECT_EQ(td_purgeable_pages, 0u);
        EXPECT_EQ(td_purgeable_take(), nullptr);
        td_purgeable_begin_round();
    }

    struct td_segment *make(size_t pages) {
        segments_.push_back(std::make_unique<struct td_segment>());
        td_purgeable_set(segments_.back().get(), pages);
        return segments_.back().get();
    }

    std::vector<std::unique_ptr<struct td_segment>> segments_;
};

TEST_F(purgeable, those_with_most_pages_come_first) {
    struct td_segment *few = make(10);
    struct td_segment *all = make(TD_SEGMENT_PAGES);
    make(0);
    struct td_segment *half = make(TD_SEGMENT_PAGES / 2);
    EXPECT_EQ(td_purgeable_pages, 10u + TD_SEGMENT_PAGES + TD_SEGMENT_PAGES / 2);
    EXPECT_EQ(td_purgeable_take(), all);
    EXPECT_EQ(td_purgeable_take(), half);
    EXPECT_EQ(td_purgeable_take(), few);
    EXPECT_EQ(td_purgeable_take(), nullptr);
}

TEST_F(purgeable, of_two_that_have_about_as_many_the_one_that_came_by_them_first_does) {
    struct td_segment *first = make(40);
    struct td_segment *second = make(41);
    EXPECT_EQ(td_purgeable_take(), first);
    EXPECT_EQ(td_purgeable_take(), second);
}

TEST_F(purgeable, each_has_one_turn_in_a_round) {
    struct td_segment *refused = make(200);
    make(1);
    EXPECT_EQ(td_purgeable_take(), refused);
    td_purgeable_set(refused, 250);
    EXPECT_NE(td_purgeable_take(), refused);
    EXPECT_EQ(td_purgeable_take(), nullptr);
    td_purgeable_begin_round();
    EXPECT_EQ(td_purgeable_take(), refused);
}

TEST_F(purgeable, one_that_all_pages_went_of_may_have_another_turn) {
    struct td_segment *segment = make(5);
    EXPECT_EQ(td_purgeable_take(), segment);
    td_purgeable_set(segment, 0);
    td_purgeable_set(segment, 5);
    EXPECT_EQ(td_purgeable_take(), nullptr);
    td_purgeable_set(segment, 0);
    td_purgeable_forget_turn(segment);
    td_purgeable_set(segment, 5);
    EXPECT_EQ(td_purgeable_take(), segment);
}

TEST_F(purgeable, random_changes_lose_none_and_sum_up) {
    std::mt19937 random(3);
    for (int i = 0; i < 100; i++) {
        make(random() % (TD_SEGMENT_PAGES + 1));
    }
    for (int round = 0; round < 50; round++) {
        std::set<const struct td_segment *> taken;
        for (int step = 0; step < 300; step++) {
            struct td_segment *segment = segments_[random() % segments_.size()].get();
            td_purgeable_set(segment, random() % 3 == 0 ? 0 : random() % (TD_SEGMENT_PAGES + 1));
            if (step % 8 == 0) {
                struct td_segment *next = td_purgeable_take();
                ASSERT_TRUE(next == nullptr || taken.insert(next).second) << "had a turn";
            }
        }
        for (struct td_segment *next; (next = td_purgeable_take()) != nullptr;) {
            ASSERT_TRUE(taken.insert(next).second) << "had a turn";
        }
        size_t pages = 0;
        for (const auto &segment : segments_) {
            pages += segment->purgeable;
            ASSERT_TRUE(segment->purgeable == 0 || taken.count(segment.get()) != 0) << "lost";
        }
        ASSERT_EQ(td_purgeable_pages, pages);
        td_purgeable_begin_round();
    }
}

}  // namespace
