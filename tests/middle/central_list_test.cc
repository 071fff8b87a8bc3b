#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/middle/fake_backend.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/segment.h"
#include "base/size_class.h"
#include "middle/central_list.h"
}

namespace {

using objects = std::vector<void *>;

uintptr_t address_of(const void *object) {
    return reinterpret_cast<uintptr_t>(object);
}

class central_list : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }

    void TearDown() override {
        fake_backend::limit_spans(SIZE_MAX);
        fake_backend::refuse_purges(false);
        EXPECT_TRUE(fake_backend::spans().empty()) << "a span without objects in use was kept";
        for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
            td_central_check(i);
        }
    }

    static objects fetch(size_t class_index, size_t count) {
        objects result(count + TD_BATCH_SLACK);
        size_t fetched = td_central_fetch(class_index, result.data(), count);
        EXPECT_LE(fetched, result.size());
        result.resize(fetched);
        return result;
    }

    static void give_back(size_t class_index, const objects &some) {
        td_central_return(class_index, some.data(), some.size());
    }

    // Fetches until `count` are held; what the last fetch has too many of goes back.
    static objects fetch_exactly(size_t class_index, size_t count) {
        objects result;
        while (result.size() < count) {
            objects more = fetch(class_index, std::min<size_t>(count - result.size(), TD_BATCH_MAX));
            if (more.empty()) {
                break;
            }
            result.insert(result.end(), more.begin(), more.end());
        }
        while (result.size() > count) {
            td_central_return(class_index, &result.back(), 1);
            result.pop_back();
        }
        return result;
    }
};

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

// Whether the range holds a part of one of the objects.
bool holds_any(uintptr_t start, size_t bytes, const objects &some, size_t object_bytes) {
    return std::any_of(some.begin(), some.end(), [=](const void *object) {
        return address_of(object) < start + bytes && start < address_of(object) + object_bytes;
    });
}

constexpr size_t os_page_bytes = 4096;

// The OS pages of the span that hold parts of objects, but of none of these. Some pages begin before it, or end behind.
std::set<uintptr_t> free_pages_of(const struct td_span *span, const objects &in_use) {
    const struct td_class_info &info = td_class_info[span->class_index];
    std::set<uintptr_t> result;
    for (uintptr_t page = span->start; page + os_page_bytes <= span->start + span->pages * TD_PAGE_BYTES &&
                                       page < span->start + size_t{info.span_objects} * info.object_bytes;
         page += os_page_bytes) {
        if (!holds_any(page, os_page_bytes, in_use, info.object_bytes)) {
            result.insert(page);
        }
    }
    return result;
}

TEST_F(central_list, purging_gives_back_the_pages_without_objects_in_use) {
    std::mt19937 random(11);
    for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
        objects in_use = fetch_exactly(i, 3 * td_class_info[i].span_objects);
        std::shuffle(in_use.begin(), in_use.end(), random);
        const size_t kept = 1 + random() % 4;
        give_back(i, objects(in_use.begin() + static_cast<std::ptrdiff_t>(kept), in_use.end()));
        in_use.resize(kept);
        std::set<uintptr_t> expected;
        for (const struct td_span *span : fake_backend::spans()) {
            expected.merge(free_pages_of(span, in_use));
        }

        EXPECT_EQ(td_central_purge(i), expected.size() * os_page_bytes);
        std::set<uintptr_t> purged;
        for (const fake_backend::range &range : fake_backend::take_purged()) {
            for (uintptr_t page = range.start; page < range.start + range.bytes; page += os_page_bytes) {
                EXPECT_TRUE(purged.insert(page).second) << "given back twice";
            }
        }
        EXPECT_EQ(purged, expected) << "class " << i;
        EXPECT_EQ(td_central_purge(i), 0u) << "what went back does not go again";
        td_central_check(i);
        give_back(i, in_use);
    }
}

TEST_F(central_list, purging_reaches_every_span_wherever_the_ticks_left_off) {
    constexpr size_t class_index = 32;  // 1024 bytes, eight in a page
    constexpr size_t spans = 100;
    constexpr uint64_t decay_ms = 80 * TD_TICK_MS;
    for (int ticks = 0; ticks < 40; ticks++) {
        objects kept;
        objects others = fetch_exactly(class_index, spans * td_class_info[class_index].span_objects);
        std::sort(others.begin(), others.end());
        for (size_t i = 0; i < spans; i++) {
            const auto first =
                others.begin() + static_cast<std::ptrdiff_t>(i * (td_class_info[class_index].span_objects - 1));
            kept.push_back(*first);
            others.erase(first);
        }
        give_back(class_index, others);
        size_t left = SIZE_MAX;
        for (int i = 0; i < ticks; i++) {
            td_central_purge_idle(class_index, decay_ms, &left);
        }
        EXPECT_EQ(td_central_purge(class_index), spans * os_page_bytes) << ticks << " ticks";
        fake_backend::take_purged();
        give_back(class_index, kept);
    }
}

