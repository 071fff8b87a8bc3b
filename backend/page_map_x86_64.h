// The look-up of page_map.h for functions that are assembly.
#ifndef BACKEND_PAGE_MAP_X86_64_H_
#define BACKEND_PAGE_MAP_X86_64_H_

#include "backend/page_map.h"

// As td_page_map_entry. Takes the pointer in rdi; gives its link in r8, and the class code lies at (rdx,rax), a byte.
// Jumps forward to 5 if no object can start there. `mask` is an operand in memory: the bits that the link of an object
// does not have, or all, and nothing but NULL is looked up.
#define TD_PAGE_MAP_LOOKUP(mask)                                                                                       \
    "movq %rdi, %r8\n\t"                                                                                               \
    "rolq $16, %r8\n\t"                                                                                                \
    "testq " mask ", %r8\n\t"                                                                                          \
    "jne 5f\n\t"                                                                                                       \
    "movq %r8, %rdx\n\t"                                                                                               \
    "shrq $48, %rdx\n\t"                                                                                               \
    "leaq td_page_map_root(%rip), %rax\n\t"                                                                            \
    "movq (%rax,%rdx,8), %rdx\n\t"                                                                                     \
    "testq %rdx, %rdx\n\t"                                                                                             \
    "je 5f\n\t"                                                                                                        \
    "movl %edi, %eax\n\t"                                                                                              \
    "shrl $13, %eax\n\t"

_Static_assert(TD_LINK_SHIFT == 16 && TD_LINK_SHIFT + TD_LEAF_SHIFT == 48 && TD_PAGE_SHIFT == 13, "numbers above");
_Static_assert(offsetof(struct td_page_map_leaf, code_of_page) == 0, "a leaf begins with its codes");

#endif  // BACKEND_PAGE_MAP_X86_64_H_
