// What central free lists hand out and take back, and what they refuse.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <string>

#include "tests/middle/central_list_fixture.h"
#include "gtest/gtest.h"

namespace {

TEST_F(central_list, hands_out_every_object_of_a_span_once) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        const struct td_class_info &info = td_class_info[i];
        objects all;
        while (all.size() < info.span_objects) {
            objects more = fetch(i, info.batch);
            ASSERT_FALSE(more.empty());
            all.insert(all.end(), more.begin(), more.end());
        }
        ASSERT_EQ(all.size(), info.span_objects);
        ASSERT_EQ(fake_backend::spans().size(), 1u);
        uintptr_t start = fake_backend::spans()[0]->start;
        std::set<void *> distinct(all.begin(), all.end());
        ASSERT_EQ(distinct.size(), all.size());
        for (const void *object : all) {
            ASSERT_EQ((address_of(object) - start) % info.object_bytes, 0u);
            ASSERT_LT(address_of(object), start + info.span_pages * TD_PAGE_BYTES);
        }
        give_back(i, all);
        ASSERT_TRUE(fake_backend::spans().empty());
    }
}

TEST_F(central_list, a_span_made_while_others_returned_objects_is_not_kept) {
    objects held = fetch_exactly(1, td_class_info[1].span_objects);
    ASSERT_EQ(fake_backend::spans().size(), 1u);
    fake_backend::while_making_a_span([&held] {
        give_back(1, {held.back()});
        held.pop_back();
    });
    objects more = fetch(1, 8);
    EXPECT_EQ(more.size(), 1u);
    EXPECT_EQ(fake_backend::spans().size(), 1u);
    give_back(1, more);
    give_back(1, held);
}

// A slab uses the last one first.
TEST_F(central_list, a_batch_is_in_address_order_lowest_last) {
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        objects batch = fetch(i, td_class_info[i].batch);
        uintptr_t next = fake_backend::spans()[0]->start;
        for (auto object = batch.rbegin(); object != batch.rend(); ++object) {
            ASSERT_EQ(address_of(*object), next) << "class " << i;
            next += td_class_info[i].object_bytes;
        }
        give_back(i, batch);
    }
}

TEST_F(central_list, returns_go_to_the_lowest_free_address_next) {
    constexpr size_t class_index = 8;
    objects held = fetch_exactly(class_index, 40);
    std::sort(held.begin(), held.end());
    for (size_t which : {30u, 3u, 17u}) {
        td_central_return(class_index, &held[which], 1);
    }
    EXPECT_EQ(fetch(class_index, 1), objects{held[3]});
    EXPECT_EQ(fetch(class_index, 1), objects{held[17]});
    EXPECT_EQ(fetch(class_index, 1), objects{held[30]});
    give_back(class_index, held);
}

TEST_F(central_list, a_batch_comes_and_goes_whole_however_scattered) {
    constexpr size_t class_index = 4;
    objects held = fetch_exactly(class_index, size_t{64} * TD_BATCH_MAX);
    std::sort(held.begin(), held.end());
    objects scattered;
    for (size_t i = 0; i < held.size(); i += 64) {
        scattered.push_back(held[i]);
    }
    size_t spans = fake_backend::spans().size();
    give_back(class_index, scattered);
    objects again = fetch(class_index, TD_BATCH_MAX);
    EXPECT_EQ(fake_backend::spans().size(), spans);
    std::sort(again.begin(), again.end());
    EXPECT_EQ(again, scattered);
    give_back(class_index, held);
}

TEST_F(central_list, draws_from_the_fullest_span) {
    constexpr size_t class_index = 8;
    size_t span_objects = td_class_info[class_index].span_objects;
    objects held = fetch_exactly(class_index, 3 * span_objects);
    ASSERT_EQ(fake_backend::spans().size(), 3u);
    std::sort(held.begin(), held.end());
    auto give_back_from = [&](size_t span, size_t count) {
        for (size_t i = 0; i < count; i++) {
            td_central_return(class_index, &held[span * span_objects + i], 1);
            held[span * span_objects + i] = nullptr;
        }
    };
    give_back_from(0, span_objects * 3 / 4);
    give_back_from(1, span_objects / 16);
    give_back_from(2, span_objects / 2);
    objects drawn = fetch_exactly(class_index, span_objects / 16 + 1);
    auto span_of = [&](const void *object) {
        uintptr_t start = fake_backend::spans()[0]->start;
        return (address_of(object) - start) / (fake_backend::spans()[1]->start - start);
    };
    // What was taken last comes first.
    EXPECT_EQ(span_of(drawn[0]), 2u);
    for (size_t i = 1; i < drawn.size(); i++) {
        EXPECT_EQ(span_of(drawn[i]), 1u) << i;
    }
    held.insert(held.end(), drawn.begin(), drawn.end());
    held.erase(std::remove(held.begin(), held.end(), nullptr), held.end());
    give_back(class_index, held);
}

