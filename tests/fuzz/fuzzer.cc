#include "tests/fuzz/fuzzer.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <new>

#include <malloc.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/variant/variant.h"

namespace fuzz {

bool mailbox::put(const object &object) {
    slot *free_slot = &slots_[next_put_.fetch_add(1, std::memory_order_relaxed) % slot_count];
    int expected = state_empty;
    if (!free_slot->state.compare_exchange_strong(expected, state_busy, std::memory_order_acquire)) {
        return false;
    }
    free_slot->left = object;
    free_slot->state.store(state_full, std::memory_order_release);
    return true;
}

bool mailbox::take(object *object) {
    slot *full_slot = &slots_[next_take_.fetch_add(1, std::memory_order_relaxed) % slot_count];
    int expected = state_full;
    if (!full_slot->state.compare_exchange_strong(expected, state_busy, std::memory_order_acquire)) {
        return false;
    }
    *object = full_slot->left;
    full_slot->state.store(state_empty, std::memory_order_release);
    return true;
}

namespace {

struct tandem_stats stats_now() {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    return stats;
}

}  // namespace

fuzzer::fuzzer(const settings &settings)
    : settings_(settings), state_(settings.seed * 0x9e3779b97f4a7c15u + 1), objects_(settings.max_objects + 1),
      live_bytes_before_(stats_now().live_bytes) {}

uint64_t fuzzer::random() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1du >> 20;
}

// Mostly small sizes, some beside powers of two, few large ones.
size_t fuzzer::random_size() {
    size_t kind = random_below(100);
    if (kind < 60) {
        return random_below(300);
    }
    if (kind < 80) {
        return random_below(size_t{16} << random_below(12));
    }
    if (kind < 95) {
        size_t power = size_t{16} << random_below(15);
        return power - 9 + random_below(19);
    }
    return random_below(std::min(settings_.max_size, size_t{1} << (12 + random_below(12)))) + 1;
}

size_t fuzzer::random_alignment() {
    return random_below(50) == 0 ? size_t{1} << random_below(22) : size_t{8} << random_below(9);
}

bool fuzzer::fail(const char *what, const char *when, const object &object) {
    char text[400];
    snprintf(text, sizeof text,
             "%s: the object at %p of %zu bytes (usable %zu, alignment %zu) %s; seed %" PRIu64 ", step %" PRIu64, when,
             object.pointer, object.size, object.usable, object.alignment, what, settings_.seed, steps_);
    failure_ = text;
    return false;
}

bool fuzzer::is_whole(const object &object, const char *when) {
    if (!is_filled(object, object.size)) {
        return fail("has changed", when, object);
    }
    if (malloc_usable_size(object.pointer) != object.usable) {
        return fail("has another usable size now", when, object);
    }
    return true;
}

// Checks a fresh object, fills it and gives it to the model.
bool fuzzer::take_in(object *object, const char *made_by, bool must_be_zero) {
    if (object->pointer == nullptr) {
        return fail("is missing", made_by, *object);
    }
    object->usable = malloc_usable_size(object->pointer);
    const char *flaw = flaw_of_fresh(*object, must_be_zero);
    if (flaw != nullptr) {
        return fail(flaw, made_by, *object);
    }
    object->seed = random();
    if (!objects_.insert(*object)) {
        return fail("overlaps another", made_by, *object);
    }
    fill(*object);
    return true;
}

bool fuzzer::allocate() {
    ways_to_allocate ways = every_way_to_allocate();
    const way_to_allocate &way = ways.begin[random_below(ways.count)];
    object fresh;
    fresh.size = random_size();
    fresh.alignment = way.takes_alignment ? random_alignment() : 0;
    fresh.made_by = way.made_by;
    fresh.pointer = opaque(way.allocate(fresh.size, fresh.alignment));
    return take_in(&fresh, way.name, way.zeroes);
}

bool fuzzer::release(size_t index) {
    object object = objects_.remove(index);
    ways_to_free ways = every_way_to_free(object.made_by);
    const way_to_free &way = ways.begin[random_below(ways.count)];
    if (!is_whole(object, way.name)) {
        return false;
    }
    opaque(object.pointer);
    way.release(object);
    return true;
}

