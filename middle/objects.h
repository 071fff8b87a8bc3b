// The objects of spans, as bits: a set bit in a span's bitmap is a free object. What can be known of objects without
// the lock of their class is gathered before it is taken or after.
#ifndef MIDDLE_OBJECTS_H_
#define MIDDLE_OBJECTS_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// Some objects of a span: those that the bits of one word of its bitmap stand for.
struct td_object_word {
    struct td_span *span;
    uint64_t bits;
    uint32_t word;
    uint32_t count;  // of bits that are set
};

// So many at once. They lie on the program's stack: twice as many would be a whole batch's, and touch a page more in
// most threads; half as many take the lock more often, and servers a twentieth longer.
#define TD_OBJECT_WORDS 64
struct td_object_words {
    size_t count;
    struct td_object_word words[TD_OBJECT_WORDS];
};

void td_objects_set_all_free(struct td_span *span);
size_t td_objects_count_free(const struct td_span *span);

// Takes free objects in address order, as long as `*words`, which they are added to, has room: `count`, and then those
// that share the last one's cache line. Returns how many.
size_t td_objects_take(struct td_span *span, size_t count, struct td_object_words *words);

// Writes the objects' addresses, what was taken last first: slabs use the last object first, which is to be the lowest.
// Returns how many.
size_t td_objects_list(const struct td_object_words *words, void **objects);

// Makes `*words` the first ones of `objects`, as many as there is room for. Returns how many. Aborts on what is no
// object of the class, and on one that is twice in a word.
size_t td_objects_gather(size_t class_index, void *const *objects, size_t count, struct td_object_words *words);

// The object of that index in a span that is, or was, one of the class.
void *td_objects_at(const struct td_span *span, size_t class_index, size_t index);
// The object's index in its span. Aborts, naming `call`, if no object of the class starts at `pointer`.
size_t td_objects_index(const struct td_span *span, size_t class_index, const void *pointer, const char *call);

#pragma GCC visibility pop

#endif  // MIDDLE_OBJECTS_H_
