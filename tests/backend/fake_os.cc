#include "tests/backend/fake_os.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

extern "C" {
#include "backend/os.h"
#include "base/lock.h"
}

namespace {

size_t os_page_bytes = 4096;

std::mutex mutex;
std::map<uintptr_t, size_t> mappings;        // guarded by mutex; bytes by begin
std::map<uintptr_t, bool> hugepage_advice;   // guarded by mutex; by segment
std::vector<fake_os::range> purge_calls;     // guarded by mutex
std::vector<fake_os::range> refused_calls;   // guarded by mutex; of td_os_purge
std::vector<uintptr_t> collapse_calls;       // guarded by mutex
uint64_t clock_ms = 1000;                    // guarded by mutex
uint64_t calls;                              // guarded by mutex
size_t bytes_left = SIZE_MAX;                // guarded by mutex
bool unmapping_makes_room;                   // guarded by mutex
uintptr_t next_place;                        // guarded by mutex; 0: the kernel chooses
std::function<void()> during_next_purge;     // guarded by mutex
std::function<void()> during_next_advice;    // guarded by mutex
std::function<void()> during_next_collapse;  // guarded by mutex
bool purges_fail;                            // guarded by mutex
bool unmaps_fail;                            // guarded by mutex
bool collapses_fail;                         // guarded by mutex
uintptr_t locked_segment;                    // guarded by mutex
fake_os::moves moves_do;                     // guarded by mutex
int move_calls;                              // guarded by mutex; since moves were told what to do
uintptr_t given_target;                      // guarded by mutex

uintptr_t address_of(const void *pointer) {
    return reinterpret_cast<uintptr_t>(pointer);
}

void *pointer_to(uintptr_t address) {
    return reinterpret_cast<void *>(address);
}

void count_call() {
    td_lock_check_none_held("a system call for memory under a lock");
    calls++;
}

// What another thread does during a call, once.
void let_others_act(std::unique_lock<std::mutex> *guard, std::function<void()> *during_next) {
    if (std::function<void()> action = std::exchange(*during_next, nullptr)) {
        guard->unlock();
        action();
        guard->lock();
    }
}

// Forgets what is known of a range; what reaches beyond it on either side is kept.
void forget_mapping(uintptr_t begin, size_t bytes) {
    uintptr_t end = begin + bytes;
    std::map<uintptr_t, size_t> kept;
    for (const auto &each : mappings) {
        uintptr_t each_end = each.first + each.second;
        if (each_end <= begin || each.first >= end) {
            kept[each.first] = each.second;
            continue;
        }
        if (each.first < begin) {
            kept[each.first] = begin - each.first;
        }
        if (each_end > end) {
            kept[end] = each_end - end;
        }
    }
    mappings = std::move(kept);
}

bool is_mapped_locked(uintptr_t begin, size_t bytes) {
    uintptr_t end = begin + bytes;
    for (const auto &each : mappings) {
        if (each.first <= begin && begin < each.first + each.second) {
            begin = each.first + each.second;
        }
    }
    return begin >= end;
}

// Whether a part of the range is in the locked segment.
bool overlaps_locked(uintptr_t begin, size_t bytes) {
    uintptr_t locked = locked_segment & -uintptr_t{TD_SEGMENT_BYTES};
    return locked != 0 && begin < locked + TD_SEGMENT_BYTES && locked < begin + bytes;
}

}  // namespace

std::vector<fake_os::range> fake_os::mapped() {
    std::lock_guard<std::mutex> guard(mutex);
    std::vector<range> result;
    for (const auto &each : mappings) {
        result.push_back({each.first, each.second});
    }
    return result;
}

bool fake_os::is_mapped(uintptr_t begin, size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    return is_mapped_locked(begin, bytes);
}

std::vector<fake_os::range> fake_os::purges() {
    std::lock_guard<std::mutex> guard(mutex);
    return purge_calls;
}

