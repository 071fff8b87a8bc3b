// Tandem's statistics: that they add up, follow what the program does, and can be read by machines.
#include <algorithm>
#include <cstring>
#include <map>
#include <sstream>
#include <thread>

#include "tests/api/every_allocation.h"
#include "tests/process/child.h"
#include "gtest/gtest.h"

namespace {

class stats : public testing::Test {
    void SetUp() override {
        if (!variant_is_tandem) {
            GTEST_SKIP() << "Tandem's own";
        }
    }
};

struct tandem_stats get_stats() {
    struct tandem_stats stats;
    memset(&stats, 0xff, sizeof stats);
    tandem_get_stats(&stats, sizeof stats);
    return stats;
}

uint64_t sum_of_parts(const struct tandem_stats &stats) {
    return stats.live_bytes + stats.cached_bytes + stats.free_bytes + stats.fresh_bytes + stats.waste_bytes +
           stats.metadata_bytes;
}

// `live_bytes` is what the program holds: what a cache has lost would count as live.
void expect_adds_up(uint64_t live_bytes, const char *when) {
    struct tandem_stats stats = get_stats();
    EXPECT_EQ(stats.live_bytes, live_bytes) << when;
    EXPECT_EQ(sum_of_parts(stats), stats.mapped_bytes) << when;
    EXPECT_GE(stats.peak_mapped_bytes, stats.mapped_bytes) << when;
    for (uint64_t part : {stats.live_bytes, stats.cached_bytes, stats.free_bytes, stats.fresh_bytes, stats.waste_bytes,
                          stats.metadata_bytes}) {
        EXPECT_LE(part, stats.mapped_bytes) << when;
    }
}

std::vector<void *> allocate_many(size_t size, size_t count) {
    std::vector<void *> objects(count);
    for (void *&object : objects) {
        object = opaque(malloc(size));
        static_cast<char *>(object)[0] = 1;
    }
    return objects;
}

void free_all(const std::vector<void *> &objects) {
    for (void *object : objects) {
        free(object);
    }
}

// What live objects take, and the vector's own memory.
uint64_t bytes_of(const std::vector<void *> &objects) {
    uint64_t bytes = malloc_usable_size(const_cast<void **>(objects.data()));
    for (void *object : objects) {
        bytes += malloc_usable_size(object);
    }
    return bytes;
}

TEST_F(stats, a_caller_of_another_version_gets_what_both_know) {
    struct {
        struct tandem_stats stats;
        uint64_t behind[2];
    } longer;
    memset(&longer, 0xff, sizeof longer);
    tandem_get_stats(&longer.stats, sizeof longer.stats + sizeof longer.behind[0]);
    EXPECT_NE(longer.stats.mapped_bytes, 0u);
    EXPECT_EQ(longer.behind[0], 0u);
    EXPECT_EQ(longer.behind[1], UINT64_MAX);

    struct tandem_stats shorter;
    memset(&shorter, 0xff, sizeof shorter);
    tandem_get_stats(&shorter, offsetof(struct tandem_stats, mapped_bytes));
    EXPECT_NE(shorter.metadata_bytes, UINT64_MAX);
    EXPECT_EQ(shorter.mapped_bytes, UINT64_MAX);
}

TEST_F(stats, add_up_whatever_was_done) {
    const uint64_t before = get_stats().live_bytes;
    expect_adds_up(before, "at the start");
    for (size_t size : {1, 16, 100, 1000, 8000, 50000, 300000, 5000000}) {
        std::vector<void *> objects = allocate_many(size, 10 + 1000000 / size);
        expect_adds_up(before + bytes_of(objects), "after allocating");
        for (size_t i = 0; i < objects.size(); i += 3) {
            free(objects[i]);
            objects[i] = nullptr;
        }
        expect_adds_up(before + bytes_of(objects), "after freeing some");
        tandem_flush();
        expect_adds_up(before + bytes_of(objects), "after a flush");
        free_all(objects);
        std::fill(objects.begin(), objects.end(), nullptr);
        expect_adds_up(before + bytes_of(objects), "after freeing all");
        tandem_release_memory(1 << 20);
        expect_adds_up(before + bytes_of(objects), "after releasing some memory");
        tandem_release_memory(SIZE_MAX);
        expect_adds_up(before + bytes_of(objects), "after releasing all memory");
    }
    expect_adds_up(before, "at the end");
}

TEST_F(stats, add_up_after_realloc_and_alignment) {
    const uint64_t before = get_stats().live_bytes;
    void *grown = opaque(malloc(100));
    for (size_t size = 200; size < size_t{100} << 20; size *= 3) {
        grown = opaque(realloc(grown, size));
        expect_adds_up(before + malloc_usable_size(grown), "after growing");
        void *aligned = opaque(memalign(size_t{1} << 21, size));
        expect_adds_up(before + malloc_usable_size(grown) + malloc_usable_size(aligned), "with an aligned object");
        free(aligned);
        expect_adds_up(before + malloc_usable_size(grown), "without it");
    }
    for (size_t size = size_t{100} << 20; size > 10; size /= 4) {
        grown = opaque(realloc(grown, size));
        expect_adds_up(before + malloc_usable_size(grown), "after shrinking");
    }
    free(grown);
    expect_adds_up(before, "after all");
}

TEST_F(stats, add_up_after_threads) {
    std::thread([] {}).join();  // the C library keeps its stack, and what belongs to that
    const uint64_t before = get_stats().live_bytes;
    for (int round = 0; round < 10; round++) {
        std::vector<void *> objects;
        std::thread([&objects] {
            objects = allocate_many(300, 5000);
            free_all(allocate_many(70, 5000));
        }).join();
        expect_adds_up(before + bytes_of(objects), "after the thread's end");
        std::thread([&objects] { free_all(objects); }).join();
        std::fill(objects.begin(), objects.end(), nullptr);
        expect_adds_up(before + bytes_of(objects), "after the freeing thread's end");
    }
    expect_adds_up(before, "at the end");
}

TEST_F(stats, live_bytes_follow_every_object) {
    for (size_t size : {16, 64, 1000, 30000, 400000, 7000000}) {
        std::vector<void *> objects(20, nullptr);
        uint64_t before = get_stats().live_bytes;
        uint64_t expected = before;
        for (void *&object : objects) {
            object = opaque(malloc(size));
            expected += malloc_usable_size(object);
            EXPECT_EQ(get_stats().live_bytes, expected) << size;
        }
        for (void *object : objects) {
            expected -= malloc_usable_size(object);
            free(object);
            EXPECT_EQ(get_stats().live_bytes, expected) << size;
        }
        EXPECT_EQ(expected, before);
    }
}

TEST_F(stats, freed_objects_are_cached_and_flushed) {
    std::vector<void *> objects = allocate_many(64, 1000);
    free_all(objects);
    uint64_t cached = get_stats().cached_bytes;
    EXPECT_GT(cached, 0u);
    tandem_flush();
    tandem_release_memory(SIZE_MAX);
    EXPECT_LT(get_stats().cached_bytes, cached);
}

TEST_F(stats, counters_count) {
    struct tandem_stats before = get_stats();
    free_all(allocate_many(200, 100000));
    free(opaque(malloc(size_t{1} << 33)));  // nobody has that much left over
    tandem_flush();
    struct tandem_stats after = get_stats();
    EXPECT_GT(after.refills, before.refills);
    EXPECT_GT(after.flushes, before.flushes);
    EXPECT_GT(after.transfer_hits + after.transfer_misses, before.transfer_hits + before.transfer_misses);
    EXPECT_GT(after.central_locks, before.central_locks);
    EXPECT_GT(after.system_calls, before.system_calls);
    EXPECT_GT(after.segments, 0u);
    EXPECT_GT(after.slabs, 0u);
    EXPECT_GE(after.locks_contended, before.locks_contended);
    EXPECT_GE(after.remote_fences, before.remote_fences);
}

TEST_F(stats, purged_bytes_are_what_release_memory_returned) {
    tandem_release_memory(SIZE_MAX);
    free_all(allocate_many(5000, 20000));
    uint64_t before = get_stats().purged_bytes;
    size_t released = tandem_release_memory(SIZE_MAX);
    EXPECT_GE(released, size_t{80} << 20);
    EXPECT_EQ(get_stats().purged_bytes, before + released);
    EXPECT_LE(get_stats().free_bytes, size_t{8} << 20);
}

TEST_F(stats, release_memory_stops_at_what_was_asked_for) {
    tandem_release_memory(SIZE_MAX);
    free_all(allocate_many(5000, 20000));
    size_t released = tandem_release_memory(size_t{10} << 20);
    EXPECT_GE(released, size_t{10} << 20);
    EXPECT_LE(released, size_t{50} << 20);
    EXPECT_EQ(tandem_release_memory(0), 0u);
}

using print_function = size_t (*)(char *buffer, size_t capacity);

class printed_stats : public testing::TestWithParam<print_function> {
    void SetUp() override {
        if (!variant_is_tandem) {
            GTEST_SKIP() << "Tandem's own";
        }
    }
};

// Digits differ from one call to the next: asking for statistics is counted too.
void mask_digits(char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        text[i] = text[i] >= '0' && text[i] <= '9' ? '0' : text[i];
    }
}

