// A program that asks for more memory than there is and refers to nothing of the C++ library but what it catches.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

int main() {
    volatile size_t too_much = size_t{1} << 60;
    try {
        void *volatile memory = operator new(too_much);
        operator delete(memory);
    } catch (const CAUGHT &caught) {
        puts(caught.what());
        return EXIT_SUCCESS;
    }
    return EXIT_FAILURE;
}
