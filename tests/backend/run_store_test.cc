// The free runs of segments against a naive model of all segments that were mapped.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <vector>

#include "tests/backend/fake_os.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/free_runs.h"
#include "backend/os.h"
#include "backend/page_map.h"
#include "backend/run_store.h"
}

namespace {

constexpr size_t segment_bytes = TD_SEGMENT_BYTES;

struct model_segment {
    enum td_run_state state;  // clean, dirty or held
    bool is_huge;
};

// Every segment that the store has, by address.
using model_map = std::map<uintptr_t, model_segment>;

// Runs of one state and kind that touch: what the store must have as one.
struct stretch {
    uintptr_t base;
    size_t segments;
    model_segment what;
};

class run_store : public testing::Test {
  protected:
    // The store is the process's: each test gives back what it took and takes over what it finds.
    void TearDown() override {
        while (!runs_.empty()) {
            put(runs_.size() - 1, TD_RUN_DIRTY);
        }
    }

    static void grow(size_t segments) {
        std::vector<fake_os::range> before = fake_os::mapped();
        size_t mapped_before = td_free_runs_mapped_bytes();
        ASSERT_TRUE(td_run_store_grow(segments));
        size_t added = 0;
        for (const fake_os::range &range : fake_os::mapped()) {
            bool is_new = std::none_of(before.begin(), before.end(),
                                       [&range](const fake_os::range &old) { return old.begin == range.begin; });
            if (!is_new || range.begin % segment_bytes != 0 || range.bytes % segment_bytes != 0) {
                continue;  // metadata
            }
            for (uintptr_t at = range.begin; at < range.begin + range.bytes; at += segment_bytes) {
                model_[at] = {TD_RUN_CLEAN, false};
                added += segment_bytes;
            }
        }
        ASSERT_GE(added, segments * segment_bytes);
        ASSERT_EQ(td_free_runs_mapped_bytes(), mapped_before + added);
    }

    static std::vector<stretch> stretches() {
        std::vector<stretch> result;
        for (const auto &each : model_) {
            bool joins = !result.empty() && result.back().base + result.back().segments * segment_bytes == each.first &&
                         result.back().what.state == each.second.state &&
                         result.back().what.is_huge == each.second.is_huge;
            if (joins) {
                result.back().segments++;
            } else {
                result.push_back({each.first, 1, each.second});
            }
        }
        return result;
    }

    static size_t padding(uintptr_t at, size_t align) { return -(at / segment_bytes) & (align - 1); }

    // The length of the shortest free run of the state that fits; 0 if there is none.
    static size_t best_fit(enum td_run_state state, size_t segments, size_t align) {
        size_t best = 0;
        for (const stretch &each : stretches()) {
            bool fits = each.what.state == state && padding(each.base, align) + segments <= each.segments;
            if (fits && (best == 0 || each.segments < best)) {
                best = each.segments;
            }
        }
        return best;
    }

    static size_t length_of_stretch(uintptr_t at) {
        for (const stretch &each : stretches()) {
            if (each.base <= at && at < each.base + each.segments * segment_bytes) {
                return each.segments;
            }
        }
        return 0;
    }

    void take(size_t segments, size_t align) {
        size_t dirty = best_fit(TD_RUN_DIRTY, segments, align);
        size_t clean = best_fit(TD_RUN_CLEAN, segments, align);
        bool is_clean = false;
        ASSERT_TRUE(td_run_store_enter());
        struct td_segment_run *run = td_run_take(segments, align, &is_clean);
        td_run_store_leave();
        ASSERT_EQ(run != nullptr, dirty != 0 || clean != 0);
        if (run == nullptr) {
            return;
        }
        ASSERT_EQ(is_clean, dirty == 0) << "dirty before clean";
        ASSERT_EQ(length_of_stretch(run->base), dirty != 0 ? dirty : clean) << "the shortest that fits";
        ASSERT_EQ(run->segments, segments);
        ASSERT_EQ(run->base % (align * segment_bytes), 0u);
        ASSERT_EQ(run->state, TD_RUN_HELD);
        occupy(run->base, segments, is_clean ? TD_RUN_CLEAN : TD_RUN_DIRTY, run->is_huge);
        runs_.push_back(run);
    }

