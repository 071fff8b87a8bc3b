#include "tests/middle/fake_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

extern "C" {
#include "backend/backend.h"
#include "backend/metadata.h"
#include "backend/os.h"
#include "base/fatal.h"
#include "base/size_class.h"
}

namespace {

struct fake_span {
    struct td_span span;
    std::vector<uint64_t> bits;
};

std::vector<std::unique_ptr<fake_span>> spans_out;  // as they were asked for, and by address
size_t spans_left = SIZE_MAX;
size_t metadata_left = SIZE_MAX;
std::function<void()> during_next_span;
std::function<void()> during_next_purge;
std::vector<fake_backend::range> purged;
bool purges_fail;
std::vector<fake_backend::range> reused;
uint8_t rebuilds;
uint64_t clock_ms = 1000;
uint64_t last_maintained_ms;
int prepared;

// Address space that nothing else lies in; spans take it from the front and never a second time.
uintptr_t next_address(size_t bytes) {
    constexpr size_t arena_bytes = size_t{64} << 30;
    static uintptr_t next = reinterpret_cast<uintptr_t>(
        mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    constexpr uintptr_t alignment = TD_MAX_SMALL_BYTES;
    next = (next + alignment - 1) & ~(alignment - 1);
    uintptr_t address = next;
    next += bytes;
    return address;
}

// The first span that begins behind the address.
std::vector<std::unique_ptr<fake_span>>::iterator first_behind(uintptr_t address) {
    return std::upper_bound(
        spans_out.begin(), spans_out.end(), address,
        [](uintptr_t sought, const std::unique_ptr<fake_span> &each) { return sought < each->span.start; });
}

}  // namespace

std::vector<const struct td_span *> fake_backend::spans() {
    std::vector<const struct td_span *> result;
    for (const auto &each : spans_out) {
        result.push_back(&each->span);
    }
    return result;
}

void fake_backend::limit_spans(size_t count) {
    spans_left = count;
}

void fake_backend::while_making_a_span(std::function<void()> action) {
    during_next_span = std::move(action);
}

void fake_backend::limit_metadata(size_t count) {
    metadata_left = count;
}

void fake_backend::set_clock_ms(uint64_t ms) {
    clock_ms = ms;
}

std::vector<fake_backend::range> fake_backend::take_purged() {
    return std::exchange(purged, {});
}

void fake_backend::refuse_purges(bool refuses) {
    purges_fail = refuses;
}

void fake_backend::while_purging(std::function<void()> action) {
    during_next_purge = std::move(action);
}

std::vector<fake_backend::range> fake_backend::take_reused() {
    return std::exchange(reused, {});
}

void fake_backend::rebuild_hugepages() {
    rebuilds = static_cast<uint8_t>((rebuilds + 1) % TD_REBUILDS);
}

uint64_t fake_backend::maintained_ms() {
    return last_maintained_ms;
}

int fake_backend::forks_prepared() {
    return prepared;
}

struct td_span *td_backend_alloc_span(size_t class_index) {
    if (std::function<void()> action = std::exchange(during_next_span, nullptr)) {
        action();
    }
    if (spans_left == 0) {
        errno = ENOMEM;
        return nullptr;
    }
    spans_left -= spans_left != SIZE_MAX;
    const struct td_class_info &info = td_class_info[class_index];
    std::unique_ptr<fake_span> made(new fake_span());
    // Whatever the span before left: the middle end sets the bits itself.
    made->bits.assign(info.span_objects / 64 + 1, 0x5555555555555555u);
    made->span.start = next_address(info.span_pages * TD_PAGE_BYTES);
    made->span.pages = info.span_pages;
    made->span.class_index = static_cast<uint8_t>(class_index);
    made->span.state = TD_SPAN_SMALL;
    made->span.free_bits = made->bits.data();
    spans_out.push_back(std::move(made));
    return &spans_out.back()->span;
}

void td_backend_free_span(struct td_span *span) {
    auto found = first_behind(span->start);
    if (found == spans_out.begin() || &(*--found)->span != span) {
        abort();
    }
    spans_out.erase(found);
}

struct td_span *td_backend_span_of(const void *pointer, const char *call) {
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    auto found = first_behind(address);
    if (found == spans_out.begin()) {
        td_fatal_foreign(call, pointer);
    }
    struct td_span *span = &(*--found)->span;
    if (address >= span->start + span->pages * TD_PAGE_BYTES) {
        td_fatal_foreign(call, pointer);
    }
    return span;
}

size_t td_backend_purge(size_t bytes) {
    (void)bytes;
    return 0;
}

size_t td_backend_purge_pages(uintptr_t address, size_t bytes) {
    purged.push_back({address, bytes});
    if (during_next_purge) {
        std::exchange(during_next_purge, nullptr)();
    }
    return purges_fail ? 0 : bytes;
}

void td_backend_note_reuse(struct td_span *span, size_t bytes) {
    reused.push_back({span->start, bytes});
}

uint8_t td_backend_rebuilds(const struct td_span *) {
    return rebuilds;
}

size_t td_backend_small_bytes(void) {
    size_t bytes = 0;
    for (const auto &each : spans_out) {
        bytes += each->span.pages * TD_PAGE_BYTES;
    }
    return bytes;
}

uint64_t td_backend_decay_ms(void) {
    return TD_DECAY_MS_DEFAULT;
}

size_t td_os_page_bytes(void) {
    return 4096;
}

void td_backend_maintain(uint64_t now_ms) {
    last_maintained_ms = now_ms;
}

void td_backend_fork_prepare(void) {
    prepared++;
}

void td_backend_fork_done(void) {
    prepared--;
}

void td_backend_check(void) {}

void *td_metadata_alloc(size_t bytes, size_t alignment) {
    if (metadata_left == 0) {
        return nullptr;
    }
    metadata_left -= metadata_left != SIZE_MAX;
    size_t room = (bytes + alignment - 1) / alignment * alignment;
    void *memory = aligned_alloc(std::max(alignment, sizeof(void *)), room);
    std::fill_n(static_cast<char *>(memory), bytes, 0);
    return memory;
}

uint64_t td_os_clock_ms(void) {
    return clock_ms;
}
