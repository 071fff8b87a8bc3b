// Which variant of a test this is. The tests are compiled once; what tells the variants apart is a small file that is
// compiled for each (variant.cc), and the malloc that the binary is linked with.
#ifndef TESTS_PROCESS_VARIANT_H_
#define TESTS_PROCESS_VARIANT_H_

#include <string>

namespace variant {

// The front end that the binary was built with: "percpu", "perthread"; "none" with the C library's malloc.
extern const char *const front_end;

// Whether malloc is Tandem's. The tests also run with glibc's, which they were tried on and which differs in places.
extern const bool is_tandem;

// Whether the caches are tiny, and every slow path is taken.
extern const bool is_tiny;

// Whether the allocator has its assertions on.
extern const bool is_debug;

// The program of that name that is linked with the same malloc, and the shared object to preload for the same front
// end, as the build lays them out, seen from a test's working directory.
inline std::string program(const std::string &name) {
    return "tests/process/" + name + "_" + (is_tandem ? front_end : "system");
}
inline std::string preload() {
    return std::string("allocator/libtandem_") + front_end + ".so";
}

}  // namespace variant

#endif  // TESTS_PROCESS_VARIANT_H_
