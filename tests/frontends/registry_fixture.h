// Threads of the per-thread front end, as far as the registry of slabs and the budgets know them, over a middle end
// that counts.
#ifndef TESTS_FRONTENDS_REGISTRY_FIXTURE_H_
#define TESTS_FRONTENDS_REGISTRY_FIXTURE_H_

#include <cstddef>
#include <vector>

#include "tests/frontends/fake_middle.h"
#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/perthread/budget.h"
#include "frontends/perthread/registry.h"
}

class registry_fixture : public testing::Test {
  protected:
    static constexpr size_t small_class = 3;
    static constexpr size_t cpus = 2;
    static constexpr size_t few = cpus * TD_FEW_THREADS;

    static void SetUpTestSuite() {
        td_size_class_init();
        td_budget_init(cpus);
        td_registry_init(cpus);
    }

    void TearDown() override {
        td_registry_drain();
        EXPECT_EQ(objects_out(), 0u);
    }

    static void *allocate(struct td_slab *slab, size_t class_index) {
        void *object = td_slab_plain_pop(slab, td_class_code(class_index), td_class_has_two_stacks(class_index));
        return object != nullptr ? object : td_slab_refill(&td_slab_plain_ops, slab, class_index);
    }

    static void deallocate(struct td_slab *slab, size_t class_index, void *object) {
        if (!td_slab_plain_push(slab, td_class_code(class_index), object)) {
            td_slab_overflow(&td_slab_plain_ops, slab, class_index, object);
        }
    }

    // What a thread does when it begins.
    static struct td_slab *begin_thread() {
        td_budget_add_thread();
        struct td_slab *slab = td_registry_take(false);
        EXPECT_NE(slab, nullptr);
        if (slab->budget_bytes == 0) {
            td_budget_begin(slab);
        }
        return slab;
    }

    static void end_thread(struct td_slab *slab) {
        td_registry_leave(slab);
        td_budget_remove_thread();
    }

    // What a thread does that exits while enough is warm.
    static void retire_thread(struct td_slab *slab) {
        slab->capacity_bytes = 0;
        td_registry_retire(slab);
        td_budget_remove_thread();
    }

    static void use(struct td_slab *slab) { deallocate(slab, small_class, allocate(slab, small_class)); }

    static size_t objects_out() {
        size_t count = 0;
        for (size_t i = 1; i < TD_CLASS_COUNT; i++) {
            count += fake_middle::objects_out(i);
        }
        return count;
    }

    // So many threads at once, each of which uses its slab.
    static std::vector<struct td_slab *> begin_threads(size_t count) {
        std::vector<struct td_slab *> slabs;
        for (size_t i = 0; i < count; i++) {
            slabs.push_back(begin_thread());
            use(slabs.back());
        }
        return slabs;
    }

    static void end_threads(const std::vector<struct td_slab *> &slabs) {
        for (struct td_slab *slab : slabs) {
            end_thread(slab);
        }
    }
};

#endif  // TESTS_FRONTENDS_REGISTRY_FIXTURE_H_
