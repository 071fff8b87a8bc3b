// The back end under the middle end, in the tests' hand: spans lie in memory of the test's own, one behind the other,
// so that their order is known, and run out when told to.
#ifndef TESTS_MIDDLE_FAKE_BACKEND_H_
#define TESTS_MIDDLE_FAKE_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

struct td_span;

namespace fake_backend {

// Spans that the middle end has now, in the order in which it asked for them.
std::vector<const struct td_span *> spans();

// Spans fail once so many more were handed out; SIZE_MAX for never.
void limit_spans(size_t count);
// Called once, while the next span is made: what another thread does meanwhile.
void while_making_a_span(std::function<void()> action);
// As limit_spans, for td_metadata_alloc.
void limit_metadata(size_t count);

void set_clock_ms(uint64_t ms);

struct range {
    uintptr_t start;
    size_t bytes;
};

// What td_backend_purge_pages was given since this was called last, what it refused included.
std::vector<range> take_purged();
// Whether it refuses everything, until told otherwise.
void refuse_purges(bool refuses);
// Called at the next td_backend_purge_pages: what another thread does meanwhile.
void while_purging(std::function<void()> action);

// The spans, by their start, of which td_backend_note_reuse was told since this was called last, and how many bytes.
std::vector<range> take_reused();
// As if all segments had been made hugepages of: what went before is there again.
void rebuild_hugepages();

// The argument of the last td_backend_maintain, 0 if there was none.
uint64_t maintained_ms();

// Between fork handlers, how many more prepares than dones there were.
int forks_prepared();

}  // namespace fake_backend

#endif  // TESTS_MIDDLE_FAKE_BACKEND_H_
