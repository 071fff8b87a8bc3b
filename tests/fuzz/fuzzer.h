// One thread's random walk over all functions of the allocator, checked against a model at every step.
#ifndef TESTS_FUZZ_FUZZER_H_
#define TESTS_FUZZ_FUZZER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/fuzz/model.h"
#include "tests/fuzz/object.h"

namespace fuzz {

// Where threads leave objects for others to find.
class mailbox {
  public:
    // Leaves an object; false if there is no room.
    bool put(const object &object);
    // Takes one; false if there was none in the next of the slots.
    bool take(object *object);

    static constexpr size_t slot_count = 256;

  private:
    // A slot is free, or taken, or being written or read by who has made it busy.
    enum state { state_empty, state_busy, state_full };
    struct slot {
        std::atomic<int> state{state_empty};
        object left;
    };

    slot slots_[slot_count];
    std::atomic<size_t> next_put_{0};
    std::atomic<size_t> next_take_{0};
};

// What a walk is like.
struct settings {
    uint64_t seed = 1;
    size_t max_objects = 800;
    size_t max_size = size_t{4} << 20;         // of one object
    size_t max_live_bytes = size_t{64} << 20;  // of all objects of the walk
    mailbox *mail = nullptr;                   // shared with other walks
    bool is_alone = true;                      // no other thread allocates, so statistics are exact
};

class fuzzer {
  public:
    explicit fuzzer(const settings &settings);
    fuzzer(const fuzzer &) = delete;
    fuzzer &operator=(const fuzzer &) = delete;

    // So many steps; false as soon as something is wrong, and then `failure` says what.
    bool run(size_t steps);

    // Checks and frees every object, those in the mailbox included if no other thread uses it.
    bool finish();

    const std::string &failure() const { return failure_; }
    const model &objects() const { return objects_; }

  private:
    uint64_t random();
    size_t random_below(size_t limit) { return random() % limit; }
    size_t random_size();
    size_t random_alignment();

    bool step();
    bool allocate();
    bool release(size_t index);
    bool reallocate(size_t index);
    bool check_one(size_t index);
    bool hand_over(size_t index);
    bool receive();
    bool disturb();
    bool none_is_lost();

    bool take_in(object *object, const char *made_by, bool must_be_zero);
    bool is_whole(const object &object, const char *when);
    bool fail(const char *what, const char *when, const object &object);

    settings settings_;
    uint64_t state_;
    uint64_t steps_ = 0;
    bool is_growing_ = true;
    model objects_;
    uint64_t live_bytes_before_;  // in objects that are not the walk's
    std::string failure_;
};

}  // namespace fuzz

#endif  // TESTS_FUZZ_FUZZER_H_
