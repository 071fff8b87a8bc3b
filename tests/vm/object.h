// An object of the allocator under test that says whose it is.
//
// Its first 16 bytes are its stamp (who got it, its number, and a seal made of both and of its address), the rest is a
// pattern made from the seal. Whoever holds an object keeps a record of it. So:
//   - memory that the allocator hands out while it carries a sealed stamp is handed out twice: somebody holds it;
//   - an object whose stamp is not what its holder's record says was handed out twice, or was written to;
//   - an object whose pattern is broken overlaps another.
// Every finding ends the process through `fail`.
#ifndef TESTS_VM_OBJECT_H_
#define TESTS_VM_OBJECT_H_

#include <stddef.h>
#include <stdint.h>

enum { OBJECT_MIN_BYTES = 16 };

enum object_origin { OBJECT_FROM_MALLOC, OBJECT_FROM_CALLOC, OBJECT_FROM_ALIGNED_ALLOC };

// A record of one object; all zeros: no object. Guarded by whoever holds it.
struct object {
    uint64_t *memory;
    size_t size;     // bytes asked for
    uint64_t stamp;  // owner and number, as its first word has them
};

// The allocator's function that the thread is inside of, NULL outside: for signal handlers and for the report of a
// hang.
extern _Thread_local const char *volatile allocator_call;

// Fills the empty record with a new object of `size` bytes, OBJECT_MIN_BYTES or more, stamped with `owner` and
// `number`.
void object_create(struct object *object, enum object_origin origin, size_t size, unsigned owner, uint64_t number);

// Verifies stamp and pattern. `moment` is what the holder was about to do, for the report.
void object_verify(const struct object *object, const char *moment);

// Verifies, reallocs and verifies what was kept.
void object_resize(struct object *object, size_t size);

// Verifies, wipes the stamp and frees. The record is empty then.
void object_destroy(struct object *object);

#endif  // TESTS_VM_OBJECT_H_
