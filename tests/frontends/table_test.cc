// The per-CPU front end's table of slabs, in a program: what sequences find where a CPU has no slab.
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "gtest/gtest.h"

extern "C" {
#include "frontends/percpu/fast_path.h"
}

namespace {

constexpr size_t sizes[] = {8, 48, 512, 1024, 1025, 8192, 32768};

void expect_zeros() {
    static const td_slab zeros = {};
    EXPECT_EQ(memcmp(&td_no_slab, &zeros, sizeof zeros), 0);
}

// Allocates objects of all sizes, looks at what they hold, and frees them.
void use_every_bin(unsigned char content) {
    std::vector<unsigned char *> objects;
    for (int round = 0; round < 40; round++) {
        for (size_t size : sizes) {
            objects.push_back(static_cast<unsigned char *>(opaque(malloc(size))));
            memset(objects.back(), content, size);
        }
    }
    for (size_t i = 0; i < objects.size(); i++) {
        size_t size = sizes[i % std::size(sizes)];
        ASSERT_EQ(objects[i][0], content);
        ASSERT_EQ(memcmp(objects[i], objects[i] + 1, size - 1), 0);
        free(objects[i]);
    }
}

TEST(table, has_an_entry_for_every_cpu_that_there_may_be) {
    free(opaque(malloc(1)));
    for (long i = 0; i < sysconf(_SC_NPROCESSORS_CONF); i++) {
        EXPECT_NE(td_percpu.slabs[i], nullptr) << i;
    }
    if (std::string(tandem_mode()) != "rseq (glibc)") {
        EXPECT_EQ(td_percpu.slabs[TD_NO_INDEX], &td_no_slab);
    }
    expect_zeros();
}

TEST(table, a_thread_whose_cpu_has_no_slab_goes_past_the_caches) {
    use_every_bin(1);
    long count = sysconf(_SC_NPROCESSORS_CONF);
    std::vector<td_slab *> slabs(td_percpu.slabs, td_percpu.slabs + count);
    // As while another thread empties them.
    for (long i = 0; i < count; i++) {
        __atomic_store_n(&td_percpu.slabs[i], &td_no_slab, __ATOMIC_RELEASE);
    }
    for (int round = 0; round < 10; round++) {
        use_every_bin(2);
    }
    expect_zeros();
    for (long i = 0; i < count; i++) {
        __atomic_store_n(&td_percpu.slabs[i], slabs[i], __ATOMIC_RELEASE);
    }
    use_every_bin(3);
}

TEST(table, threads_whose_slabs_are_emptied_lose_nothing) {
    std::atomic<bool> is_over{false};
    std::vector<std::thread> threads;
    for (unsigned char i = 0; i < 4; i++) {
        threads.emplace_back([&is_over, i] {
            while (!is_over) {
                use_every_bin(i);
            }
        });
    }
    for (int round = 0; round < 500; round++) {
        tandem_release_memory(SIZE_MAX);
    }
    is_over = true;
    for (std::thread &thread : threads) {
        thread.join();
    }
    expect_zeros();
}

}  // namespace
