// A slab over a middle end that counts. What a front end's fast paths do is done by the plain pop and push.
#ifndef TESTS_FRONTENDS_SLAB_FIXTURE_H_
#define TESTS_FRONTENDS_SLAB_FIXTURE_H_

#include <cstddef>
#include <cstdlib>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/slab.h"
}

#pragma GCC visibility push(hidden)

// As the front ends' fast paths do.
inline void *pop(struct td_slab *slab, size_t class_index) {
    return td_slab_plain_pop(slab, td_class_code(class_index), td_class_has_two_stacks(class_index));
}

class slab_fixture : public testing::Test {
  protected:
    void SetUp() override {
        td_size_class_init();
        slab_ = td_slab_new(TD_SLAB_BUDGET_BYTES, 0);
        ASSERT_NE(slab_, nullptr);
    }

    void TearDown() override {
        td_slab_reset(slab_);
        expect_nothing_is_out();
        free(slab_);
    }

    static void expect_nothing_is_out() {
        for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
            EXPECT_EQ(fake_middle::objects_out(i), 0u) << "class " << i;
        }
    }

    void *allocate(size_t class_index) {
        void *object = pop(slab_, class_index);
        if (object != nullptr) {
            return object;
        }
        slow_calls_++;
        return td_slab_refill(&td_slab_plain_ops, slab_, class_index);
    }

    void deallocate(size_t class_index, void *object) {
        if (!td_slab_plain_push(slab_, td_class_code(class_index), object)) {
            slow_calls_++;
            td_slab_overflow(&td_slab_plain_ops, slab_, class_index, object);
        }
    }

    // So many pairs of an allocation and a free. Returns how many calls took a slow path.
    size_t take_turns(size_t class_index, size_t pairs) {
        const size_t before = slow_calls_;
        for (size_t pair = 0; pair < pairs; pair++) {
            deallocate(class_index, allocate(class_index));
        }
        return slow_calls_ - before;
    }

    std::vector<void *> allocate_many(size_t class_index, size_t count) {
        std::vector<void *> objects;
        for (size_t i = 0; i < count; i++) {
            objects.push_back(allocate(class_index));
        }
        return objects;
    }

    void deallocate_all(size_t class_index, const std::vector<void *> &objects) {
        for (void *object : objects) {
            deallocate(class_index, object);
        }
    }

    struct td_slab *slab_ = nullptr;
    size_t slow_calls_ = 0;  // that found their stack empty or full
};

#pragma GCC visibility pop

#endif  // TESTS_FRONTENDS_SLAB_FIXTURE_H_
