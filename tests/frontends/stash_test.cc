// Stashes of threads without a slab, over a middle end that counts.
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/perthread/stash.h"
#include "middle/middle.h"
}

namespace {

constexpr size_t one_class = 3, other_class = 20, last_class = TD_CLASS_COUNT - 1;

void *fetch(size_t class_index) {
    void *objects[1 + TD_BATCH_SLACK];
    size_t count = td_middle_fetch(class_index, objects, 1);
    EXPECT_GE(count, 1u);
    td_middle_return(class_index, objects + 1, count - 1);
    return objects[0];
}

size_t stashed_bytes() {
    struct td_frontend_stats stats = {};
    td_stash_add_stats(&stats);
    return stats.cached_bytes;
}

class stash : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        stash_ = td_stash_take();
        ASSERT_NE(stash_, nullptr);
    }

    void TearDown() override {
        td_stash_leave(stash_);
        EXPECT_EQ(stashed_bytes(), 0u);
        for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
            EXPECT_EQ(fake_middle::objects_out(i), 0u) << "class " << i;
        }
    }

    // A new object in the stash.
    void *stash_one(size_t class_index) {
        void *object = fetch(class_index);
        EXPECT_TRUE(td_stash_push(stash_, class_index, object));
        return object;
    }

    struct td_stash *stash_ = nullptr;
};

TEST_F(stash, is_empty_at_first) {
    EXPECT_EQ(td_stash_pop(stash_, one_class), nullptr);
    EXPECT_EQ(td_stash_pop(stash_, last_class), nullptr);
}

TEST_F(stash, gives_objects_by_their_class) {
    void *one = stash_one(one_class);
    void *other = stash_one(other_class);
    void *last = stash_one(last_class);
    EXPECT_EQ(td_stash_pop(stash_, one_class + 1), nullptr);
    std::vector<std::pair<size_t, void *>> expected = {{last_class, last}, {one_class, one}, {other_class, other}};
    for (auto &[class_index, object] : expected) {
        EXPECT_EQ(td_stash_pop(stash_, class_index), object);
        EXPECT_EQ(td_stash_pop(stash_, class_index), nullptr);
        td_middle_return(class_index, &object, 1);
    }
}

TEST_F(stash, keeps_so_many_objects_and_no_more) {
    for (int i = 0; i < TD_STASH_OBJECTS; i++) {
        stash_one(one_class);
    }
    void *one_more = fetch(one_class);
    EXPECT_FALSE(td_stash_push(stash_, one_class, one_more));
    EXPECT_FALSE(td_stash_push(stash_, last_class, one_more));
    td_middle_return(one_class, &one_more, 1);
}

TEST_F(stash, makes_room_by_what_came_first) {
    std::vector<void *> stashed;
    for (int i = 0; i < TD_STASH_OBJECTS; i++) {
        stashed.push_back(stash_one(i % 2 == 0 ? one_class : other_class));
    }
    for (size_t made = 0; made < 5 * TD_STASH_OBJECTS;) {
        struct td_object objects[TD_STASH_HALF];
        ASSERT_EQ(td_stash_make_room(stash_, objects), size_t{TD_STASH_HALF});
        for (struct td_object &object : objects) {
            EXPECT_EQ(object.pointer, stashed[made]);
            EXPECT_EQ(object.class_index, made % 2 == 0 ? one_class : other_class);
            td_middle_return(object.class_index, &object.pointer, 1);
            made++;
            stashed.push_back(stash_one(stashed.size() % 2 == 0 ? one_class : other_class));
        }
    }
}

TEST_F(stash, makes_room_of_a_half_that_is_not_full) {
    struct td_object objects[TD_STASH_HALF];
    EXPECT_EQ(td_stash_make_room(stash_, objects), 0u);
    EXPECT_EQ(td_stash_make_room(stash_, objects), 0u);
    void *object = stash_one(one_class);
    stash_one(other_class);
    EXPECT_EQ(td_stash_pop(stash_, one_class), object);
    td_middle_return(one_class, &object, 1);
    EXPECT_EQ(td_stash_make_room(stash_, objects), 1u);
    EXPECT_EQ(objects[0].class_index, other_class);
    td_middle_return(other_class, &objects[0].pointer, 1);
}

TEST_F(stash, knows_what_it_holds) {
    std::vector<void *> stashed;
    for (int i = 0; i < TD_STASH_OBJECTS; i++) {
        stashed.push_back(stash_one(one_class));
    }
    for (void *object : stashed) {
        EXPECT_TRUE(td_stash_holds(stash_, object));
    }
    void *given = td_stash_pop(stash_, one_class);
    EXPECT_FALSE(td_stash_holds(stash_, given)) << "it is the caller's now";
    td_middle_return(one_class, &given, 1);
}

TEST_F(stash, is_counted_with_what_it_holds) {
    stash_one(one_class);
    stash_one(one_class);
    stash_one(last_class);
    EXPECT_EQ(stashed_bytes(), 2 * td_class_bytes(one_class) + td_class_bytes(last_class));
}

TEST_F(stash, is_left_empty_and_taken_again) {
    stash_one(one_class);
    stash_one(other_class);
    stash_one(one_class);
    size_t returns = fake_middle::returns();
    td_stash_leave(stash_);
    EXPECT_EQ(fake_middle::returns(), returns + 2) << "one for each class";
    struct td_stash *again = td_stash_take();
    EXPECT_EQ(again, stash_);
    EXPECT_EQ(td_stash_pop(again, one_class), nullptr);
}

TEST_F(stash, of_other_threads_is_emptied_in_a_forked_child) {
    void *own = stash_one(one_class);
    struct td_stash *others = td_stash_take();
    ASSERT_NE(others, nullptr);
    EXPECT_NE(others, stash_);
    for (int i = 0; i < TD_STASH_OBJECTS; i++) {
        EXPECT_TRUE(td_stash_push(others, other_class, fetch(other_class)));
    }
    td_stash_fork_prepare();
    td_stash_fork_child(stash_);
    EXPECT_EQ(fake_middle::objects_out(other_class), 0u);
    EXPECT_EQ(stashed_bytes(), td_class_bytes(one_class));
    EXPECT_TRUE(td_stash_holds(stash_, own));
    struct td_stash *again = td_stash_take();
    EXPECT_NE(again, stash_);
    td_stash_leave(again);
}

// The place is found without a loop; this is the loop.
size_t find_slowly(uint64_t classes, size_t class_index) {
    size_t place = 0;
    while (place < TD_STASH_OBJECTS && (classes >> 8 * place & UINT8_MAX) != class_index) {
        place++;
    }
    return place;
}

TEST_F(stash, finds_the_first_place_of_a_class) {
    std::mt19937_64 random(1);
    std::set<size_t> found;
    for (int i = 0; i < 200000; i++) {
        size_t classes_in_use = 1 + random() % TD_CLASS_COUNT;
        uint64_t classes = 0;
        for (int place = 0; place < TD_STASH_OBJECTS; place++) {
            classes = classes << 8 | random() % classes_in_use;
        }
        size_t class_index = random() % classes_in_use;
        ASSERT_EQ(td_stash_find(classes, class_index), find_slowly(classes, class_index))
            << std::hex << classes << ", class " << class_index;
        found.insert(td_stash_find(classes, class_index));
    }
    EXPECT_EQ(found.size(), TD_STASH_OBJECTS + 1u);
}

}  // namespace
