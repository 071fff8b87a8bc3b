// An object's address as a cache keeps it: one word that says as well which slot of the cache is below the word's own.
//
//        63                                  16 15           0
//       +--------------------------------------+--------------+
//       |        the object's address          |    number    |
//       +--------------------------------------+--------------+
//
// So a pop that takes the object finds the slot of the next one without another load.
#ifndef BASE_LINK_H_
#define BASE_LINK_H_

#include <string.h>

#include "base/config.h"

#pragma GCC visibility push(hidden)

#define TD_LINK_SHIFT 16

typedef uint64_t td_link;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "an address begins TD_LINK_SHIFT bits into its link");
_Static_assert(TD_ADDRESS_BITS + TD_LINK_SHIFT == 64, "an address fits above a slot");

// The link to what lies at `pointer`, but for the number; the address is rotated instead of shifted, so that nothing of
// one that can be no object's is lost: see `td_link_is_object`.
static inline td_link td_link_to(const void *pointer) {
    uintptr_t address = (uintptr_t)pointer;
    return address << TD_LINK_SHIFT | address >> TD_ADDRESS_BITS;
}

// The bits that such a link does not have if an object can be at its address, by the address alone: that has
// `TD_ADDRESS_BITS` bits and is a multiple of the smallest object.
#define TD_LINK_NO_OBJECT (((td_link)TD_MIN_OBJECT_BYTES << TD_LINK_SHIFT) - 1)

static inline bool td_link_is_object(td_link link) {
    return (link & TD_LINK_NO_OBJECT) == 0;
}

// NULL of the link below a stack's first slot.
static inline void *td_link_object(td_link link) {
    return (void *)(uintptr_t)(link >> TD_LINK_SHIFT);
}

// Whether the address may be that of `pointer`: by its low half, which takes an instruction less than the whole link.
static inline bool td_link_resembles(const td_link *link, const void *pointer) {
    uint32_t low;
    memcpy(&low, (const char *)link + TD_LINK_SHIFT / 8, sizeof low);
    return low == (uint32_t)(uintptr_t)pointer;
}

#pragma GCC visibility pop

#endif  // BASE_LINK_H_
