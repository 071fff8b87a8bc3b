// What central free lists give back of spans in use, when, and what they say when it is used again.
#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "tests/middle/central_list_fixture.h"
#include "gtest/gtest.h"

namespace {

class central_purge : public central_list {
  protected:
    struct thinned {
        objects kept;
        objects freed;  // by address
    };

    // Takes all objects of so many spans and gives them back, but for the first of each.
    static thinned thin_out(size_t class_index, size_t spans) {
        const size_t span_objects = td_class_info[class_index].span_objects;
        objects all = fetch_exactly(class_index, spans * span_objects);
        std::sort(all.begin(), all.end());
        thinned result;
        for (size_t i = 0; i < all.size(); i++) {
            (i % span_objects == 0 ? result.kept : result.freed).push_back(all[i]);
        }
        give_back(class_index, result.freed);
        return result;
    }
};

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

TEST_F(central_purge, purging_gives_back_the_pages_without_objects_in_use) {
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

TEST_F(central_purge, purging_reaches_every_span_wherever_the_ticks_left_off) {
    constexpr size_t class_index = 32;  // 1024 bytes, eight in a page
    constexpr size_t spans = 100;
    constexpr uint64_t decay_ms = 80 * TD_TICK_MS;
    for (int ticks = 0; ticks < 40; ticks++) {
        const objects kept = thin_out(class_index, spans).kept;
        size_t left = SIZE_MAX;
        for (int i = 0; i < ticks; i++) {
            td_central_purge_idle(class_index, decay_ms, &left);
        }
        EXPECT_EQ(td_central_purge(class_index), spans * os_page_bytes) << ticks << " ticks";
        fake_backend::take_purged();
        give_back(class_index, kept);
    }
}

TEST_F(central_purge, what_was_purged_is_handed_out_again) {
    constexpr size_t class_index = 32;  // 1024 bytes, eight in a page
    const thinned span = thin_out(class_index, 1);
    EXPECT_EQ(td_central_purge(class_index), os_page_bytes);
    objects again = fetch_exactly(class_index, span.freed.size());
    std::sort(again.begin(), again.end());
    EXPECT_EQ(again, span.freed);
    EXPECT_EQ(fake_backend::spans().size(), 1u);
    give_back(class_index, again);
    fake_backend::take_purged();
    EXPECT_EQ(td_central_purge(class_index), os_page_bytes) << "used since, and free again";
    give_back(class_index, span.kept);
    fake_backend::take_purged();
}

TEST_F(central_purge, objects_are_neither_handed_out_nor_their_span_freed_while_their_pages_go_back) {
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

TEST_F(central_purge, spans_in_use_keep_their_pages_and_idle_ones_do_not) {
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
TEST_F(central_purge, pages_that_were_refused_go_back_when_they_can) {
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

TEST_F(central_purge, spans_that_are_refused_count_as_spans_that_were_tried) {
    constexpr size_t class_index = 32;
    constexpr size_t spans = 10;
    const objects kept = thin_out(class_index, spans).kept;
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

TEST_F(central_purge, an_object_taken_while_its_span_is_refused_keeps_the_span_in_use) {
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

TEST_F(central_purge, without_decay_a_span_that_was_just_used_keeps_its_pages_until_the_next_tick) {
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

TEST_F(central_purge, says_once_that_pages_are_used_again) {
    constexpr size_t class_index = 32;  // 1024 bytes, eight in a page
    const objects kept = thin_out(class_index, 1).kept;
    objects again = fetch_exactly(class_index, 1);
    EXPECT_TRUE(fake_backend::take_reused().empty()) << "none has gone";
    give_back(class_index, again);

    EXPECT_EQ(td_central_purge(class_index), os_page_bytes);
    again = fetch_exactly(class_index, 1);
    const auto told = fake_backend::take_reused();
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].start, fake_backend::spans()[0]->start);
    EXPECT_EQ(told[0].bytes, os_page_bytes) << "of two, one of which stayed";
    objects more = fetch_exactly(class_index, 2);
    EXPECT_TRUE(fake_backend::take_reused().empty());
    again.insert(again.end(), more.begin(), more.end());
    give_back(class_index, again);
    give_back(class_index, kept);
    fake_backend::take_purged();
}

// One batch may come from several spans that gave pages back: each is told of, and the batch is whole.
TEST_F(central_purge, a_batch_from_many_spans_tells_of_each) {
    constexpr size_t class_index = 48;  // 4 KiB
    constexpr size_t spans = 10;
    const size_t span_objects = td_class_info[class_index].span_objects;
    const thinned all = thin_out(class_index, spans);
    EXPECT_EQ(td_central_purge(class_index), all.freed.size() * td_class_bytes(class_index));
    objects batch = fetch(class_index, 3 * (span_objects - 1));
    EXPECT_EQ(batch.size(), 3 * (span_objects - 1));
    const auto told = fake_backend::take_reused();
    EXPECT_EQ(told.size(), 3u);
    for (const fake_backend::range &each : told) {
        EXPECT_EQ(each.bytes, (span_objects - 1) * td_class_bytes(class_index));
    }
    give_back(class_index, batch);
    give_back(class_index, all.kept);
    fake_backend::take_purged();
}

// By the demand of the program as well, wherever the hand is, and though the hugepage may be split again by then.
TEST_F(central_purge, on_demand_all_goes_again_that_a_new_hugepage_has_brought_back) {
    constexpr size_t class_index = 48;  // 4 KiB
    constexpr size_t spans = 10;
    const thinned all = thin_out(class_index, spans);
    const size_t bytes = all.freed.size() * td_class_bytes(class_index);
    for (int i = 0; i < 300; i++) {
        EXPECT_EQ(td_central_purge(class_index), bytes) << i;
        EXPECT_EQ(td_central_purge(class_index), 0u) << i;
        fake_backend::rebuild_hugepages();
    }
    give_back(class_index, all.kept);
    fake_backend::take_purged();
}

// What has gone may be in a hugepage again, which would be split at once.
TEST_F(central_purge, a_span_that_is_used_while_it_gives_pages_back_keeps_the_rest) {
    constexpr size_t class_index = 48;  // 4 KiB
    const size_t span_objects = td_class_info[class_index].span_objects;
    objects all = fetch_exactly(class_index, span_objects);
    std::sort(all.begin(), all.end());
    const objects kept = {all[span_objects / 2]};
    all.erase(all.begin() + static_cast<ptrdiff_t>(span_objects / 2));
    give_back(class_index, all);
    objects taken;
    fake_backend::while_purging([&] { taken = fetch_exactly(class_index, 1); });
    td_central_purge(class_index);
    EXPECT_EQ(fake_backend::take_purged().size(), 1u) << "of two ranges";
    give_back(class_index, taken);
    td_central_purge(class_index);
    EXPECT_EQ(fake_backend::take_purged().size(), 2u);
    give_back(class_index, kept);
}

TEST_F(central_purge, what_was_given_back_and_lies_in_a_new_hugepage_goes_again) {
    constexpr size_t class_index = 32;  // 1024 bytes, eight in a page
    constexpr uint64_t decay_ms = 2 * TD_TICK_MS;
    const objects kept = thin_out(class_index, 1).kept;
    EXPECT_EQ(td_central_purge(class_index), os_page_bytes);
    auto purged_at_a_tick = [] {
        size_t left = SIZE_MAX;
        td_central_purge_idle(class_index, decay_ms, &left);
        return !fake_backend::take_purged().empty();
    };
    fake_backend::take_purged();
    EXPECT_FALSE(purged_at_a_tick());
    fake_backend::rebuild_hugepages();
    EXPECT_FALSE(purged_at_a_tick()) << "as if it were used just now";
    EXPECT_TRUE(purged_at_a_tick());
    EXPECT_FALSE(purged_at_a_tick());
    give_back(class_index, kept);
}

using central_purge_death_test = central_list;

TEST_F(central_purge_death_test, an_object_that_is_freed_again_while_its_pages_go_back_is_named) {
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

}  // namespace