TEST_P(printed_stats, are_cut_as_snprintf_does) {
    static char whole[1 << 20];
    static char part[1 << 20];
    for (int shift : {-1000000, -300, -10, -1, 0, 1, 2}) {
        size_t length = GetParam()(whole, sizeof whole);
        ASSERT_GT(length, 400u);
        ASSERT_LT(length + 10, sizeof whole);
        EXPECT_EQ(strlen(whole), length);
        size_t capacity = shift == -1000000 ? 1 : length + static_cast<size_t>(shift);
        memset(part, '#', sizeof part);
        size_t length_now = GetParam()(part, capacity);
        ASSERT_TRUE(length_now == length || length_now == length + 1) << "a counter may have got one more digit";
        if (length_now == length) {
            size_t kept = capacity <= length ? capacity - 1 : length;
            mask_digits(part, kept);
            mask_digits(whole, kept);
            EXPECT_EQ(memcmp(part, whole, kept), 0) << capacity;
            EXPECT_EQ(part[kept], '\0') << capacity;
            EXPECT_EQ(part[kept + 1], '#') << capacity;
        }
    }
}

TEST_P(printed_stats, have_a_length_without_a_buffer) {
    static char whole[1 << 20];
    size_t least = GetParam()(whole, sizeof whole);
    char untouched = '#';
    EXPECT_GE(GetParam()(&untouched, 0), least);
    EXPECT_EQ(untouched, '#');
    EXPECT_LE(GetParam()(nullptr, 0), least + 3);
}