size_t fake_os::purged_bytes() {
    size_t bytes = 0;
    for (const range &each : purges()) {
        bytes += each.bytes;
    }
    return bytes;
}

std::vector<fake_os::range> fake_os::refused_purges() {
    std::lock_guard<std::mutex> guard(mutex);
    return refused_calls;
}

void fake_os::forget_purges() {
    std::lock_guard<std::mutex> guard(mutex);
    purge_calls.clear();
    refused_calls.clear();
}

std::vector<uintptr_t> fake_os::take_collapses() {
    std::lock_guard<std::mutex> guard(mutex);
    return std::exchange(collapse_calls, {});
}

bool fake_os::wants_hugepages(uintptr_t address) {
    std::lock_guard<std::mutex> guard(mutex);
    auto found = hugepage_advice.find(address / TD_SEGMENT_BYTES);
    return found != hugepage_advice.end() && found->second;
}

void fake_os::set_clock_ms(uint64_t ms) {
    std::lock_guard<std::mutex> guard(mutex);
    clock_ms = ms;
}

void fake_os::fail_purges(bool fails) {
    std::lock_guard<std::mutex> guard(mutex);
    purges_fail = fails;
}

void fake_os::fail_unmaps(bool fails) {
    std::lock_guard<std::mutex> guard(mutex);
    unmaps_fail = fails;
}

void fake_os::fail_collapses(bool fails) {
    std::lock_guard<std::mutex> guard(mutex);
    collapses_fail = fails;
}

void fake_os::lock_segment_of(const void *pointer) {
    std::lock_guard<std::mutex> guard(mutex);
    locked_segment = address_of(pointer);
}

void fake_os::set_page_bytes(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    os_page_bytes = bytes;
}

void fake_os::let_moves(moves what) {
    std::lock_guard<std::mutex> guard(mutex);
    moves_do = what;
    move_calls = 0;
}

uintptr_t fake_os::given_away() {
    std::lock_guard<std::mutex> guard(mutex);
    return given_target;
}

void fake_os::limit_mapping(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    bytes_left = bytes;
    unmapping_makes_room = false;
}

void fake_os::limit_address_space(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    bytes_left = bytes;
    unmapping_makes_room = true;
}

void fake_os::place_next_mapping(uintptr_t begin) {
    std::lock_guard<std::mutex> guard(mutex);
    next_place = begin;
}

void fake_os::while_purging(std::function<void()> action) {
    std::lock_guard<std::mutex> guard(mutex);
    during_next_purge = std::move(action);
}

void fake_os::while_advising(std::function<void()> action) {
    std::lock_guard<std::mutex> guard(mutex);
    during_next_advice = std::move(action);
}

void fake_os::while_collapsing(std::function<void()> action) {
    std::lock_guard<std::mutex> guard(mutex);
    during_next_collapse = std::move(action);
}

size_t td_os_page_bytes(void) {
    std::lock_guard<std::mutex> guard(mutex);
    return os_page_bytes;
}

void *td_os_map(size_t bytes, size_t alignment) {
    std::lock_guard<std::mutex> guard(mutex);
    count_call();
    if (bytes > bytes_left || bytes + alignment < bytes) {
        return nullptr;
    }
    void *place = pointer_to(std::exchange(next_place, 0));
    void *memory =
        mmap(place, bytes + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return nullptr;
    }
    size_t head = -address_of(memory) & (alignment - 1);
    uintptr_t begin = address_of(memory) + head;
    if (head != 0) {
        munmap(memory, head);
    }
    munmap(pointer_to(begin + bytes), alignment - head);
    mappings[begin] = bytes;
    bytes_left -= bytes_left != SIZE_MAX ? bytes : 0;
    return pointer_to(begin);
}

int td_os_unmap(void *address, size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    count_call();
    if (unmaps_fail) {
        return -ENOMEM;
    }
    munmap(address, bytes);
    forget_mapping(address_of(address), bytes);
    bytes_left += unmapping_makes_room ? bytes : 0;
    return 0;
}

