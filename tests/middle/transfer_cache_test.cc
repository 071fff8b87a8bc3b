#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "tests/middle/fake_backend.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "middle/batch_stack.h"
#include "middle/transfer_cache.h"
}

namespace {

// Which lane is used follows from the CPU: here that is what the test says.
int current_cpu = 0;

using objects = std::vector<void *>;

// The cache never looks at an object.
void *make_object() {
    static uintptr_t next = 0x10000;
    next += 16;
    return reinterpret_cast<void *>(next);
}

objects make_batch(size_t count) {
    objects result;
    for (size_t i = 0; i < count; i++) {
        result.push_back(make_object());
    }
    return result;
}

bool insert(size_t class_index, const objects &batch) {
    return td_transfer_insert(class_index, batch.data(), batch.size());
}

objects fetch(size_t class_index, size_t count) {
    objects result(count + TD_BATCH_SLACK);
    size_t fetched = td_transfer_fetch(class_index, result.data(), count);
    EXPECT_LE(fetched, count);
    result.resize(fetched);
    return result;
}

objects take_idle(size_t class_index, bool all) {
    objects result(TD_BATCH_MAX);
    result.resize(td_transfer_take_idle(class_index, result.data(), all));
    return result;
}

size_t drain(size_t class_index) {
    size_t count = 0, now;
    while ((now = take_idle(class_index, true).size()) != 0) {
        count += now;
    }
    return count;
}

size_t objects_in(size_t class_index) {
    struct td_transfer_stats stats;
    td_transfer_get_stats(class_index, &stats);
    return stats.objects;
}

// Whole batches until the cache is full. Returns how many it took.
size_t fill(size_t class_index) {
    size_t batches = 0;
    while (insert(class_index, make_batch(td_class_info[class_index].batch))) {
        batches++;
    }
    return batches;
}

// Each test has a class of its own, since a limit that has grown stays.
class transfer_cache : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        static size_t used = 0;
        class_index_ = ++used;
        batch_ = td_class_info[class_index_].batch;
        ASSERT_GT(td_class_info[class_index_].transfer_max, 2 * TD_TRANSFER_BATCHES_MIN);
    }

    void TearDown() override {
        fake_backend::limit_metadata(SIZE_MAX);
        current_cpu = 0;
        drain(class_index_);
        EXPECT_EQ(objects_in(class_index_), 0u);
    }

    size_t class_index_;
    size_t batch_;
};

TEST_F(transfer_cache, is_empty_at_first) {
    EXPECT_TRUE(fetch(class_index_, 1).empty());
    EXPECT_TRUE(take_idle(class_index_, true).empty());
}

TEST_F(transfer_cache, what_goes_in_comes_out) {
    objects batch = make_batch(batch_);
    ASSERT_TRUE(insert(class_index_, batch));
    EXPECT_EQ(objects_in(class_index_), batch_);
    objects fetched = fetch(class_index_, batch_);
    EXPECT_EQ(std::set<void *>(fetched.begin(), fetched.end()), std::set<void *>(batch.begin(), batch.end()));
    EXPECT_EQ(fetched.size(), batch.size());
    EXPECT_EQ(objects_in(class_index_), 0u);
    EXPECT_TRUE(fetch(class_index_, 1).empty());
}

TEST_F(transfer_cache, the_last_batch_in_is_the_first_out) {
    objects first = make_batch(batch_), second = make_batch(batch_);
    ASSERT_TRUE(insert(class_index_, first));
    ASSERT_TRUE(insert(class_index_, second));
    EXPECT_EQ(fetch(class_index_, batch_), second);
    EXPECT_EQ(fetch(class_index_, batch_), first);
}

TEST_F(transfer_cache, holds_its_minimum_at_first) {
    EXPECT_EQ(fill(class_index_), size_t{TD_TRANSFER_BATCHES_MIN});
    EXPECT_EQ(objects_in(class_index_), TD_TRANSFER_BATCHES_MIN * batch_);
}

TEST_F(transfer_cache, a_batch_that_is_turned_away_changes_nothing) {
    fill(class_index_);
    size_t before = objects_in(class_index_);
    EXPECT_FALSE(insert(class_index_, make_batch(batch_)));
    EXPECT_FALSE(insert(class_index_, make_batch(1)));
    EXPECT_EQ(objects_in(class_index_), before);
    EXPECT_EQ(drain(class_index_), before);
}

