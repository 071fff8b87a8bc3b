// A program with some forms of operator new and delete of its own, whose objects no other malloc would take: all that
// the standard derives from those ([new.delete]) must go by them.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

#include "tests/process/early_operators.h"

namespace {

const uint64_t mark = 0x6f70657261746f72;

struct header {
    uint64_t mark;
    size_t shift;  // from what malloc returned on
};

size_t made, ended;

[[noreturn]] void fail(const char *what) {
    puts(what);
    fflush(stdout);
    _Exit(EXIT_FAILURE);
}

void *make(size_t size, size_t alignment) {
    char *const memory = static_cast<char *>(malloc(size + 2 * alignment));
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    const size_t shift = 2 * alignment - reinterpret_cast<uintptr_t>(memory) % alignment;
    const header own = {mark, shift};
    memcpy(memory + shift - sizeof own, &own, sizeof own);
    made++;
    return memory + shift;
}

void end(void *object) {
    if (object == nullptr) {
        return;
    }
    header own;
    memcpy(&own, static_cast<char *>(object) - sizeof own, sizeof own);
    if (own.mark != mark) {
        fail("delete of what the program's own new never made");
    }
    ended++;
    free(static_cast<char *>(object) - own.shift);
}

// An object that is made as early as a program's can be.
struct early {
    early() { use_operators(); }
};
early first __attribute__((init_priority(101)));

// What `allocate` makes and `release` ends, a number of times, must have come to the program's own forms.
template <typename allocation, typename deletion>
void expect_own(const char *what, allocation allocate, deletion release) {
    const size_t made_before = made, ended_before = ended;
    void *objects[100];
    for (int round = 0; round < 20; round++) {
        for (void *&object : objects) {
            object = allocate();
            memset(object, 1, 80);
        }
        for (void *object : objects) {
            release(object);
        }
    }
    if (made != made_before + 2000 || ended != ended_before + 2000) {
        fail(what);
    }
}

}  // namespace

void *operator new(size_t size) {
    return make(size, 16);
}
void operator delete(void *object) noexcept {
    end(object);
}
void *operator new(size_t size, std::align_val_t alignment) {
    return make(size, static_cast<size_t>(alignment));
}
void operator delete(void *object, std::align_val_t) noexcept {
    end(object);
}

int main() {
    const size_t early_pairs = pairs_of_library() + pairs_of_a_use;
    if (early_pairs != 2 * pairs_of_a_use || made != early_pairs || ended != early_pairs) {
        fail("before main");
    }
    const std::align_val_t line{64};
    const std::nothrow_t nothrow{};
    for (const size_t size : {size_t{80}, size_t{3000}, size_t{100000}}) {
        const auto make_one = [=] { return operator new(size); };
        const auto make_array = [=] { return operator new[](size); };
        const auto make_aligned = [=] { return operator new(size, line); };
        const auto make_aligned_array = [=] { return operator new[](size, line); };
        expect_own("new, delete", make_one, [](void *object) { operator delete(object); });
        expect_own("sized delete", make_one, [=](void *object) { operator delete(object, size); });
        expect_own("nothrow delete", make_one, [=](void *object) { operator delete(object, nothrow); });
        expect_own("new[], delete[]", make_array, [](void *object) { operator delete[](object); });
        expect_own("sized delete[]", make_array, [=](void *object) { operator delete[](object, size); });
        expect_own("nothrow delete[]", make_array, [=](void *object) { operator delete[](object, nothrow); });
        expect_own(
            "nothrow new", [=] { return operator new(size, nothrow); }, [](void *object) { operator delete(object); });
        expect_own(
            "nothrow new[]", [=] { return operator new[](size, nothrow); },
            [](void *object) { operator delete[](object); });
        expect_own("aligned new, delete", make_aligned, [=](void *object) { operator delete(object, line); });
        expect_own("aligned sized delete", make_aligned, [=](void *object) { operator delete(object, size, line); });
        expect_own("aligned delete[]", make_aligned_array, [=](void *object) { operator delete[](object, line); });
        expect_own("aligned sized delete[]", make_aligned_array,
                   [=](void *object) { operator delete[](object, size, line); });
        expect_own("aligned nothrow delete[]", make_aligned_array,
                   [=](void *object) { operator delete[](object, line, nothrow); });
        expect_own(
            "aligned nothrow new", [=] { return operator new(size, line, nothrow); },
            [=](void *object) { operator delete(object, line, nothrow); });
        expect_own(
            "aligned nothrow new[]", [=] { return operator new[](size, line, nothrow); },
            [=](void *object) { operator delete[](object, line); });
    }
    operator delete (nullptr, size_t{80});
    operator delete[](nullptr, size_t{80});
    puts("all by its own");
    return EXIT_SUCCESS;
}
