// A bounded queue between threads that sleeps when it is full or empty. It allocates nothing after it is made.
#ifndef BENCHMARKS_HARNESS_CHANNEL_H_
#define BENCHMARKS_HARNESS_CHANNEL_H_

#include <stddef.h>

#include <condition_variable>
#include <mutex>
#include <vector>

namespace bench {

class channel {
  public:
    explicit channel(size_t capacity) : places_(capacity) {}

    // Waits while the channel is full.
    void push(void *item) {
        std::unique_lock<std::mutex> hold(lock_);
        has_room_.wait(hold, [this] { return count_ < places_.size(); });
        places_[(first_ + count_++) % places_.size()] = item;
        has_item_.notify_one();
    }

    // The oldest item; waits while there is none. NULL once the channel is closed and empty.
    void *pop() {
        std::unique_lock<std::mutex> hold(lock_);
        has_item_.wait(hold, [this] { return count_ > 0 || closed_; });
        if (count_ == 0) {
            return nullptr;
        }
        void *const item = places_[first_];
        first_ = (first_ + 1) % places_.size();
        count_--;
        has_room_.notify_one();
        return item;
    }

    // No push may follow.
    void close() {
        const std::lock_guard<std::mutex> hold(lock_);
        closed_ = true;
        has_item_.notify_all();
    }

  private:
    std::mutex lock_;
    std::condition_variable has_item_;
    std::condition_variable has_room_;
    std::vector<void *> places_;  // guarded by lock_, as are the fields below
    size_t first_ = 0;
    size_t count_ = 0;
    bool closed_ = false;
};

}  // namespace bench

#endif  // BENCHMARKS_HARNESS_CHANNEL_H_