TEST_F(transfer_cache, being_full_or_empty_alone_does_not_raise_the_limit) {
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < TD_TRANSFER_BATCHES_MIN; i++) {
            ASSERT_TRUE(insert(class_index_, make_batch(batch_)));
        }
        drain(class_index_);
        ASSERT_TRUE(fetch(class_index_, 1).empty());  // nothing was turned away
    }
    for (int round = 0; round < 10; round++) {
        ASSERT_LE(fill(class_index_), size_t{TD_TRANSFER_BATCHES_MIN});  // turned away, and nobody missed it
    }
    EXPECT_EQ(objects_in(class_index_), TD_TRANSFER_BATCHES_MIN * batch_);
}

TEST_F(transfer_cache, a_miss_after_a_batch_was_turned_away_raises_the_limit_up_to_the_maximum) {
    size_t limit = fill(class_index_);
    for (int round = 0; round < 20; round++) {
        while (!fetch(class_index_, batch_).empty()) {
        }
        size_t raised = fill(class_index_);
        ASSERT_EQ(raised, std::min<size_t>(2 * limit, td_class_info[class_index_].transfer_max));
        limit = raised;
    }
    EXPECT_EQ(limit, td_class_info[class_index_].transfer_max);
}

TEST_F(transfer_cache, what_lies_unused_for_a_period_leaves) {
    fill(class_index_);
    while (!fetch(class_index_, batch_).empty()) {
    }
    ASSERT_EQ(fill(class_index_), 2 * size_t{TD_TRANSFER_BATCHES_MIN});
    size_t held = objects_in(class_index_);
    td_transfer_begin_period(class_index_);
    // One batch is used again and again: it stays, the others go.
    for (int i = 0; i < 5; i++) {
        objects batch = fetch(class_index_, batch_);
        ASSERT_EQ(batch.size(), batch_);
        ASSERT_TRUE(insert(class_index_, batch));
    }
    size_t left = 0;
    for (objects idle; !(idle = take_idle(class_index_, false)).empty();) {
        left += idle.size();
    }
    EXPECT_EQ(left, held - batch_);
    EXPECT_EQ(objects_in(class_index_), batch_);
}

TEST_F(transfer_cache, nothing_is_idle_before_the_first_period_has_passed) {
    fill(class_index_);
    EXPECT_TRUE(take_idle(class_index_, false).empty());
    td_transfer_begin_period(class_index_);
    EXPECT_FALSE(take_idle(class_index_, false).empty());
}

TEST_F(transfer_cache, without_memory_for_a_batch_it_is_as_if_full) {
    fake_backend::limit_metadata(0);
    while (td_batch_new() != nullptr) {  // several are made at once
    }
    EXPECT_FALSE(insert(class_index_, make_batch(batch_)));
    EXPECT_EQ(objects_in(class_index_), 0u);
    fake_backend::limit_metadata(SIZE_MAX);
    EXPECT_TRUE(insert(class_index_, make_batch(batch_)));
}

TEST_F(transfer_cache, counts_hits_and_misses) {
    struct td_transfer_stats stats;
    fetch(class_index_, 1);
    insert(class_index_, make_batch(2));
    fetch(class_index_, 1);
    fetch(class_index_, 1);
    fetch(class_index_, 1);
    td_transfer_get_stats(class_index_, &stats);
    EXPECT_EQ(stats.hits, 2u);
    EXPECT_EQ(stats.misses, 2u);
}

// A fetch that has half of what it wants breaks no further batch, so batches that are wanted whole stay whole.
TEST_F(transfer_cache, a_fetch_that_has_half_of_it_leaves_the_next_batch_whole) {
    objects whole = make_batch(batch_);
    ASSERT_TRUE(insert(class_index_, whole));
    ASSERT_TRUE(insert(class_index_, make_batch(batch_)));
    fetch(class_index_, batch_ / 4);
    EXPECT_EQ(fetch(class_index_, batch_).size(), batch_ * 3 / 4);
    EXPECT_EQ(fetch(class_index_, batch_), whole);
}

// CPUs of four lanes, the last one among them.
constexpr int cpus_of_lanes[] = {0, TD_CPUS_PER_LANE, 5 * TD_CPUS_PER_LANE + 1, TD_LANES *TD_CPUS_PER_LANE - 1};

// Who frees on one CPU leaves objects in that one's lane; whoever finds nothing in his own looks there too.
TEST_F(transfer_cache, what_one_lane_lacks_another_has) {
    for (int taker : cpus_of_lanes) {
        std::set<void *> inside;
        for (int cpu : cpus_of_lanes) {
            current_cpu = cpu;
            objects batch = make_batch(batch_);
            ASSERT_TRUE(insert(class_index_, batch));
            inside.insert(batch.begin(), batch.end());
        }
        EXPECT_EQ(objects_in(class_index_), inside.size());
        current_cpu = taker;
        while (!inside.empty()) {
            objects batch = fetch(class_index_, batch_);
            ASSERT_EQ(batch.size(), batch_);
            for (void *object : batch) {
                EXPECT_EQ(inside.erase(object), 1u);
            }
        }
        EXPECT_TRUE(fetch(class_index_, 1).empty());
    }
}