    void put(size_t which, enum td_run_state state) {
        struct td_segment_run *run = runs_[which];
        runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(which));
        set(run->base, run->segments, {state, run->is_huge});
        ASSERT_TRUE(td_run_store_enter());
        td_run_put(run, state, clock_++);
        td_run_store_leave();
    }

    void trim(size_t which, size_t segments, enum td_run_state state) {
        struct td_segment_run *run = runs_[which];
        if (segments < run->segments) {
            set(run->base + segments * segment_bytes, run->segments - segments, {state, run->is_huge});
        }
        size_t expected = std::min(segments, run->segments);
        ASSERT_TRUE(td_run_store_enter());
        td_run_trim(run, segments, state, clock_++);
        td_run_store_leave();
        ASSERT_EQ(run->segments, expected);
    }

    void extend(size_t which, size_t segments) {
        struct td_segment_run *run = runs_[which];
        size_t before = run->segments;
        uintptr_t end = run->base + before * segment_bytes;
        size_t missing = segments - before;
        // One run behind it must be enough, whatever lies behind that.
        auto after = model_.find(end);
        bool fits = after != model_.end() && after->second.state != TD_RUN_HELD;
        size_t length = 0;
        for (const stretch &each : stretches()) {
            length = each.base == end ? each.segments : length;
        }
        fits = fits && length >= missing;
        bool is_huge = run->is_huge || (fits && after->second.is_huge);
        ASSERT_TRUE(td_run_store_enter());
        bool is_extended = td_run_extend(run, segments);
        td_run_store_leave();
        ASSERT_EQ(is_extended, fits);
        ASSERT_EQ(run->segments, fits ? segments : before);
        if (fits) {
            ASSERT_EQ(run->is_huge, is_huge);
            set(run->base, segments, {TD_RUN_HELD, is_huge});
        }
    }

    void make_place(size_t which) {
        runs_[which]->is_huge = true;
        td_page_map_set_place(runs_[which]->base, runs_[which]->segments, true);
    }

    // A segment for spans, and back.
    void become_segment(size_t which) {
        struct td_segment_run *run = runs_[which];
        if (run->segments != 1) {
            return;
        }
        uintptr_t base = run->base;
        bool is_huge = td_page_map_is_place(base);
        ASSERT_TRUE(!is_huge || run->is_huge);
        model_.at(base).is_huge = is_huge;
        ASSERT_TRUE(td_run_store_enter_anyway_for_segment());
        struct td_segment *segment = td_run_to_segment(run, true);
        ASSERT_EQ(segment->run.base, base);
        ASSERT_EQ(segment->run.state, TD_RUN_SPANS);
        ASSERT_EQ(segment->run.is_huge, is_huge);
        ASSERT_EQ(segment->used_pages, 0);
        ASSERT_EQ(segment->dirty_free, 0);
        ASSERT_EQ(td_page_map_run(reinterpret_cast<void *>(base + segment_bytes - 1)), &segment->run);
        runs_[which] = td_run_from_segment(segment);
        ASSERT_EQ(runs_[which]->base, base);
        ASSERT_EQ(runs_[which]->segments, 1u);
        ASSERT_EQ(runs_[which]->is_huge, is_huge);
        ASSERT_EQ(td_page_map_run(reinterpret_cast<void *>(base)), runs_[which]);
        td_run_store_leave();
    }

    // Clean neighbours become one: no place for hugepages where one of them was none.
    static void join_clean() {
        td_run_store_join_clean();
        bool has_changed = true;
        while (has_changed) {
            has_changed = false;
            std::vector<stretch> all = stretches();
            for (size_t i = 1; i < all.size(); i++) {
                const stretch &one = all[i - 1];
                const stretch &next = all[i];
                bool touch = one.base + one.segments * segment_bytes == next.base;
                if (touch && one.what.state == TD_RUN_CLEAN && next.what.state == TD_RUN_CLEAN) {
                    set(one.base, one.segments + next.segments, {TD_RUN_CLEAN, false});
                    has_changed = true;
                }
            }
        }
    }

