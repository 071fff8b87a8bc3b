// The operating system under the back end, in the tests' hand: memory is real, but the clock stands still, every call
// is recorded, and those that a test names fail.
#ifndef TESTS_BACKEND_FAKE_OS_H_
#define TESTS_BACKEND_FAKE_OS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace fake_os {

struct range {
    uintptr_t begin;
    size_t bytes;
};

// Everything that is mapped, segments and metadata. Ordered by address; neighbours are not joined.
std::vector<range> mapped();
// Whether all of the range is mapped.
bool is_mapped(uintptr_t begin, size_t bytes);

// The successful calls of td_os_purge since the last `forget_purges`.
std::vector<range> purges();
size_t purged_bytes();
// Those that failed since then.
std::vector<range> refused_purges();
void forget_purges();

// The segments that td_os_collapse was asked to make hugepages of since this was called last, what failed included.
std::vector<uintptr_t> take_collapses();
// Whether the last advice for the byte was for hugepages.
bool wants_hugepages(uintptr_t address);

void set_clock_ms(uint64_t ms);

// 4 KiB unless told otherwise; for what is purged only.
void set_page_bytes(size_t bytes);

// What fails until told otherwise.
void fail_purges(bool fails);
void fail_unmaps(bool fails);
void fail_collapses(bool fails);
// Nothing in the segment of `pointer` can be given back, as with mlock(2); nullptr for none.
void lock_segment_of(const void *pointer);
enum class moves {
    succeed,
    are_unknown,          // to the kernel
    are_refused,          // as where a part has other protection
    give_the_target_away  // at the second one: another thread of the program maps memory there, full of 0xaa
};
void let_moves(moves what);
// What the target of a move was that was given away; 0 if there was none.
uintptr_t given_away();
// Mappings fail once so many more bytes would be mapped; SIZE_MAX for never.
void limit_mapping(size_t bytes);
// The same, but what is unmapped may be mapped again, as with RLIMIT_AS.
void limit_address_space(size_t bytes);
// Where the next mapping lies, if nothing else does.
void place_next_mapping(uintptr_t begin);

// Called once, at the next td_os_purge, advice for hugepages or td_os_collapse: what another thread does meanwhile.
void while_purging(std::function<void()> action);
void while_advising(std::function<void()> action);
void while_collapsing(std::function<void()> action);

}  // namespace fake_os

#endif  // TESTS_BACKEND_FAKE_OS_H_