TEST_P(printed_stats, allocate_nothing) {
    static char buffer[1 << 20];
    struct tandem_stats before = get_stats();
    for (int i = 0; i < 100; i++) {
        GetParam()(buffer, sizeof buffer);
    }
    struct tandem_stats after = get_stats();
    EXPECT_EQ(before.live_bytes, after.live_bytes);
    EXPECT_EQ(before.cached_bytes, after.cached_bytes);
    EXPECT_EQ(before.mapped_bytes, after.mapped_bytes);
    EXPECT_EQ(before.refills, after.refills);
    EXPECT_EQ(before.system_calls, after.system_calls);
}

INSTANTIATE_TEST_SUITE_P(text_and_json, printed_stats, testing::Values(tandem_stats_text, tandem_stats_json),
                         [](const auto &each) { return std::string(each.index == 0 ? "text" : "json"); });

// The fields of `struct tandem_stats` by name.
std::map<std::string, uint64_t> fields_of(const struct tandem_stats &stats) {
    return {
        {"live_bytes", stats.live_bytes},
        {"cached_bytes", stats.cached_bytes},
        {"free_bytes", stats.free_bytes},
        {"fresh_bytes", stats.fresh_bytes},
        {"waste_bytes", stats.waste_bytes},
        {"metadata_bytes", stats.metadata_bytes},
        {"mapped_bytes", stats.mapped_bytes},
        {"peak_mapped_bytes", stats.peak_mapped_bytes},
        {"segments", stats.segments},
        {"slabs", stats.slabs},
        {"refills", stats.refills},
        {"flushes", stats.flushes},
        {"transfer_hits", stats.transfer_hits},
        {"transfer_misses", stats.transfer_misses},
        {"central_locks", stats.central_locks},
        {"locks_contended", stats.locks_contended},
        {"system_calls", stats.system_calls},
        {"remote_fences", stats.remote_fences},
        {"purged_bytes", stats.purged_bytes},
        {"hugepages_rebuilt", stats.hugepages_rebuilt},
    };
}

