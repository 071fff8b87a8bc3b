// A library that allocates in its constructor, which runs before those of the program.
#include "tests/process/early_operators.h"

static size_t pairs;

__attribute__((constructor)) static void use_early() {
    use_operators();
    pairs += pairs_of_a_use;
}

size_t pairs_of_library() {
    return pairs;
}
