// What operator new asks of the C++ library, if the process has one.
#ifndef ALLOCATOR_CXX_LIBRARY_H_
#define ALLOCATOR_CXX_LIBRARY_H_

#include <stdbool.h>

#pragma GCC visibility push(hidden)

// Throws std::bad_alloc. Aborts if there is nothing to throw it with.
void td_cxx_throw_bad_alloc(void) __attribute__((noreturn));

// Calls the new_handler, which may throw. False if there is none.
bool td_cxx_call_new_handler(void);

#pragma GCC visibility pop

#endif  // ALLOCATOR_CXX_LIBRARY_H_
