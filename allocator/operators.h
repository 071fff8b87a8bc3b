// operator new and delete at the start of a process.
#ifndef ALLOCATOR_OPERATORS_H_
#define ALLOCATOR_OPERATORS_H_

#pragma GCC visibility push(hidden)

// Finds out whether the program has replaced some form of operator new or delete ([replacement.functions]): the others
// go by those then, as the C++ library's do. Until this call they go by the names, and are slow.
void td_operators_begin(void);

#pragma GCC visibility pop

#endif  // ALLOCATOR_OPERATORS_H_