TEST_F(central_list, what_was_purged_is_handed_out_again) {
    constexpr size_t class_index = 32;  // 1024 bytes, eight in a page
    objects in_use = fetch_exactly(class_index, td_class_info[class_index].span_objects);
    std::sort(in_use.begin(), in_use.end());
    objects others(in_use.begin() + 1, in_use.end());
    in_use.resize(1);
    give_back(class_index, others);
    EXPECT_EQ(td_central_purge(class_index), os_page_bytes);
    objects again = fetch_exactly(class_index, others.size());
    std::sort(again.begin(), again.end());
    EXPECT_EQ(again, others);
    EXPECT_EQ(fake_backend::spans().size(), 1u);
    give_back(class_index, again);
    fake_backend::take_purged();
    EXPECT_EQ(td_central_purge(class_index), os_page_bytes) << "used since, and free again";
    give_back(class_index, in_use);
    fake_backend::take_purged();
}

TEST_F(central_list, objects_are_neither_handed_out_nor_their_span_freed_while_their_pages_go_back) {
    constexpr size_t class_index = 40;  // 2048 bytes
    objects in_use = fetch_exactly(class_index, td_class_info[class_index].span_objects);
    objects others(in_use.begin() + 1, in_use.end());
    in_use.resize(1);
    give_back(class_index, others);
    size_t spans_meanwhile = 0;
    fake_backend::while_purging([&] {
        const fake_backend::range range = fake_backend::take_purged().front();
        give_back(class_index, in_use);
        spans_meanwhile = fake_backend::spans().size();
        objects some = fetch_exactly(class_index, 3);
        EXPECT_FALSE(std::any_of(some.begin(), some.end(), [&](void *object) {
            return holds_any(range.start, range.bytes, {object}, td_class_bytes(class_index));
        }));
        give_back(class_index, some);
    });
    EXPECT_GT(td_central_purge(class_index), 0u);
    EXPECT_EQ(spans_meanwhile, 1u);
    EXPECT_TRUE(fake_backend::spans().empty()) << "its last object came back meanwhile";
    fake_backend::take_purged();
}

TEST_F(central_list, spans_in_use_keep_their_pages_and_idle_ones_do_not) {
    constexpr size_t class_index = 32;
    constexpr uint64_t decay_ms = 4000;
    constexpr int ticks = decay_ms / TD_TICK_MS;
    objects in_use = fetch_exactly(class_index, 2 * td_class_info[class_index].span_objects);
    std::sort(in_use.begin(), in_use.end());
    // One object stays in either span.
    objects others = in_use;
    others.erase(others.begin() + td_class_info[class_index].span_objects);
    others.erase(others.begin());
    objects kept = {in_use[0], in_use[td_class_info[class_index].span_objects]};
    give_back(class_index, others);

    size_t left = SIZE_MAX;
    for (int tick = 0; tick < ticks / 2; tick++) {
        td_central_purge_idle(class_index, decay_ms, &left);
        // Keeps both spans busy: the fullest first, then the other.
        objects some = fetch_exactly(class_index, others.size());
        give_back(class_index, some);
    }
    EXPECT_EQ(left, SIZE_MAX);
    for (int tick = 0; tick < ticks / 2 - 1; tick++) {
        td_central_purge_idle(class_index, decay_ms, &left);
    }
    EXPECT_EQ(left, SIZE_MAX) << "too soon";
    left = 1;
    for (int tick = 0; tick < ticks; tick++) {
        td_central_purge_idle(class_index, decay_ms, &left);
    }
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(fake_backend::take_purged().size(), 1u) << "one was allowed";
    left = 2;
    for (int tick = 0; tick < ticks; tick++) {
        td_central_purge_idle(class_index, decay_ms, &left);
    }
    EXPECT_EQ(left, 1u);
    EXPECT_EQ(fake_backend::take_purged().size(), 1u) << "the other one";
    give_back(class_index, kept);
}

// As locked memory is, or a hugepage of which much is in use.
TEST_F(central_list, pages_that_were_refused_go_back_when_they_can) {
    constexpr size_t class_index = 32;
    constexpr uint64_t decay_ms = 2000;
    objects in_use = fetch_exactly(class_index, td_class_info[class_index].span_objects);
    std::sort(in_use.begin(), in_use.end());
    give_back(class_index, objects(in_use.begin() + 1, in_use.end()));
    size_t left = SIZE_MAX;
    for (bool is_on_demand : {false, true}) {
        auto purge = [&] {
            if (is_on_demand) {
                td_central_purge(class_index);
            } else {
                for (uint64_t ms = 0; ms < decay_ms; ms += TD_TICK_MS) {
                    td_central_purge_idle(class_index, decay_ms, &left);
                }
            }
        };
        fake_backend::refuse_purges(true);
        purge();
        EXPECT_FALSE(fake_backend::take_purged().empty());
        fake_backend::refuse_purges(false);
        purge();
        EXPECT_EQ(fake_backend::take_purged().size(), 1u) << "asked once, and never again";
        purge();
        EXPECT_TRUE(fake_backend::take_purged().empty()) << "what went back does not go again";
        objects others = fetch_exactly(class_index, td_class_info[class_index].span_objects - 1);
        give_back(class_index, others);
    }
    give_back(class_index, {in_use[0]});
}

