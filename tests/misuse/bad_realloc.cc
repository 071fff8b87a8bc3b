// realloc and malloc_usable_size of what is no object.
#include <cstdlib>

#include <malloc.h>
#include <sys/mman.h>

#include "tests/api/opaque.h"
#include "tests/misuse/wrong_program.h"
#include "tests/process/child.h"

namespace {

alignas(64) char static_bytes[4096];

enum call { call_realloc, call_malloc_usable_size };

const char *name_of(call call) {
    return call == call_realloc ? "realloc" : "malloc_usable_size";
}

void make(call call, void *address) {
    if (call == call_realloc) {
        opaque(realloc(opaque(address), opaque<size_t>(1000)));
    } else {
        opaque(malloc_usable_size(opaque(address)));
    }
}

void call_foreign(call call, void *address) {
    misuse::expect("%s of %p, which was not allocated here", name_of(call), address);
    make(call, address);
}

void call_inside(call call, size_t size, size_t offset) {
    auto *object = static_cast<char *>(misuse::allocate(size));
    misuse::expect("%s of %p, which points inside a %zu-byte object", name_of(call),
                   static_cast<void *>(object + offset), malloc_usable_size(object));
    if (call == call_realloc) {  // moving it frees it
        misuse::expect("free of %p, which points inside a %zu-byte object", static_cast<void *>(object + offset),
                       malloc_usable_size(object));
    }
    make(call, object + offset);
}

void *number(uint64_t number) {
    return reinterpret_cast<void *>(number);
}

void *foreign_map() {
    return mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

WRONG_PROGRAM(realloc_of_stack) {
    alignas(64) char bytes[256];
    call_foreign(call_realloc, bytes);
}
WRONG_PROGRAM(realloc_of_static) {
    call_foreign(call_realloc, static_bytes);
}
WRONG_PROGRAM(realloc_of_foreign_map) {
    call_foreign(call_realloc, foreign_map());
}
WRONG_PROGRAM(realloc_of_wild) {
    call_foreign(call_realloc, number(0x123456789ab0));
}
WRONG_PROGRAM(realloc_of_non_canonical) {
    call_foreign(call_realloc, number(0x8000000000000010));
}
WRONG_PROGRAM(realloc_inside_48_by_1) {
    call_inside(call_realloc, 48, 1);
}
WRONG_PROGRAM(realloc_inside_48_by_16) {
    call_inside(call_realloc, 48, 16);
}
WRONG_PROGRAM(realloc_inside_30000_by_4096) {
    call_inside(call_realloc, 30000, 4096);
}
WRONG_PROGRAM(realloc_inside_100000_by_16) {
    call_inside(call_realloc, 100000, 16);
}
WRONG_PROGRAM(realloc_inside_5M_by_4096) {
    call_inside(call_realloc, 5 << 20, 4096);
}

WRONG_PROGRAM(usable_size_of_stack) {
    alignas(64) char bytes[256];
    call_foreign(call_malloc_usable_size, bytes);
}
WRONG_PROGRAM(usable_size_of_static) {
    call_foreign(call_malloc_usable_size, static_bytes);
}
WRONG_PROGRAM(usable_size_of_foreign_map) {
    call_foreign(call_malloc_usable_size, foreign_map());
}
WRONG_PROGRAM(usable_size_of_wild) {
    call_foreign(call_malloc_usable_size, number(0x123456789ab0));
}
WRONG_PROGRAM(usable_size_of_non_canonical) {
    call_foreign(call_malloc_usable_size, number(0x8000000000000010));
}
WRONG_PROGRAM(usable_size_inside_48_by_1) {
    call_inside(call_malloc_usable_size, 48, 1);
}
WRONG_PROGRAM(usable_size_inside_48_by_16) {
    call_inside(call_malloc_usable_size, 48, 16);
}
WRONG_PROGRAM(usable_size_inside_5M_by_4096) {
    call_inside(call_malloc_usable_size, 5 << 20, 4096);
}

// The object is in a cache by then; moving it frees it a second time.
void realloc_freed(size_t size, size_t new_size) {
    void *object = misuse::allocate(size);
    misuse::expect("double free of %p (%zu-byte object)", object, malloc_usable_size(object));
    misuse::expect("realloc of %p, which was not allocated here", object);  // if its memory has left already
    free(opaque(object));
    opaque(realloc(opaque(object), new_size));
}

WRONG_PROGRAM(realloc_of_freed_48) {
    realloc_freed(48, 3000);
}
WRONG_PROGRAM(realloc_of_freed_3000) {
    realloc_freed(3000, 48);
}
WRONG_PROGRAM(realloc_of_freed_to_zero) {
    realloc_freed(48, 0);
}

}  // namespace
