// operator new and delete in all their forms, with new_handler and std::bad_alloc.
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <string>

#include "tests/api/every_allocation.h"
#include "gtest/gtest.h"

namespace {

class every_new : public testing::TestWithParam<new_allocation> {};

TEST_P(every_new, returns_unique_objects_for_size_zero) {
    std::set<void *> objects;
    for (int i = 0; i < 100; i++) {
        void *object = GetParam().allocate(0);
        ASSERT_NE(object, nullptr);
        EXPECT_TRUE(objects.insert(object).second);
    }
    for (void *object : objects) {
        GetParam().release(object);
    }
}

TEST_P(every_new, returns_aligned_memory_of_the_size) {
    for (size_t size : boundary_sizes(size_t{1} << 22)) {
        void *object = GetParam().allocate(size);
        ASSERT_NE(object, nullptr);
        EXPECT_TRUE(is_aligned(object, GetParam().alignment)) << object << " of size " << size;
        EXPECT_GE(malloc_usable_size(object), size);
        fill_pattern(object, size, 1);
        EXPECT_TRUE(has_pattern(object, size, 1));
        GetParam().release(object);
    }
}

TEST_P(every_new, delete_of_null_does_nothing) {
    GetParam().release(opaque<void *>(nullptr));
}

// Sets the new_handler for one scope.
class handler_scope {
  public:
    explicit handler_scope(std::new_handler handler) : before_(std::set_new_handler(handler)) { calls = 0; }
    ~handler_scope() { std::set_new_handler(before_); }
    handler_scope(const handler_scope &) = delete;
    handler_scope &operator=(const handler_scope &) = delete;

    static int calls;

  private:
    std::new_handler before_;
};
int handler_scope::calls = 0;

// Allocates an impossible size; true if it failed as its form has to.
bool fails_properly(const new_allocation &form, size_t size) {
    try {
        return form.allocate(opaque(size)) == nullptr && !form.throws;
    } catch (const std::bad_alloc &) {
        return form.throws;
    }
}

TEST_P(every_new, fails_without_a_handler) {
    handler_scope scope(nullptr);
    for (size_t size : impossible_sizes()) {
        if (!variant_is_tandem && GetParam().alignment > 16 && size > SIZE_MAX - 512) {
            continue;  // libstdc++ 12 rounds the size up without looking, and gets zero
        }
        EXPECT_TRUE(fails_properly(GetParam(), size)) << size;
    }
    GetParam().release(GetParam().allocate(100));
}

TEST_P(every_new, calls_the_handler_until_it_is_removed) {
    handler_scope scope([] {
        if (++handler_scope::calls == 5) {
            std::set_new_handler(nullptr);
        }
    });
    EXPECT_TRUE(fails_properly(GetParam(), SIZE_MAX / 2 + 1));
    EXPECT_EQ(handler_scope::calls, 5);
}

TEST_P(every_new, lets_the_handler_throw) {
    handler_scope scope([] {
        handler_scope::calls++;
        throw std::bad_alloc();
    });
    EXPECT_TRUE(fails_properly(GetParam(), SIZE_MAX - 4096));
    EXPECT_EQ(handler_scope::calls, 1);
}

TEST_P(every_new, lets_the_handler_allocate) {
    handler_scope scope([] {
        operator delete(opaque(operator new(1000)));
        if (++handler_scope::calls == 3) {
            std::set_new_handler(nullptr);
        }
    });
    EXPECT_TRUE(fails_properly(GetParam(), SIZE_MAX / 2 + 1));
    EXPECT_EQ(handler_scope::calls, 3);
}

TEST_P(every_new, does_not_call_the_handler_when_memory_is_there) {
    handler_scope scope([] { handler_scope::calls++; });
    for (size_t size : boundary_sizes(size_t{64} << 20)) {
        GetParam().release(GetParam().allocate(size));
    }
    EXPECT_EQ(handler_scope::calls, 0);
}

INSTANTIATE_TEST_SUITE_P(all, every_new, testing::ValuesIn(every_new_allocation()),
                         [](const auto &each) { return std::string(each.param.name); });

TEST(delete_forms, sized_with_the_size_asked_for) {
    for (size_t size : boundary_sizes(size_t{3} << 20)) {
        for (int i = 0; i < 10; i++) {
            void *single = opaque(operator new(size));
            void *array = opaque(operator new[](size));
            memset(single, 1, size);
            memset(array, 2, size);
            operator delete(single, size);
            operator delete[](array, size);
        }
    }
    operator delete (opaque<void *>(nullptr), size_t{8});
    operator delete[](opaque<void *>(nullptr), size_t{8});
}

TEST(delete_forms, sized_and_aligned) {
    for (size_t alignment = 1; alignment <= size_t{4} << 20; alignment *= 2) {
        std::align_val_t wanted{alignment};
        for (size_t size : {size_t{0}, size_t{1}, size_t{40}, size_t{1000}, alignment, alignment + 1, size_t{200000}}) {
            void *single = opaque(operator new(size, wanted));
            void *array = opaque(operator new[](size, wanted));
            ASSERT_TRUE(is_aligned(single, alignment));
            ASSERT_TRUE(is_aligned(array, alignment));
            operator delete(single, size, wanted);
            operator delete[](array, size, wanted);
            operator delete(opaque(operator new(size, wanted)), wanted);
            operator delete[](opaque(operator new[](size, wanted)), wanted);
        }
    }
    operator delete (opaque<void *>(nullptr), size_t{8}, std::align_val_t{64});
}

TEST(delete_forms, release_what_any_form_of_new_returned) {
    // The C++ standard pairs plain with plain and aligned with aligned; nothrow goes with either.
    for (int i = 0; i < 1000; i++) {
        operator delete(opaque(operator new(100, std::nothrow)));
        operator delete(opaque(operator new(100)), std::nothrow);
        operator delete (opaque(operator new (100, std::align_val_t{64}, std::nothrow)), std::align_val_t{64});
        operator delete[](opaque(operator new[](100, std::align_val_t{64})), std::align_val_t{64}, std::nothrow);
    }
}

TEST(delete_forms, really_release) {
    constexpr size_t size = size_t{64} << 20;
    for (const new_allocation &form : every_new_allocation()) {
        size_t before = bytes_in_use();
        for (int i = 0; i < 100; i++) {
            auto *object = static_cast<char *>(form.allocate(size));
            ASSERT_NE(object, nullptr);
            object[size / 2] = 1;
            form.release(object);
        }
        EXPECT_LT(bytes_in_use(), before + size) << form.name;
    }
}

struct alignas(256) wide_type {
    unsigned char bytes[300];
};

TEST(new_expressions, of_overaligned_types) {
    for (int i = 0; i < 1000; i++) {
        auto one = std::make_unique<wide_type>();
        auto many = std::make_unique<wide_type[]>(7);
        ASSERT_TRUE(is_aligned(one.get(), 256));
        ASSERT_TRUE(is_aligned(many.get(), 256));
        memset(one->bytes, i, sizeof one->bytes);
        memset(many[6].bytes, i, sizeof many[6].bytes);
    }
}

TEST(new_expressions, of_arrays_too_large_throw) {
    EXPECT_THROW(opaque(new char[opaque(SIZE_MAX / 2)]), std::bad_alloc);
    EXPECT_THROW(opaque(new uint64_t[opaque(SIZE_MAX / 4)]), std::bad_alloc);
    EXPECT_EQ(opaque(new (std::nothrow) char[opaque(SIZE_MAX / 2)]), nullptr);
}

}  // namespace
