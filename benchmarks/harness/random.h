// Random numbers that are the same on every machine and with every allocator.
#ifndef BENCHMARKS_HARNESS_RANDOM_H_
#define BENCHMARKS_HARNESS_RANDOM_H_

#include <stddef.h>
#include <stdint.h>

namespace bench {

// A xorshift generator. Two sources with different seeds give unrelated numbers, neighbouring seeds included.
class random_source {
  public:
    explicit random_source(uint64_t seed) : state_(scramble(seed + 1)) {}

    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }

    // Uniform in [0, bound). `bound` is at least 1 and fits in 32 bits.
    uint64_t below(uint64_t bound) { return ((next() >> 32) * bound) >> 32; }

    // Uniform in [low, high].
    uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }

    // True once in `n` times.
    bool one_in(uint64_t n) { return below(n) == 0; }

  private:
    static uint64_t scramble(uint64_t x) {
        x *= 0x9e3779b97f4a7c15u;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        return x != 0 ? x : 1;
    }

    uint64_t state_;  // never 0
};

// The `index`-th of `parts` shares of `total`; the shares add up to `total`.
inline uint64_t share_of(uint64_t total, uint64_t parts, uint64_t index) {
    return total / parts + (index < total % parts ? 1 : 0);
}

// A size as programs ask for them: nine in ten up to 256 bytes, one in a hundred above 4 KiB, one in a thousand above
// 32 KiB; never above `largest` nor below 8.
inline size_t mixed_size(random_source *random, size_t largest) {
    const uint64_t band = random->below(1000);
    uint64_t size;
    if (band < 900) {
        size = random->between(8, 256);
    } else if (band < 990) {
        size = random->between(257, 4096);
    } else if (band < 999) {
        size = random->between(4097, 32768);
    } else {
        size = random->between(32769, 262144);
    }
    return size <= largest ? size : 8 + size % (largest - 7);
}

}  // namespace bench

#endif  // BENCHMARKS_HARNESS_RANDOM_H_