    void check() {
        size_t bytes[3] = {0, 0, 0};
        for (const stretch &each : stretches()) {
            bytes[each.what.state] += each.segments * segment_bytes;
            if (each.what.state == TD_RUN_HELD) {
                continue;
            }
            for (size_t i = 0; i < each.segments; i++) {
                const void *at = reinterpret_cast<const void *>(each.base + i * segment_bytes);
                const struct td_segment_run *run = td_page_map_run(at);
                ASSERT_NE(run, nullptr);
                ASSERT_EQ(run->base, each.base) << "a neighbour was not merged";
                ASSERT_EQ(run->segments, each.segments) << "a neighbour was not merged";
            }
        }
        ASSERT_EQ(td_free_runs_bytes(TD_RUN_CLEAN), bytes[TD_RUN_CLEAN]);
        ASSERT_EQ(td_free_runs_bytes(TD_RUN_DIRTY), bytes[TD_RUN_DIRTY]);
        ASSERT_EQ(td_free_runs_mapped_bytes(), model_.size() * segment_bytes);
        for (const struct td_segment_run *run : runs_) {
            for (size_t i = 0; i < run->segments; i++) {
                const void *at = reinterpret_cast<const void *>(run->base + i * segment_bytes);
                ASSERT_EQ(td_page_map_run(at), run);
            }
        }
    }

    static model_map model_;
    static uint64_t clock_;
    std::vector<struct td_segment_run *> runs_;

  private:
    static void set(uintptr_t base, size_t segments, model_segment what) {
        for (size_t i = 0; i < segments; i++) {
            model_[base + i * segment_bytes] = what;
        }
    }

    void occupy(uintptr_t base, size_t segments, enum td_run_state expected, bool is_huge) {
        for (size_t i = 0; i < segments; i++) {
            model_segment &each = model_.at(base + i * segment_bytes);
            ASSERT_EQ(each.state, expected) << "taken twice, or not what it was said to be";
            ASSERT_EQ(each.is_huge, is_huge);
            each.state = TD_RUN_HELD;
        }
    }
};

model_map run_store::model_;
uint64_t run_store::clock_ = 1;

TEST_F(run_store, has_nothing_before_it_grows) {
    take(1, 1);
    EXPECT_TRUE(runs_.empty());
    grow(3);
    check();
    take(3, 1);
    ASSERT_EQ(runs_.size(), 1u);
    check();
}

TEST_F(run_store, declines_hugepages_for_what_it_maps) {
    grow(2);
    for (const auto &each : model_) {
        EXPECT_FALSE(fake_os::wants_hugepages(each.first));
    }
}

TEST_F(run_store, finds_aligned_runs) {
    grow(40);
    for (size_t align = 1; align <= 16; align *= 2) {
        take(align / 2 + 1, align);
        check();
    }
}

TEST_F(run_store, the_oldest_dirty_run_leaves_first) {
    grow(9);
    for (int i = 0; i < 4; i++) {
        take(1, 1);
        take(1, 1);  // stays between them, so that they do not merge
    }
    std::vector<uintptr_t> freed;
    for (size_t which : {4u, 0u, 1u}) {
        freed.push_back(runs_[which]->base);
        put(which, TD_RUN_DIRTY);
    }
    check();
    td_run_store_enter();
    // What earlier tests left dirty is older.
    std::vector<struct td_segment_run *> oldest;
    while (struct td_segment_run *run = td_run_take_oldest_dirty(UINT64_MAX, SIZE_MAX)) {
        EXPECT_EQ(run->state, TD_RUN_HELD);
        oldest.push_back(run);
    }
    td_run_store_leave();
    for (size_t i = 1; i < oldest.size(); i++) {
        EXPECT_LE(oldest[i - 1]->freed_ms, oldest[i]->freed_ms);
    }
    EXPECT_FALSE(oldest.empty());
    EXPECT_EQ(td_free_runs_bytes(TD_RUN_DIRTY), 0u);
    for (struct td_segment_run *run : oldest) {
        for (size_t i = 0; i < run->segments; i++) {
            model_.at(run->base + i * segment_bytes).state = TD_RUN_HELD;
        }
        runs_.push_back(run);
    }
}