TEST_F(transfer_cache, more_cpus_than_the_lanes_are_for_share_them) {
    current_cpu = TD_LANES * TD_CPUS_PER_LANE + 2;
    objects batch = make_batch(batch_);
    ASSERT_TRUE(insert(class_index_, batch));
    current_cpu = 0;
    ASSERT_TRUE(insert(class_index_, make_batch(batch_)));
    EXPECT_EQ(fetch(class_index_, batch_).size(), batch_);
    EXPECT_EQ(fetch(class_index_, batch_), batch);
}

TEST_F(transfer_cache, its_own_lane_comes_first) {
    std::vector<objects> batches;
    for (int cpu : cpus_of_lanes) {
        current_cpu = cpu;
        batches.push_back(make_batch(batch_));
        ASSERT_TRUE(insert(class_index_, batches.back()));
    }
    for (size_t i = 0; i < batches.size(); i++) {
        current_cpu = cpus_of_lanes[i];
        EXPECT_EQ(fetch(class_index_, batch_), batches[i]);
    }
}

// What little is left in a lane does not hide what others have.
TEST_F(transfer_cache, a_remainder_is_not_enough) {
    current_cpu = cpus_of_lanes[2];
    ASSERT_TRUE(insert(class_index_, make_batch(batch_)));
    current_cpu = cpus_of_lanes[1];
    ASSERT_TRUE(insert(class_index_, make_batch(1)));
    EXPECT_EQ(fetch(class_index_, batch_).size(), batch_);
}

TEST_F(transfer_cache, only_lanes_that_turned_batches_away_grow) {
    const size_t least = TD_TRANSFER_BATCHES_MIN;
    current_cpu = cpus_of_lanes[1];
    EXPECT_EQ(fill(class_index_), least);  // and one more, that is turned away
    current_cpu = cpus_of_lanes[2];
    ASSERT_TRUE(insert(class_index_, make_batch(batch_)));
    while (!fetch(class_index_, batch_).empty()) {
    }
    EXPECT_EQ(fill(class_index_), least);
    current_cpu = cpus_of_lanes[1];
    EXPECT_EQ(fill(class_index_), 2 * least);
}

TEST_F(transfer_cache, what_is_idle_leaves_all_lanes) {
    for (int cpu : cpus_of_lanes) {
        current_cpu = cpu;
        ASSERT_TRUE(insert(class_index_, make_batch(batch_)));
    }
    EXPECT_TRUE(take_idle(class_index_, false).empty());
    td_transfer_begin_period(class_index_);
    current_cpu = cpus_of_lanes[1];
    objects used = fetch(class_index_, batch_);
    ASSERT_TRUE(insert(class_index_, used));
    size_t left = 0;
    for (objects idle; !(idle = take_idle(class_index_, false)).empty();) {
        left += idle.size();
    }
    EXPECT_EQ(left, 3 * batch_);
    EXPECT_EQ(fetch(class_index_, batch_), used);
}

TEST_F(transfer_cache, random_operations_lose_nothing_and_double_nothing) {
    std::mt19937 random(5);
    std::set<void *> inside;
    for (int step = 0; step < 20000 && !HasFatalFailure(); step++) {
        current_cpu = cpus_of_lanes[random() % 4];
        switch (random() % 5) {
        case 0:
        case 1: {
            objects batch = make_batch(1 + random() % batch_);
            if (insert(class_index_, batch)) {
                inside.insert(batch.begin(), batch.end());
            }
            break;
        }
        case 2:
        case 3:
            for (void *object : fetch(class_index_, 1 + random() % batch_)) {
                ASSERT_EQ(inside.erase(object), 1u) << "came out without having gone in, or twice";
            }
            break;
        default:
            if (random() % 8 == 0) {
                td_transfer_begin_period(class_index_);
            }
            for (void *object : take_idle(class_index_, random() % 8 == 0)) {
                ASSERT_EQ(inside.erase(object), 1u) << "came out without having gone in, or twice";
            }
        }
        ASSERT_EQ(objects_in(class_index_), inside.size());
    }
}

}  // namespace

// Instead of the C library's.
extern "C" int sched_getcpu() {
    return current_cpu;
}
