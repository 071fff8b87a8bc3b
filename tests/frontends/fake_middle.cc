#include "tests/frontends/fake_middle.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "base/size_class.h"
#include "frontends/frontend.h"
#include "middle/middle.h"
}

namespace {

struct class_state {
    std::vector<void *> here;
    std::set<void *> out;
};

// Guards what follows where several threads call.
std::mutex mutex;
class_state classes[TD_CLASS_COUNT];
size_t fetch_count, return_count, drain_count, failure_count;
size_t objects_left = SIZE_MAX;
size_t fetches_to_fail;
std::atomic<size_t> maintenance_count;
std::atomic<size_t> span_bytes;
std::atomic<uint64_t> clock_ms;
std::function<void()> at_return = [] {};

// A slab never looks into an object, so none needs memory.
void *make_object(size_t class_index) {
    static uintptr_t next = uintptr_t{1} << 40;
    next += td_class_bytes(class_index);
    return reinterpret_cast<void *>(next);
}

}  // namespace

size_t fake_middle::objects_out(size_t class_index) {
    return classes[class_index].out.size();
}

size_t fake_middle::fetches() {
    return fetch_count;
}

size_t fake_middle::returns() {
    return return_count;
}

void fake_middle::during_returns(std::function<void()> action) {
    at_return = std::move(action);
}

void fake_middle::set_span_bytes(size_t bytes) {
    span_bytes = bytes;
}

void fake_middle::set_clock_ms(uint64_t now_ms) {
    clock_ms = now_ms;
}

void fake_middle::limit_objects(size_t count) {
    objects_left = count;
}

void fake_middle::fail_fetches(size_t count) {
    fetches_to_fail = count;
}

size_t fake_middle::maintenances() {
    return maintenance_count;
}

size_t fake_middle::drains() {
    return drain_count;
}

size_t fake_middle::new_failures() {
    return failure_count;
}

size_t td_middle_fetch(size_t class_index, void **objects, size_t count) {
    std::lock_guard<std::mutex> guard(mutex);
    fetch_count++;
    EXPECT_GE(count, 1u);
    EXPECT_LE(count, size_t{TD_BATCH_MAX});
    class_state &state = classes[class_index];
    // Now and then more than asked for, as the contract allows.
    count += fetch_count % (TD_BATCH_SLACK + 1);
    count = std::min(count, objects_left);
    if (count == 0 || fetches_to_fail != 0) {
        fetches_to_fail -= fetches_to_fail != 0;
        errno = ENOMEM;
        return 0;
    }
    objects_left -= objects_left != SIZE_MAX ? count : 0;
    for (size_t i = 0; i < count; i++) {
        if (state.here.empty()) {
            state.here.push_back(make_object(class_index));
        }
        objects[i] = state.here.back();
        state.here.pop_back();
        state.out.insert(objects[i]);
    }
    return count;
}

void td_middle_return(size_t class_index, void *const *objects, size_t count) {
    std::lock_guard<std::mutex> guard(mutex);
    return_count++;
    if (count != 0) {
        at_return();
    }
    objects_left += objects_left != SIZE_MAX ? count : 0;
    class_state &state = classes[class_index];
    for (size_t i = 0; i < count; i++) {
        EXPECT_EQ(state.out.erase(objects[i]), 1u) << "returned twice, or to another class";
        state.here.push_back(objects[i]);
    }
}

size_t td_middle_fetch_checked(size_t class_index, void **objects, size_t count) {
    return td_middle_fetch(class_index, objects, count);
}

void td_middle_return_checked(size_t class_index, void *const *objects, size_t count) {
    td_middle_return(class_index, objects, count);
}

size_t td_middle_span_bytes(void) {
    return span_bytes;
}

uint64_t td_middle_clock_ms(void) {
    return clock_ms;
}

void *td_middle_alloc_metadata(size_t bytes, size_t alignment) {
    void *memory = nullptr;
    EXPECT_EQ(posix_memalign(&memory, alignment, bytes), 0);
    memset(memory, 0, bytes);
    return memory;
}

void td_frontend_maintain(void) {
    maintenance_count++;
}

void td_frontend_drain(void) {
    drain_count++;
}

void *td_new_failed(size_t size) {
    (void)size;
    failure_count++;
    return nullptr;
}
