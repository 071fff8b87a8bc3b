#include "tests/process/variant.h"

#if !defined(TEST_FRONT_END)
#define TEST_FRONT_END "none"
#endif
#if !defined(TEST_TINY)
#define TEST_TINY 0
#endif
#if !defined(TEST_DEBUG)
#define TEST_DEBUG 0
#endif

namespace variant {

const char *const front_end = TEST_FRONT_END;
const bool is_tandem = TEST_FRONT_END[0] != 'n';
const bool is_tiny = TEST_TINY != 0;
const bool is_debug = TEST_DEBUG != 0;

}  // namespace variant