int td_os_purge(void *address, size_t bytes) {
    std::unique_lock<std::mutex> guard(mutex);
    let_others_act(&guard, &during_next_purge);
    count_call();
    bool whole_pages = (address_of(address) | bytes) % os_page_bytes == 0;
    uintptr_t locked = locked_segment & -uintptr_t{TD_SEGMENT_BYTES};
    bool is_locked = overlaps_locked(address_of(address), bytes);
    if (is_locked && locked > address_of(address)) {
        madvise(address, locked - address_of(address), MADV_DONTNEED);  // what lies before has gone nevertheless
    }
    if (purges_fail || is_locked || !whole_pages || !is_mapped_locked(address_of(address), bytes)) {
        refused_calls.push_back({address_of(address), bytes});
        return -EINVAL;
    }
    madvise(address, bytes, MADV_DONTNEED);
    purge_calls.push_back({address_of(address), bytes});
    return 0;
}

bool td_os_is_locked(void *address, size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    count_call();
    return overlaps_locked(address_of(address), bytes);
}

bool td_os_is_resident(void *address) {
    std::lock_guard<std::mutex> guard(mutex);
    count_call();
    unsigned char vector;
    auto page = address_of(address) & -uintptr_t{4096};
    return mincore(reinterpret_cast<void *>(page), 4096, &vector) != 0 || (vector & 1) != 0;
}

void *td_os_find_place(size_t bytes) {
    void *memory = td_os_map(bytes, bytes);
    if (memory != nullptr) {
        td_os_unmap(memory, bytes);
    }
    return memory;
}

int td_os_move(void *from, void *to, size_t bytes, void *) {
    std::lock_guard<std::mutex> guard(mutex);
    count_call();
    move_calls++;
    if (moves_do == fake_os::moves::give_the_target_away && move_calls == 2) {
        memset(to, 0xaa, bytes);
        forget_mapping(address_of(to), bytes);
        given_target = address_of(to);
        return -ENOTRECOVERABLE;
    }
    if (moves_do == fake_os::moves::are_refused) {
        return -EFAULT;
    }
    bool both_mapped = is_mapped_locked(address_of(from), bytes) && is_mapped_locked(address_of(to), bytes);
    if (moves_do == fake_os::moves::are_unknown || !both_mapped) {
        return -EINVAL;
    }
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    hugepage_advice[address_of(to) / TD_SEGMENT_BYTES] = hugepage_advice[address_of(from) / TD_SEGMENT_BYTES];
    return mremap(from, bytes, bytes, flags, to) == MAP_FAILED ? -errno : 0;
}

void td_os_advise_hugepages(void *address, size_t bytes, bool wanted) {
    std::unique_lock<std::mutex> guard(mutex);
    if (wanted) {
        let_others_act(&guard, &during_next_advice);
    }
    count_call();
    for (size_t offset = 0; offset < bytes; offset += TD_SEGMENT_BYTES) {
        hugepage_advice[(address_of(address) + offset) / TD_SEGMENT_BYTES] = wanted;
    }
}

int td_os_collapse(void *address, size_t bytes) {
    std::unique_lock<std::mutex> guard(mutex);
    let_others_act(&guard, &during_next_collapse);
    count_call();
    collapse_calls.push_back(address_of(address));
    bool may_collapse = !collapses_fail && bytes == TD_SEGMENT_BYTES && address_of(address) % bytes == 0 &&
                        is_mapped_locked(address_of(address), bytes);
    hugepage_advice[address_of(address) / TD_SEGMENT_BYTES] = may_collapse;
    return may_collapse ? 0 : -EAGAIN;
}

uint64_t td_os_clock_ms(void) {
    std::lock_guard<std::mutex> guard(mutex);
    return clock_ms;
}

uint64_t td_os_call_count(void) {
    std::lock_guard<std::mutex> guard(mutex);
    return calls;
}
