// The middle end under a slab, in the tests' hand: it knows of every object where it is, fails the running test when
// one is returned that is not out, and runs out of objects when told to.
#ifndef TESTS_FRONTENDS_FAKE_MIDDLE_H_
#define TESTS_FRONTENDS_FAKE_MIDDLE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace fake_middle {

// Objects of the class that were fetched and not returned.
size_t objects_out(size_t class_index);

// Calls since the start.
size_t fetches();
size_t returns();

// Done at each return of objects, from now on.
void during_returns(std::function<void()> action);

// What `td_middle_span_bytes` says, from now on; 0 at first.
void set_span_bytes(size_t bytes);
// What its clock says, from now on; 0 at first.
void set_clock_ms(uint64_t now_ms);

// Fetches fail once so many more objects are out; SIZE_MAX for never.
void limit_objects(size_t count);
// The next `count` fetches fail.
void fail_fetches(size_t count);

// How often the slab asked for what belongs to the front end around it.
size_t maintenances();
size_t drains();
size_t new_failures();

}  // namespace fake_middle

#endif  // TESTS_FRONTENDS_FAKE_MIDDLE_H_