bool fuzzer::reallocate(size_t index) {
    family made_by = objects_.at(index).made_by;
    if (made_by != family::c && made_by != family::c_aligned && made_by != family::c_pages) {
        return check_one(index);
    }
    object object = objects_.remove(index);
    if (!is_whole(object, "before realloc")) {
        return false;
    }
    fuzz::object moved = object;
    moved.size = random_below(3) == 0 ? random_size() : object.size / 2 + random_below(object.size + 16);
    moved.size = std::max(moved.size, size_t{1});
    moved.alignment = 0;
    moved.made_by = family::c;
    moved.pointer = random_below(2) == 0 ? opaque(realloc(opaque(object.pointer), moved.size))
                                         : opaque(reallocarray(opaque(object.pointer), moved.size, 1));
    if (moved.pointer == nullptr) {
        return fail("is missing", "after realloc", moved);
    }
    object.pointer = moved.pointer;
    if (!is_filled(object, std::min(object.size, moved.size))) {
        return fail("has lost its contents", "after realloc", object);
    }
    return take_in(&moved, "realloc", false);
}

bool fuzzer::check_one(size_t index) {
    return is_whole(objects_.at(index), "in between");
}

bool fuzzer::hand_over(size_t index) {
    if (settings_.mail == nullptr) {
        return check_one(index);
    }
    object object = objects_.remove(index);
    if (settings_.mail->put(object)) {
        return true;
    }
    return objects_.insert(object) || fail("overlaps another", "coming back", object);
}

bool fuzzer::receive() {
    object object;
    if (settings_.mail == nullptr || objects_.is_full() || !settings_.mail->take(&object)) {
        return true;
    }
    if (!is_whole(object, "handed over")) {
        return false;
    }
    return objects_.insert(object) || fail("overlaps another", "handed over", object);
}

// An object that a cache has lost counts as one that the program holds.
bool fuzzer::none_is_lost() {
    struct tandem_stats stats = stats_now();
    uint64_t sum = stats.live_bytes + stats.cached_bytes + stats.free_bytes + stats.fresh_bytes + stats.waste_bytes +
                   stats.metadata_bytes;
    if (sum != stats.mapped_bytes) {
        return fail("saw statistics that do not add up", "in between", object());
    }
    if (variant_is_tandem && stats.live_bytes != live_bytes_before_ + objects_.usable_bytes()) {
        return fail("saw other bytes live than the walk's and those from before it", "in between", object());
    }
    return true;
}

// What happens now and then.
bool fuzzer::disturb() {
    switch (random_below(12)) {
    case 0:
        tandem_release_memory(random_below(2) == 0 ? SIZE_MAX : random_below(size_t{4} << 20));
        return true;
    case 1:
        malloc_trim(0);
        return true;
    case 2: {
        struct mallinfo2 info = mallinfo2();
        opaque(info.arena);
        return true;
    }
    case 3:
        return !settings_.is_alone || none_is_lost();
    case 4:
        is_growing_ = !is_growing_;
        return true;
    case 5:
        return opaque(malloc(opaque(SIZE_MAX / 2 + random()))) == nullptr;
    default:
        tandem_flush();
        return true;
    }
}

bool fuzzer::step() {
    steps_++;
    if (random_below(10000) == 0 && !disturb()) {
        return !failure_.empty() ? false : fail("appeared where none could", "impossible size", object());
    }
    bool has_room = objects_.count() < settings_.max_objects && objects_.live_bytes() < settings_.max_live_bytes;
    if (objects_.count() == 0 || (has_room && random_below(100) < (is_growing_ ? 55 : 35))) {
        return allocate();
    }
    size_t index = random_below(objects_.count());
    size_t action = random_below(100);
    if (action < 65 || !has_room) {
        return release(index);
    }
    if (action < 80) {
        return reallocate(index);
    }
    if (action < 88) {
        return hand_over(index);
    }
    return action < 96 ? receive() : check_one(index);
}

bool fuzzer::run(size_t steps) {
    for (size_t i = 0; i < steps; i++) {
        if (!step()) {
            return false;
        }
    }
    return true;
}

bool fuzzer::finish() {
    object left;
    while (objects_.count() > 0) {
        if (!release(objects_.count() - 1)) {
            return false;
        }
    }
    for (size_t i = 0; settings_.mail != nullptr && i < mailbox::slot_count; i++) {
        if (settings_.mail->take(&left) && (!objects_.insert(left) || !release(0))) {
            return failure_.empty() ? fail("overlaps another", "at the end", left) : false;
        }
    }
    return true;
}

}  // namespace fuzz
