// Which variant of a test this is. Tests are compiled once; what tells the variants apart is this small library, of
// which there is one for each, and the malloc that the binary is linked with.
#ifndef TESTS_VARIANT_VARIANT_H_
#define TESTS_VARIANT_VARIANT_H_

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// The front end that the binary was built with: "percpu", "perthread"; "none" with the C library's malloc.
extern const char *const variant_front_end;

// Whether malloc is Tandem's. The tests also run with glibc's, which they were tried on and which differs in places.
extern const bool variant_is_tandem;

// Whether the caches are tiny, and every slow path is taken.
extern const bool variant_is_tiny;

// Whether the allocator has its assertions on.
extern const bool variant_is_debug;

#ifdef __cplusplus
}
#endif

#endif  // TESTS_VARIANT_VARIANT_H_
