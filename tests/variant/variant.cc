#include "tests/variant/variant.h"

#if !defined(TEST_FRONT_END)
#define TEST_FRONT_END "none"
#endif
#if !defined(TEST_TINY)
#define TEST_TINY 0
#endif
#if !defined(TEST_DEBUG)
#define TEST_DEBUG 0
#endif

const char *const variant_front_end = TEST_FRONT_END;
const bool variant_is_tandem = TEST_FRONT_END[0] != 'n';
const bool variant_is_tiny = TEST_TINY != 0;
const bool variant_is_debug = TEST_DEBUG != 0;