TEST_F(central_list, no_cache_line_is_shared_between_two_batches) {
    for (size_t i = 1; td_class_bytes(i) < TD_CACHE_LINE; i++) {
        std::set<uintptr_t> lines;
        objects held;
        for (size_t count = 1; count < 30; count++) {
            objects batch = fetch(i, count);
            ASSERT_FALSE(batch.empty());  // and may be short at a span's end
            ASSERT_LE(batch.size(), count + TD_BATCH_SLACK);
            std::set<uintptr_t> own;
            for (const void *object : batch) {
                own.insert(address_of(object) / TD_CACHE_LINE);
                own.insert((address_of(object) + td_class_bytes(i) - 1) / TD_CACHE_LINE);
            }
            for (uintptr_t line : own) {
                ASSERT_TRUE(lines.insert(line).second) << td_class_bytes(i) << " bytes, batch of " << count;
            }
            held.insert(held.end(), batch.begin(), batch.end());
        }
        give_back(i, held);
    }
}

TEST_F(central_list, objects_of_a_line_or_more_come_as_many_as_asked_for) {
    for (size_t i = td_class_of(TD_CACHE_LINE); i < TD_CLASS_COUNT; i++) {
        objects batch = fetch(i, 1);
        EXPECT_EQ(batch.size(), 1u);
        give_back(i, batch);
    }
}

TEST_F(central_list, spans_leave_as_soon_as_they_are_empty) {
    constexpr size_t class_index = 20;
    objects held = fetch_exactly(class_index, 4 * td_class_info[class_index].span_objects);
    std::shuffle(held.begin(), held.end(), std::mt19937(1));
    std::vector<size_t> in_use(4, td_class_info[class_index].span_objects);
    std::vector<uintptr_t> starts;
    for (const struct td_span *span : fake_backend::spans()) {
        starts.push_back(span->start);
    }
    for (void *object : held) {
        size_t span = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), address_of(object)) -
                                          starts.begin() - 1);
        in_use[span]--;
        td_central_return(class_index, &object, 1);
        size_t expected = 4 - static_cast<size_t>(std::count(in_use.begin(), in_use.end(), size_t{0}));
        ASSERT_EQ(fake_backend::spans().size(), expected);
    }
}

TEST_F(central_list, a_short_batch_costs_no_new_span) {
    constexpr size_t class_index = 40;
    size_t span_objects = td_class_info[class_index].span_objects;
    objects held = fetch_exactly(class_index, span_objects - 1);
    objects rest = fetch(class_index, 5);
    EXPECT_EQ(rest.size(), 1u);
    EXPECT_EQ(fake_backend::spans().size(), 1u);
    held.insert(held.end(), rest.begin(), rest.end());
    give_back(class_index, held);
}

TEST_F(central_list, without_memory_there_is_what_there_is) {
    constexpr size_t class_index = 40;
    size_t span_objects = td_class_info[class_index].span_objects;
    fake_backend::limit_spans(1);
    objects held = fetch_exactly(class_index, span_objects + 10);
    EXPECT_EQ(held.size(), span_objects);
    errno = 0;
    EXPECT_TRUE(fetch(class_index, 1).empty());
    EXPECT_EQ(errno, ENOMEM);
    give_back(class_index, held);
}

TEST_F(central_list, statistics_follow) {
    constexpr size_t class_index = 12;
    struct td_central_stats before, stats;
    td_central_get_stats(class_index, &before);
    objects held = fetch_exactly(class_index, 5);
    td_central_get_stats(class_index, &stats);
    EXPECT_EQ(stats.spans, 1u);
    EXPECT_EQ(stats.free_objects, td_class_info[class_index].span_objects - 5u);
    EXPECT_GT(stats.locks, before.locks);
    give_back(class_index, held);
    td_central_get_stats(class_index, &stats);
    EXPECT_EQ(stats.spans, 0u);
    EXPECT_EQ(stats.free_objects, 0u);
}

