// P0901's operator new that returns the size too, under the names that tcmalloc gave its entry points.
#include <new>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

struct __sized_ptr_t {
    void *p;
    size_t n;
};

extern "C" {
__sized_ptr_t __size_returning_new(size_t size) __attribute__((weak));
__sized_ptr_t __size_returning_new_aligned(size_t size, std::align_val_t alignment) __attribute__((weak));
__sized_ptr_t __size_returning_new_nothrow(size_t size) noexcept __attribute__((weak));
__sized_ptr_t __size_returning_new_aligned_nothrow(size_t size, std::align_val_t alignment) noexcept
    __attribute__((weak));
}

namespace {

class size_returning_new : public testing::Test {
    void SetUp() override {
        if (!variant_is_tandem) {
            GTEST_SKIP() << "not in glibc";
        }
        ASSERT_NE(__size_returning_new, nullptr);
        ASSERT_NE(__size_returning_new_aligned, nullptr);
        ASSERT_NE(__size_returning_new_nothrow, nullptr);
    }
};

void expect_sized(const __sized_ptr_t &sized, size_t size, size_t alignment) {
    ASSERT_NE(sized.p, nullptr);
    EXPECT_TRUE(is_aligned(sized.p, alignment)) << sized.p << " for " << alignment;
    EXPECT_GE(sized.n, size);
    EXPECT_EQ(sized.n, malloc_usable_size(sized.p));
    fill_pattern(sized.p, sized.n, 1);
    EXPECT_TRUE(has_pattern(sized.p, sized.n, 1));
}

TEST_F(size_returning_new, tells_the_usable_size) {
    for (size_t size : boundary_sizes(size_t{3} << 20)) {
        __sized_ptr_t sized = __size_returning_new(size);
        expect_sized(sized, size, 16);
        operator delete(sized.p, sized.n);
        sized = __size_returning_new_nothrow(size);
        expect_sized(sized, size, 16);
        operator delete(sized.p, size);
    }
}

TEST_F(size_returning_new, aligns) {
    for (size_t alignment = 8; alignment <= size_t{1} << 20; alignment *= 2) {
        for (size_t size : {size_t{0}, size_t{1}, size_t{100}, alignment + 1, size_t{70000}}) {
            __sized_ptr_t sized = __size_returning_new_aligned(size, std::align_val_t{alignment});
            expect_sized(sized, size, alignment);
            operator delete (sized.p, sized.n, std::align_val_t{alignment});
        }
    }
}

TEST_F(size_returning_new, fails_as_operator_new) {
    for (size_t size : impossible_sizes()) {
        EXPECT_THROW(__size_returning_new(opaque(size)), std::bad_alloc);
        EXPECT_THROW(__size_returning_new_aligned(opaque(size), std::align_val_t{64}), std::bad_alloc);
        __sized_ptr_t sized = __size_returning_new_nothrow(opaque(size));
        EXPECT_EQ(sized.p, nullptr);
        EXPECT_EQ(sized.n, 0u);
    }
}

TEST_F(size_returning_new, aligned_nothrow_fails_with_null) {
    ASSERT_NE(__size_returning_new_aligned_nothrow, nullptr);
    __sized_ptr_t sized = __size_returning_new_aligned_nothrow(opaque(SIZE_MAX / 2 + 1), std::align_val_t{64});
    EXPECT_EQ(sized.p, nullptr);
    EXPECT_EQ(sized.n, 0u);
    sized = __size_returning_new_aligned_nothrow(1000, std::align_val_t{64});
    expect_sized(sized, 1000, 64);
    operator delete (sized.p, sized.n, std::align_val_t{64});
}

TEST_F(size_returning_new, calls_the_new_handler) {
    static int calls;
    calls = 0;
    std::new_handler before = std::set_new_handler([] {
        if (++calls == 3) {
            std::set_new_handler(nullptr);
        }
    });
    EXPECT_THROW(__size_returning_new(opaque(SIZE_MAX / 2 + 1)), std::bad_alloc);
    EXPECT_EQ(calls, 3);
    std::set_new_handler(before);
}

}  // namespace