// Every number and string of a JSON document by its key, the outermost of each name; fails if it is no JSON.
const char *const flatten_json = R"(
import json, sys

def flatten(level, found):
    deeper = []
    for value in level:
        if isinstance(value, list):
            deeper += value
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, (dict, list)):
                    deeper.append(inner)
                else:
                    found.setdefault(key, inner)
    if deeper:
        flatten(deeper, found)
    return found

root = json.load(sys.stdin)
assert isinstance(root, dict)
for key, value in flatten([root], {}).items():
    print(key + "=" + str(value))
)";

TEST_F(stats, json_holds_every_field) {
    static char json[1 << 20];
    std::vector<void *> objects = allocate_many(123, 10000);
    struct tandem_stats before = get_stats();
    size_t length = tandem_stats_json(json, sizeof json);
    struct tandem_stats after = get_stats();  // asking is counted too
    free_all(objects);
    ASSERT_LT(length, sizeof json);

    child::outcome parsed = child::run_program({"/usr/bin/python3", "-c", flatten_json}, json);
    ASSERT_TRUE(parsed.succeeded()) << parsed << "\nof " << json;
    std::map<std::string, std::string> found;
    std::istringstream lines(parsed.out);
    for (std::string line; std::getline(lines, line);) {
        found[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
    }
    std::map<std::string, uint64_t> most = fields_of(after);
    for (const auto &[name, least] : fields_of(before)) {
        ASSERT_TRUE(found.count(name)) << name << " is missing";
        uint64_t value = std::stoull(found[name]);
        EXPECT_TRUE(least <= value && value <= most[name])
            << name << ": " << least << ' ' << value << ' ' << most[name];
    }
    EXPECT_EQ(found["live_bytes"], std::to_string(before.live_bytes));
    EXPECT_EQ(found["mapped_bytes"], std::to_string(before.mapped_bytes));
    EXPECT_EQ(found["version"], TANDEM_VERSION) << json;
    EXPECT_EQ(found["front_end"], tandem_front_end()) << json;
    EXPECT_EQ(found["mode"], tandem_mode()) << json;
    EXPECT_EQ(found["index"], tandem_index()) << json;
}

TEST_F(stats, text_names_the_front_end_and_its_mode) {
    static char buffer[1 << 20];
    tandem_stats_text(buffer, sizeof buffer);
    const std::string text = buffer;
    for (const char *part :
         {tandem_version(), tandem_front_end(), tandem_mode(), tandem_index(), tandem_mode_reason()}) {
        EXPECT_NE(text.find(part), std::string::npos) << '"' << part << "\" is missing in " << text;
    }
    EXPECT_EQ(text.back(), '\n');
}

}  // namespace
