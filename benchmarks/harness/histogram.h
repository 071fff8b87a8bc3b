// A histogram of durations with 32 steps to each power of two: a percentile is at most 3 % off. Adding allocates
// nothing.
#ifndef BENCHMARKS_HARNESS_HISTOGRAM_H_
#define BENCHMARKS_HARNESS_HISTOGRAM_H_

#include <stddef.h>
#include <stdint.h>

#include <algorithm>

namespace bench {

class histogram {
  public:
    void add(uint64_t value) {
        counts_[bucket_of(value)]++;
        total_++;
        largest_ = std::max(largest_, value);
    }

    void add(const histogram &other) {
        for (size_t i = 0; i < buckets; i++) {
            counts_[i] += other.counts_[i];
        }
        total_ += other.total_;
        largest_ = std::max(largest_, other.largest_);
    }

    // The upper end of the bucket that the value at `fraction` of all, in order, is in; 0 if there is none.
    uint64_t at(double fraction) const {
        const uint64_t rank = static_cast<uint64_t>(fraction * static_cast<double>(total_));
        uint64_t seen = 0;
        for (size_t i = 0; i < buckets; i++) {
            seen += counts_[i];
            if (seen > rank) {
                return std::min(upper_end(i), largest_);
            }
        }
        return largest_;
    }

    uint64_t largest() const { return largest_; }
    uint64_t total() const { return total_; }

  private:
    static constexpr size_t step_bits = 5;
    static constexpr size_t steps = 1 << step_bits;
    static constexpr size_t buckets = (64 - step_bits + 1) * steps;

    static size_t bucket_of(uint64_t value) {
        if (value < steps) {
            return value;
        }
        const size_t power = 63 - static_cast<size_t>(__builtin_clzll(value));
        const size_t shift = power - step_bits;
        return (shift + 1) * steps + static_cast<size_t>((value >> shift) - steps);
    }

    static uint64_t upper_end(size_t bucket) {
        if (bucket < steps) {
            return bucket;
        }
        const size_t shift = bucket / steps - 1;
        return ((static_cast<uint64_t>(steps + bucket % steps) + 1) << shift) - 1;
    }

    uint64_t counts_[buckets] = {};
    uint64_t total_ = 0;
    uint64_t largest_ = 0;
};

}  // namespace bench

#endif  // BENCHMARKS_HARNESS_HISTOGRAM_H_
