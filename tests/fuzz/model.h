// The naive model of a heap: an array of the objects that live, sorted by address. It says when two overlap.
//
// Its memory comes from mmap(2), never from the allocator under test.
#ifndef TESTS_FUZZ_MODEL_H_
#define TESTS_FUZZ_MODEL_H_

#include <cstddef>

#include "tests/fuzz/object.h"

namespace fuzz {

class model {
  public:
    explicit model(size_t capacity);
    ~model();
    model(const model &) = delete;
    model &operator=(const model &) = delete;

    size_t count() const { return count_; }
    size_t live_bytes() const { return live_bytes_; }      // as asked for
    size_t usable_bytes() const { return usable_bytes_; }  // as malloc_usable_size(3) said
    bool is_full() const { return count_ == capacity_; }
    const object &at(size_t index) const { return objects_[index]; }

    // False if the object overlaps one that lives; it is taken in all the same.
    bool insert(const object &object);

    // Takes one object out.
    object remove(size_t index);

  private:
    object *objects_;
    size_t capacity_;
    size_t count_ = 0;
    size_t live_bytes_ = 0;
    size_t usable_bytes_ = 0;
};

}  // namespace fuzz

#endif  // TESTS_FUZZ_MODEL_H_