TEST_F(central_list, spans_that_are_refused_count_as_spans_that_were_tried) {
    constexpr size_t class_index = 32;
    constexpr size_t spans = 10;
    objects kept;
    objects others = fetch_exactly(class_index, spans * td_class_info[class_index].span_objects);
    std::sort(others.begin(), others.end());
    for (size_t i = 0; i < spans; i++) {
        const auto first =
            others.begin() + static_cast<std::ptrdiff_t>(i * (td_class_info[class_index].span_objects - 1u));
        kept.push_back(*first);
        others.erase(first);
    }
    give_back(class_index, others);
    fake_backend::refuse_purges(true);
    size_t left = 0;
    td_central_purge_idle(class_index, 0, &left);
    for (int tick = 0; tick < 5; tick++) {
        left = SIZE_MAX;
        td_central_purge_idle(class_index, 0, &left);
    }
    EXPECT_LE(fake_backend::take_purged().size(), 5 * spans);
    left = 3;
    td_central_purge_idle(class_index, 0, &left);
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(fake_backend::take_purged().size(), 3u);
    give_back(class_index, kept);
}

TEST_F(central_list, an_object_taken_while_its_span_is_refused_keeps_the_span_in_use) {
    constexpr size_t class_index = 32;
    objects in_use = fetch_exactly(class_index, td_class_info[class_index].span_objects);
    std::sort(in_use.begin(), in_use.end());
    // The first page stays in use but for one object.
    objects others(in_use.begin() + 3, in_use.end());
    give_back(class_index, others);
    fake_backend::refuse_purges(true);
    fake_backend::while_purging([&] { in_use[3] = fetch_exactly(class_index, 1)[0]; });
    td_central_purge(class_index);
    fake_backend::refuse_purges(false);
    fake_backend::take_purged();
    size_t left = SIZE_MAX;
    td_central_purge_idle(class_index, 0, &left);
    EXPECT_TRUE(fake_backend::take_purged().empty()) << "it was used just now";
    td_central_purge_idle(class_index, 0, &left);
    EXPECT_EQ(fake_backend::take_purged().size(), 1u);
    give_back(class_index, objects(in_use.begin(), in_use.begin() + 4));
}

TEST_F(central_list, without_decay_a_span_that_was_just_used_keeps_its_pages_until_the_next_tick) {
    constexpr size_t class_index = 32;
    for (uint64_t decay_ms : {uint64_t{0}, uint64_t{1}, uint64_t{2 * TD_TICK_MS}}) {
        objects in_use = fetch_exactly(class_index, td_class_info[class_index].span_objects);
        std::sort(in_use.begin(), in_use.end());
        give_back(class_index, objects(in_use.begin() + 1, in_use.end()));
        size_t left = SIZE_MAX;
        td_central_purge_idle(class_index, decay_ms, &left);
        EXPECT_EQ(left, SIZE_MAX) << decay_ms;
        td_central_purge_idle(class_index, decay_ms, &left);
        EXPECT_EQ(left, SIZE_MAX - 1) << decay_ms;
        EXPECT_EQ(fake_backend::take_purged().size(), 1u);
        give_back(class_index, {in_use[0]});
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

TEST_F(central_list_death_test, an_object_that_is_freed_again_while_its_pages_go_back_is_named) {
    constexpr size_t class_index = 3;
    objects held = fetch_exactly(class_index, td_class_info[class_index].span_objects);
    std::sort(held.begin(), held.end());
    give_back(class_index, objects(held.begin() + 1, held.end()));
    auto purge_and_free = [&](size_t which) {
        fake_backend::while_purging([&] { give_back(class_index, {held[which]}); });
        td_central_purge(class_index);
    };
    // The second of the span's two OS pages goes: the first and the last object in it, and two where a word ends.
    const size_t first = os_page_bytes / 48;
    for (size_t which : {first, size_t{127}, size_t{128}, held.size() - 1}) {
        EXPECT_EXIT(purge_and_free(which), testing::KilledBySignal(SIGABRT),
                    "tandem: double free of " + testing::PrintToString(held[which]) + " \\(48-byte object\\)");
    }
    purge_and_free(0);  // which is in use
    EXPECT_EQ(fake_backend::take_purged().size(), 1u);
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
