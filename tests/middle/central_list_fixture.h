// The central free lists over the fake back end: objects fetched and given back, and nothing left in the end.
#ifndef TESTS_MIDDLE_CENTRAL_LIST_FIXTURE_H_
#define TESTS_MIDDLE_CENTRAL_LIST_FIXTURE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/middle/fake_backend.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/segment.h"
#include "base/size_class.h"
#include "middle/central_list.h"
}

using objects = std::vector<void *>;

inline uintptr_t address_of(const void *object) {
    return reinterpret_cast<uintptr_t>(object);
}

class central_list : public testing::Test {
  protected:
    static void SetUpTestSuite() { td_size_class_init(); }

    void TearDown() override {
        fake_backend::limit_spans(SIZE_MAX);
        fake_backend::refuse_purges(false);
        fake_backend::take_reused();
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

#endif  // TESTS_MIDDLE_CENTRAL_LIST_FIXTURE_H_
