// What operator new asks of the C++ library, if the process has one.
#ifndef ALLOCATOR_CXX_LIBRARY_H_
#define ALLOCATOR_CXX_LIBRARY_H_

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

// Throws std::bad_alloc. Aborts if there is nothing to throw it with.
void td_cxx_throw_bad_alloc(void) __attribute__((noreturn));

// Calls the new_handler, which may throw. False if there is none.
bool td_cxx_call_new_handler(void);

// Whether Tandem's own `catch` works. It does not in a C program that has loaded a C++ library later: that one's does.
bool td_cxx_can_catch(void);

// The C++ library's own nothrow form, which goes by operator new and catches what that throws. NULL if there is none.
void *td_cxx_new_nothrow(size_t size, size_t alignment);

#pragma GCC visibility pop

#endif  // ALLOCATOR_CXX_LIBRARY_H_
