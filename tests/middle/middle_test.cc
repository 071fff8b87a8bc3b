#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "tests/middle/fake_backend.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/segment.h"
#include "base/size_class.h"
#include "middle/middle.h"
}

namespace {

using objects = std::vector<void *>;

objects fetch(size_t class_index, size_t count) {
    objects result(TD_BATCH_MAX + TD_BATCH_SLACK);
    result.resize(td_middle_fetch(class_index, result.data(), count));
    return result;
}

void give_back(size_t class_index, const objects &some) {
    td_middle_return(class_index, some.data(), some.size());
}

struct td_middle_stats middle_stats() {
    struct td_middle_stats stats;
    td_middle_get_stats(&stats);
    return stats;
}

class middle : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }

    void TearDown() override {
        fake_backend::limit_spans(SIZE_MAX);
        fake_backend::refuse_purges(false);
        td_middle_drain();
        td_middle_check();
        EXPECT_TRUE(fake_backend::spans().empty());
        EXPECT_EQ(middle_stats().transfer_bytes, 0u);
        EXPECT_EQ(middle_stats().free_bytes, 0u);
        EXPECT_EQ(middle_stats().waste_bytes, 0u);
    }
};

TEST_F(middle, a_batch_that_is_returned_comes_again_without_the_central_list) {
    constexpr size_t class_index = 4;
    size_t batch = td_class_info[class_index].batch;
    objects held = fetch(class_index, batch);
    give_back(class_index, held);
    uint64_t locks = middle_stats().central_locks;
    for (int i = 0; i < 1000; i++) {
        objects again = fetch(class_index, batch);
        ASSERT_EQ(again.size(), batch);
        give_back(class_index, again);
    }
    // Asking for the statistics takes each list's lock once.
    EXPECT_EQ(middle_stats().central_locks - locks, TD_CLASS_COUNT - 1u);
}

TEST_F(middle, draining_sends_every_span_home) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        give_back(i, fetch(i, td_class_info[i].batch));
    }
    EXPECT_FALSE(fake_backend::spans().empty());
    td_middle_drain();
    EXPECT_TRUE(fake_backend::spans().empty());
}

TEST_F(middle, checked_calls_bypass_the_transfer_cache) {
    void *object[1 + TD_BATCH_SLACK];
    size_t count = td_middle_fetch_checked(7, object, 1);
    ASSERT_EQ(count, 1u);
    EXPECT_EQ(td_middle_objects_out(7), 1u);
    td_middle_check_object(7, object[0], "free");
    td_middle_return_checked(7, object, count);
    EXPECT_EQ(middle_stats().transfer_bytes, 0u);
    EXPECT_TRUE(fake_backend::spans().empty());
}

TEST_F(middle, out_of_spans_it_looks_into_all_transfer_caches) {
    // Class 33's only span is held by objects that lie in its transfer cache.
    objects held = fetch(33, 1);
    give_back(33, held);
    ASSERT_EQ(fake_backend::spans().size(), 1u);
    fake_backend::limit_spans(0);
    errno = 0;
    EXPECT_TRUE(fetch(50, 1).empty());
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_TRUE(fake_backend::spans().empty()) << "a span that could have helped was not given back";
}

TEST_F(middle, counts_every_byte_of_its_spans) {
    constexpr size_t class_index = 11;
    const struct td_class_info &info = td_class_info[class_index];
    objects held = fetch(class_index, 10);
    objects cached = fetch(class_index, 10);
    size_t out = held.size(), in_cache = cached.size();
    give_back(class_index, cached);
    struct td_middle_stats stats = middle_stats();
    EXPECT_EQ(td_middle_objects_out(class_index), out);
    EXPECT_EQ(stats.transfer_bytes, in_cache * info.object_bytes);
    size_t span_bytes = fake_backend::spans().size() * info.span_pages * TD_PAGE_BYTES;
    EXPECT_EQ(stats.transfer_bytes + stats.free_bytes + stats.waste_bytes + out * info.object_bytes, span_bytes);
    give_back(class_index, held);
}

