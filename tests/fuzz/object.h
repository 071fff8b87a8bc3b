// An object under test: how it was asked for, what must be true of it, and how it may be given back.
#ifndef TESTS_FUZZ_OBJECT_H_
#define TESTS_FUZZ_OBJECT_H_

#include <cstddef>
#include <cstdint>

namespace fuzz {

// Which functions may free an object.
enum class family { c, c_aligned, c_pages, single_new, array_new, aligned_new, aligned_array_new };

struct object {
    void *pointer = nullptr;
    size_t size = 0;       // as asked for
    size_t alignment = 0;  // as asked for; 0: malloc's own
    size_t usable = 0;     // as malloc_usable_size(3) said
    uint64_t seed = 0;     // of its contents
    family made_by = family::c;
};

// One function that allocates.
struct way_to_allocate {
    const char *name;
    family made_by;
    bool takes_alignment;
    bool zeroes;
    void *(*allocate)(size_t size, size_t alignment);
};

// One function that frees objects of a family.
struct way_to_free {
    const char *name;
    family takes;
    void (*release)(const object &object);
};

struct ways_to_allocate {
    const way_to_allocate *begin;
    size_t count;
};
struct ways_to_free {
    const way_to_free *begin;
    size_t count;
};

// Every function there is; those that only Tandem has are left out when malloc is another.
ways_to_allocate every_way_to_allocate();
ways_to_free every_way_to_free(family family);

// Fills the object's contents. A large object is written in part only, at its ends and in between.
void fill(const object &object);

// Whether the first `count` of the bytes that `fill` wrote are still there.
bool is_filled(const object &object, size_t count);

// What is wrong with a fresh object, or nullptr: its alignment, its usable size, its zeros.
const char *flaw_of_fresh(const object &object, bool must_be_zero);

}  // namespace fuzz

#endif  // TESTS_FUZZ_OBJECT_H_