TEST_F(central_list, random_fetches_and_returns_lose_nothing) {
    std::mt19937 random(3);
    std::vector<objects> held(TD_CLASS_COUNT);
    std::vector<std::set<void *>> known(TD_CLASS_COUNT);
    for (int step = 0; step < 4000 && !HasFatalFailure(); step++) {
        size_t i = 1 + random() % 12 * 6;
        if (random() % 9 < 5) {
            objects more = fetch(i, 1 + random() % td_class_info[i].batch);
            for (void *object : more) {
                ASSERT_TRUE(known[i].insert(object).second) << "handed out twice";
            }
            held[i].insert(held[i].end(), more.begin(), more.end());
        } else {
            std::shuffle(held[i].begin(), held[i].end(), random);
            size_t count = held[i].empty() ? 0 : random() % std::min<size_t>(held[i].size(), 100) + 1;
            objects some(held[i].end() - static_cast<std::ptrdiff_t>(count), held[i].end());
            held[i].resize(held[i].size() - count);
            for (void *object : some) {
                known[i].erase(object);
            }
            give_back(i, some);
        }
        struct td_central_stats stats;
        td_central_get_stats(i, &stats);
        ASSERT_EQ(stats.spans * td_class_info[i].span_objects - stats.free_objects, held[i].size());
        td_central_check(i);
    }
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        give_back(i, held[i]);
    }
}

using central_list_death_test = central_list;

TEST_F(central_list_death_test, what_is_no_object_in_use_ends_the_process) {
    constexpr size_t class_index = 3;
    objects held = fetch_exactly(class_index, 8);
    std::sort(held.begin(), held.end());
    void *freed = held.back();
    held.pop_back();
    td_central_return(class_index, &freed, 1);
    EXPECT_EXIT(td_central_return(class_index, &freed, 1), testing::KilledBySignal(SIGABRT),
                "tandem: double free of 0x[0-9a-f]+ \\(48-byte object\\)");
    EXPECT_EXIT(td_central_check_object(class_index, freed, "realloc"), testing::KilledBySignal(SIGABRT),
                "tandem: double free of 0x[0-9a-f]+ \\(48-byte object\\)");
    EXPECT_EXIT(td_central_check_object(class_index, freed, "malloc_usable_size"), testing::KilledBySignal(SIGABRT),
                "tandem: malloc_usable_size of 0x[0-9a-f]+, which is free \\(48-byte object\\)");
    void *interior = static_cast<char *>(held[0]) + 16;
    EXPECT_EXIT(td_central_return(class_index, &interior, 1), testing::KilledBySignal(SIGABRT),
                "tandem: free of 0x[0-9a-f]+, which points inside a 48-byte object");
    EXPECT_EXIT(td_central_check_object(class_index, interior, "realloc"), testing::KilledBySignal(SIGABRT),
                "tandem: realloc of 0x[0-9a-f]+, which points inside a 48-byte object");
    td_central_check_object(class_index, held[0], "realloc");
    void *twice[] = {held[0], held[1], held[0]};
    EXPECT_EXIT(td_central_return(class_index, twice, 3), testing::KilledBySignal(SIGABRT), "tandem: double free");
    int local;
    void *foreign = &local;
    EXPECT_EXIT(td_central_return(class_index, &foreign, 1), testing::KilledBySignal(SIGABRT),
                "tandem: free of 0x[0-9a-f]+, which was not allocated here");
    give_back(class_index, held);
}

TEST_F(central_list_death_test, an_object_that_is_twice_in_a_batch_is_named) {
    constexpr size_t class_index = 3;
    objects held = fetch_exactly(class_index, 100);
    std::sort(held.begin(), held.end());
    void *low = held[0], *next = held[1], *high = held[99];
    std::string message = "tandem: double free of " + testing::PrintToString(low) + " \\(48-byte object\\)";
    // Next to each other, in one word of the bitmap, and with another word between them.
    for (const objects &batch : {objects{low, low}, objects{low, next, low}, objects{next, low, high, low}}) {
        EXPECT_EXIT(give_back(class_index, batch), testing::KilledBySignal(SIGABRT), message);
    }
    give_back(class_index, held);
}

}  // namespace
