#ifndef TESTS_PROCESS_EARLY_OPERATORS_H_
#define TESTS_PROCESS_EARLY_OPERATORS_H_

#include <cstddef>
#include <new>

// Pairs of operator new and delete that a call of `use_operators` makes, and those made by the library's constructor.
constexpr size_t pairs_of_a_use = 6;
size_t pairs_of_library();

// Forms that go by others: each object is made or ended by one of them.
inline void use_operators() {
    const std::align_val_t line{64};
    const std::nothrow_t nothrow{};
    void *volatile object = operator new(80);
    operator delete (object, size_t{80});
    object = operator new[](80);
    operator delete[](object, size_t{80});
    object = operator new(80, line);
    operator delete (object, size_t{80}, line);
    object = operator new(80, nothrow);
    operator delete(object);
    object = operator new[](80, nothrow);
    operator delete[](object);
    object = operator new(80, line, nothrow);
    operator delete(object, line);
}

#endif  // TESTS_PROCESS_EARLY_OPERATORS_H_
