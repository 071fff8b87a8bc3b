#include "tests/fuzz/model.h"

#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

namespace fuzz {

namespace {

uintptr_t address_of(const object &object) {
    return reinterpret_cast<uintptr_t>(object.pointer);
}

}  // namespace

model::model(size_t capacity) : capacity_(capacity) {
    void *memory = mmap(nullptr, capacity * sizeof(object), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    objects_ = static_cast<object *>(memory);
}

model::~model() {
    munmap(objects_, capacity_ * sizeof(object));
}

bool model::insert(const object &object) {
    if (is_full()) {
        abort();
    }
    size_t low = 0;
    size_t high = count_;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (address_of(objects_[middle]) < address_of(object)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_apart = true;
    if (low > 0) {
        is_apart = address_of(objects_[low - 1]) + objects_[low - 1].usable <= address_of(object);
    }
    if (low < count_) {
        is_apart = is_apart && address_of(object) + object.usable <= address_of(objects_[low]);
    }
    memmove(static_cast<void *>(objects_ + low + 1), objects_ + low, (count_ - low) * sizeof object);
    objects_[low] = object;
    count_++;
    live_bytes_ += object.size;
    usable_bytes_ += object.usable;
    return is_apart;
}

object model::remove(size_t index) {
    object removed = objects_[index];
    memmove(static_cast<void *>(objects_ + index), objects_ + index + 1, (count_ - index - 1) * sizeof removed);
    count_--;
    live_bytes_ -= removed.size;
    usable_bytes_ -= removed.usable;
    return removed;
}

}  // namespace fuzz