TEST_F(run_store, provides_only_what_is_missing) {
    grow(3);
    size_t mapped = td_free_runs_mapped_bytes();
    EXPECT_TRUE(td_run_store_provide(3));
    EXPECT_EQ(td_free_runs_mapped_bytes(), mapped);
    fake_os::limit_mapping(0);
    EXPECT_TRUE(td_run_store_provide(3));
    EXPECT_FALSE(td_run_store_provide(model_.size() + 1));
    fake_os::limit_mapping(SIZE_MAX);
    check();
}

// All but these many segments of address space are the store's, and free.
class run_store_at_its_limit : public run_store {
  protected:
    void SetUp() override {
        grow(12);
        take(12, 1);
        ASSERT_EQ(runs_.size(), 1u);
        put(0, TD_RUN_DIRTY);
        fake_os::limit_address_space(room * segment_bytes);
    }

    void TearDown() override {
        fake_os::limit_mapping(SIZE_MAX);
        for (auto each = model_.begin(); each != model_.end();) {
            each = fake_os::is_mapped(each->first, segment_bytes) ? std::next(each) : model_.erase(each);
        }
        while (td_run_store_unmap_one()) {
            // What came instead, the model does not know.
        }
        model_.clear();
    }

    static constexpr size_t room = 3;
};

TEST_F(run_store_at_its_limit, provides_more_than_it_has_where_free_runs_make_room) {
    size_t all = model_.size() + room;
    EXPECT_TRUE(td_run_store_provide(all));
    EXPECT_EQ(td_free_runs_mapped_bytes(), all * segment_bytes);
    EXPECT_EQ(td_free_runs_bytes(TD_RUN_CLEAN), all * segment_bytes);
}

TEST_F(run_store_at_its_limit, keeps_its_memory_where_all_of_it_would_not_do) {
    size_t dirty = td_free_runs_bytes(TD_RUN_DIRTY);
    for (size_t segments : {model_.size() + room + 1, size_t{1} << 20, size_t{PTRDIFF_MAX} / segment_bytes}) {
        EXPECT_FALSE(td_run_store_provide(segments));
    }
    check();
    // One run is in use: what is left is less than all that is mapped.
    take(2, 1);
    EXPECT_FALSE(td_run_store_provide(model_.size() + room - 1));
    check();
    EXPECT_EQ(td_free_runs_bytes(TD_RUN_DIRTY), dirty - 2 * segment_bytes);
    put(0, TD_RUN_DIRTY);
}

TEST_F(run_store, tells_what_could_be_mapped) {
    size_t mapped = td_free_runs_mapped_bytes();
    fake_os::limit_address_space(3 * segment_bytes);
    EXPECT_TRUE(td_backend_could_map(2 * segment_bytes + 1));
    EXPECT_TRUE(td_backend_could_map(3 * segment_bytes));
    EXPECT_FALSE(td_backend_could_map(3 * segment_bytes + 1));
    EXPECT_FALSE(td_backend_could_map(SIZE_MAX));
    fake_os::limit_mapping(SIZE_MAX);
    EXPECT_EQ(td_free_runs_mapped_bytes(), mapped);
}

TEST_F(run_store, changes_nothing_when_the_system_refuses) {
    grow(1);
    fake_os::limit_mapping(0);
    EXPECT_FALSE(td_run_store_grow(1));
    fake_os::limit_mapping(SIZE_MAX);
    check();
}

// What is mapped at once, for more than is asked for, may lie where the page map has no leaf yet.
TEST_F(run_store, grows_by_less_where_the_page_map_cannot) {
    grow(40);
    const size_t mapped = td_free_runs_mapped_bytes();
    const size_t at_once = std::min(mapped / segment_bytes / 4, size_t{32}) * segment_bytes;
    // Not far from the others: ThreadSanitizer has addresses that no mapping gets.
    uintptr_t entry = model_.begin()->first >> TD_LEAF_SHIFT;
    while (td_page_map_root[entry] != nullptr) {
        entry--;
    }
    const uintptr_t place = entry << TD_LEAF_SHIFT;
    fake_os::limit_address_space(at_once + 65536);
    fake_os::place_next_mapping(place);
    grow(1);
    fake_os::limit_mapping(SIZE_MAX);
    EXPECT_EQ(td_free_runs_mapped_bytes(), mapped + segment_bytes);
    EXPECT_FALSE(fake_os::is_mapped(place, segment_bytes));
    check();
}