TEST_F(middle, a_tick_is_due_once_in_its_time) {
    uint64_t now_ms = 0;
    fake_backend::set_clock_ms(50000);
    EXPECT_TRUE(td_middle_tick_is_due(&now_ms));
    EXPECT_EQ(now_ms, 50000u);
    EXPECT_FALSE(td_middle_tick_is_due(&now_ms));
    fake_backend::set_clock_ms(50000 + TD_TICK_MS - 1);
    EXPECT_FALSE(td_middle_tick_is_due(&now_ms));
    fake_backend::set_clock_ms(50000 + TD_TICK_MS);
    EXPECT_TRUE(td_middle_tick_is_due(&now_ms));
    EXPECT_FALSE(td_middle_tick_is_due(&now_ms));
    fake_backend::set_clock_ms(50000 - TD_TICK_MS);
    EXPECT_FALSE(td_middle_tick_is_due(&now_ms)) << "the clock was read before another thread's tick";
}

TEST_F(middle, maintenance_drains_what_two_calls_find_unused) {
    constexpr size_t class_index = 4;
    give_back(class_index, fetch(class_index, td_class_info[class_index].batch));
    td_middle_maintain(777);
    EXPECT_EQ(fake_backend::maintained_ms(), 777u);
    EXPECT_NE(middle_stats().transfer_bytes, 0u) << "unused for no time yet";
    td_middle_maintain(888);
    EXPECT_EQ(middle_stats().transfer_bytes, 0u);
}

// Locked memory, say, in so many spans that a tick tries no others.
TEST_F(middle, spans_that_are_refused_for_ever_do_not_keep_other_classes_from_being_purged) {
    constexpr size_t many_index = 56;  // 8 KiB, four in a span
    constexpr size_t other_index = 64;
    constexpr size_t count = 44000;
    objects kept;
    objects freed;
    while (kept.size() < count) {
        objects some = fetch(many_index, td_class_info[many_index].batch);
        kept.insert(kept.end(), some.begin(), some.end());
    }
    std::sort(kept.begin(), kept.end());
    // One object of each span stays.
    size_t in_span = td_class_info[many_index].span_objects;
    for (size_t i = 0; i < kept.size(); i++) {
        if (i % in_span != 0) {
            freed.push_back(kept[i]);
            kept[i] = nullptr;
        }
    }
    kept.erase(std::remove(kept.begin(), kept.end(), nullptr), kept.end());
    objects others = fetch(other_index, 1);
    uintptr_t other_start = fake_backend::spans().back()->start;
    td_middle_return_checked(many_index, freed.data(), freed.size());
    fake_backend::refuse_purges(true);
    bool is_tried = false;
    size_t most = 0;
    for (int tick = 0; tick < 3 * TD_DECAY_MS_DEFAULT / TD_TICK_MS; tick++) {
        td_middle_maintain(1000);
        std::vector<fake_backend::range> tried = fake_backend::take_purged();
        most = std::max(most, tried.size());
        for (const fake_backend::range &range : tried) {
            is_tried = is_tried || range.start >= other_start;
        }
    }
    EXPECT_TRUE(is_tried);
    EXPECT_LE(most, 512u) << "one allocation waits for all of them";
    EXPECT_GT(most, 500u) << "the test has too few spans";
    td_middle_return_checked(many_index, kept.data(), kept.size());
    give_back(other_index, others);
}

TEST_F(middle, goes_on_after_fork_handlers) {
    td_middle_fork_prepare();
    EXPECT_EQ(fake_backend::forks_prepared(), 1);
    td_middle_fork_done();
    EXPECT_EQ(fake_backend::forks_prepared(), 0);
    give_back(4, fetch(4, 1));
}

TEST_F(middle, returns_longer_than_a_batch_are_cut) {
    constexpr size_t class_index = 80;  // few objects make a batch
    size_t batch = td_class_info[class_index].batch;
    ASSERT_LT(batch, 10u);
    objects held;
    while (held.size() < 5 * batch) {
        objects more = fetch(class_index, batch);
        ASSERT_FALSE(more.empty());
        held.insert(held.end(), more.begin(), more.end());
    }
    size_t count = std::min<size_t>(held.size(), TD_BATCH_MAX);
    td_middle_return(class_index, held.data(), count);
    EXPECT_EQ(td_middle_objects_out(class_index), held.size() - count);
    td_middle_return(class_index, held.data() + count, held.size() - count);
    EXPECT_EQ(td_middle_objects_out(class_index), 0u);
}

}  // namespace