TEST_F(run_store, gives_address_space_back_segment_by_segment) {
    grow(3);
    size_t segments = model_.size();
    while (td_run_store_unmap_one()) {
        segments--;
        for (auto each = model_.begin(); each != model_.end();) {
            bool is_gone = !fake_os::is_mapped(each->first, segment_bytes);
            if (is_gone) {
                EXPECT_EQ(td_page_map_run(reinterpret_cast<const void *>(each->first)), nullptr);
            }
            each = is_gone ? model_.erase(each) : std::next(each);
        }
        ASSERT_EQ(model_.size(), segments);
        check();
    }
    EXPECT_TRUE(model_.empty());
}

TEST_F(run_store, keeps_what_the_system_does_not_unmap) {
    grow(3);
    fake_os::fail_unmaps(true);
    EXPECT_FALSE(td_run_store_unmap_one());
    check();
    take(1, 1);
    put(0, TD_RUN_DIRTY);
    EXPECT_FALSE(td_run_store_unmap_one());
    check();
    fake_os::fail_unmaps(false);
}

TEST_F(run_store, joins_clean_neighbours_of_different_advice_on_demand) {
    grow(200);  // longer than what earlier tests left
    take(200, 1);
    ASSERT_EQ(runs_.size(), 1u);
    uintptr_t base = runs_[0]->base;
    // The first and the last part stay what they are, and what is between them becomes a place for hugepages.
    trim(0, 150, TD_RUN_CLEAN);
    trim(0, 100, TD_RUN_DIRTY);
    trim(0, 50, TD_RUN_CLEAN);
    take(50, 1);
    ASSERT_EQ(runs_[1]->base, base + 100 * segment_bytes) << "dirty before clean";
    td_os_advise_hugepages(reinterpret_cast<void *>(runs_[1]->base), 50 * segment_bytes, true);
    make_place(1);
    put(1, TD_RUN_CLEAN);
    put(0, TD_RUN_CLEAN);
    check();
    EXPECT_EQ(length_of_stretch(base), 100u);
    join_clean();
    check();
    EXPECT_GE(length_of_stretch(base), 200u);
    EXPECT_FALSE(fake_os::wants_hugepages(base + 120 * segment_bytes));
    take(200, 1);
    EXPECT_FALSE(runs_.back()->is_huge);
}

class run_store_model : public run_store, public testing::WithParamInterface<unsigned> {};

TEST_P(run_store_model, agrees) {
    std::mt19937 random(GetParam());
    grow(8);
    for (int step = 0; step < 1500 && !HasFatalFailure(); step++) {
        enum td_run_state state = random() % 3 == 0 ? TD_RUN_CLEAN : TD_RUN_DIRTY;
        size_t which = runs_.empty() ? 0 : random() % runs_.size();
        unsigned action = static_cast<unsigned>(random() % 13);
        if (action < 4 || runs_.empty()) {
            size_t before = runs_.size();
            size_t segments = 1 + random() % 6;
            take(segments, size_t{1} << random() % 3);
            if (runs_.size() == before && model_.size() < 120) {
                grow(segments);
            }
        } else if (action < 7) {
            put(which, state);
        } else if (action == 7) {
            trim(which, 1 + random() % 5, state);
        } else if (action < 10) {
            extend(which, runs_[which]->segments + 1 + random() % 4);
        } else if (action == 10) {
            become_segment(which);
        } else if (action == 11) {
            join_clean();
        } else if (random() % 4 == 0) {
            make_place(which);
            for (size_t i = 0; i < runs_[which]->segments; i++) {
                model_.at(runs_[which]->base + i * segment_bytes).is_huge = true;
            }
        }
        check();
    }
}

INSTANTIATE_TEST_SUITE_P(seeds, run_store_model, testing::Range(1u, 7u));

}  // namespace
