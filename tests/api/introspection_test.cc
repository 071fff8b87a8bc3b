// What glibc's allocator tells about itself: mallinfo, malloc_info, malloc_stats, malloc_trim, mallopt.
#include <cstdio>
#include <cstring>

#include <unistd.h>

#include "tests/api/every_allocation.h"
#include "tests/process/child.h"
#include "gtest/gtest.h"

namespace {

size_t bytes_in_use(const struct mallinfo2 &info) {
    return info.uordblks + info.hblkhd;
}

size_t resident_bytes() {
    FILE *file = fopen("/proc/self/statm", "r");
    size_t total = 0;
    size_t resident = 0;
    EXPECT_EQ(fscanf(file, "%zu %zu", &total, &resident), 2);
    fclose(file);
    return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Fills `objects` with fresh objects of one size, each written to.
void allocate_all(std::vector<void *> *objects, size_t size) {
    for (void *&object : *objects) {
        object = opaque(malloc(size));
        memset(object, 1, size);
    }
}

// Objects of one size that fill about `bytes`.
std::vector<void *> allocate_many(size_t size, size_t bytes) {
    std::vector<void *> objects(bytes / size);
    allocate_all(&objects, size);
    return objects;
}

void free_all(const std::vector<void *> &objects) {
    for (void *object : objects) {
        free(object);
    }
}

TEST(mallinfo2, counts_what_is_allocated_and_freed) {
    for (size_t size : {64, 3000, 50000, 4000000}) {
        constexpr size_t bytes = size_t{40} << 20;
        std::vector<void *> objects(bytes / size);
        size_t before = bytes_in_use(mallinfo2());
        allocate_all(&objects, size);
        size_t during = bytes_in_use(mallinfo2());
        free_all(objects);
        size_t after = bytes_in_use(mallinfo2());
        EXPECT_GE(during, before + bytes / 10 * 9) << size;
        EXPECT_LE(during, before + bytes / 10 * 13) << size;
        EXPECT_LE(after, before + bytes / 10) << size;
    }
}

TEST(mallinfo2, fields_fit_together) {
    std::vector<void *> objects = allocate_many(500, size_t{10} << 20);
    for (size_t i = 0; i < objects.size(); i += 2) {
        free(objects[i]);
        objects[i] = nullptr;
    }
    struct mallinfo2 info = mallinfo2();
    EXPECT_GE(info.uordblks + info.hblkhd, size_t{4} << 20);
    EXPECT_GE(info.fordblks, size_t{1} << 20) << "free bytes";
    EXPECT_GE(info.arena + info.hblkhd, size_t{9} << 20) << "bytes from the system";
    EXPECT_LE(info.uordblks + info.fordblks, info.arena + info.hblkhd);
    EXPECT_LE(info.keepcost, info.arena);
    EXPECT_EQ(info.usmblks, 0u) << "unused, says the manual";
    free_all(objects);
}

TEST(mallinfo, is_mallinfo2_in_ints) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    struct mallinfo2 wide = mallinfo2();
    EXPECT_EQ(narrow.arena, static_cast<int>(wide.arena));
    EXPECT_EQ(narrow.ordblks, static_cast<int>(wide.ordblks));
    EXPECT_EQ(narrow.hblks, static_cast<int>(wide.hblks));
    EXPECT_EQ(narrow.hblkhd, static_cast<int>(wide.hblkhd));
    EXPECT_EQ(narrow.uordblks, static_cast<int>(wide.uordblks));
    EXPECT_EQ(narrow.fordblks, static_cast<int>(wide.fordblks));
    EXPECT_EQ(narrow.keepcost, static_cast<int>(wide.keepcost));
}

// Writes malloc_info to a string.
std::string malloc_info_text(int options, int *result) {
    char *text = nullptr;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    *result = malloc_info(options, stream);
    fclose(stream);
    std::string copy(text, size);
    free(text);
    return copy;
}

TEST(malloc_info, is_well_formed_xml) {
    std::vector<void *> objects = allocate_many(100, 100000);
    int result = -1;
    std::string text = malloc_info_text(0, &result);
    free_all(objects);
    EXPECT_EQ(result, 0);
    child::outcome parsed = child::run_program({"/usr/bin/python3", "-c", R"(
import sys, xml.etree.ElementTree as tree
root = tree.fromstring(sys.stdin.read())
print(root.tag, "version" in root.attrib, len(list(root)) > 0)
)"},
                                               text);
    EXPECT_TRUE(parsed.succeeded()) << parsed << "\nof " << text;
    EXPECT_EQ(parsed.out, "malloc True True\n") << text;
}

TEST(malloc_info, rejects_options) {
    int result = 0;
    EXPECT_EQ(malloc_info_text(1, &result), "");
    EXPECT_NE(result, 0);
}

CHILD_ROLE(print_malloc_stats) {
    free_all(allocate_many(100, 100000));
    malloc_stats();
    return 0;
}

TEST(malloc_stats, writes_to_stderr) {
    child::outcome outcome = child::run("print_malloc_stats");
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, "");
    EXPECT_GT(outcome.err.size(), 100u) << outcome;
    EXPECT_EQ(outcome.err.back(), '\n') << outcome;
    if (variant_is_tandem) {
        EXPECT_NE(outcome.err.find(tandem_front_end()), std::string::npos) << outcome;
    }
}

TEST(malloc_trim, gives_memory_back) {
    for (size_t size : {48, 1000, 30000, 700000, 9000000}) {
        constexpr size_t bytes = size_t{90} << 20;
        malloc_trim(0);
        size_t before = resident_bytes();
        free_all(allocate_many(size, bytes));
        malloc_trim(0);
        EXPECT_LE(resident_bytes(), before + bytes / 5) << size;
    }
}

TEST(malloc_trim, tells_whether_it_gave_memory_back) {
    std::vector<void *> objects = allocate_many(1000, size_t{50} << 20);
    std::vector<void *> anchor = allocate_many(1000, 1000);  // glibc would trim its top by itself otherwise
    free_all(objects);
    EXPECT_EQ(malloc_trim(0), 1);
    int again = malloc_trim(0);
    EXPECT_TRUE(again == 0 || again == 1) << again;
    free_all(anchor);
}

TEST(malloc_trim, leaves_live_objects_alone) {
    std::vector<void *> kept;
    for (int round = 0; round < 20; round++) {
        std::vector<void *> objects = allocate_many(600, size_t{1} << 20);
        for (size_t i = 0; i < objects.size(); i++) {
            if (i % 50 != 0) {
                free(objects[i]);
            } else {
                fill_pattern(objects[i], 600, i);
                kept.push_back(objects[i]);
            }
        }
        malloc_trim(round % 2 == 0 ? 0 : 1 << 20);
    }
    for (size_t i = 0; i < kept.size(); i++) {
        ASSERT_TRUE(has_pattern(kept[i], 600, i % (kept.size() / 20) * 50));
        free(kept[i]);
    }
}

constexpr size_t scattered_size = 600;
constexpr size_t scattered_bytes = size_t{64} << 20;

// Objects of which one in fifty stays, so that six pages of seven hold none. Returns those.
std::vector<void *> scatter() {
    std::vector<void *> objects = allocate_many(scattered_size, scattered_bytes);
    std::vector<void *> kept;
    for (size_t i = 0; i < objects.size(); i++) {
        if (i % 50 == 0) {
            kept.push_back(objects[i]);
        } else {
            free(objects[i]);
        }
    }
    return kept;
}

TEST(malloc_trim, gives_pages_between_live_objects_back) {
    malloc_trim(0);
    size_t before = resident_bytes();
    std::vector<void *> kept = scatter();
    EXPECT_EQ(malloc_trim(0), 1);
    EXPECT_LE(resident_bytes(), before + scattered_bytes / 3);
    free_all(kept);
}

// Works a little until a third of the memory is left, for a minute at most. Prints how much is.
CHILD_ROLE(idle_pages) {
    size_t before = resident_bytes();
    std::vector<void *> kept = scatter();
    for (int i = 0; i < 6000 && resident_bytes() > before + scattered_bytes / 3; i++) {
        free_all(allocate_many(scattered_size, 100 * scattered_size));
        usleep(10000);
    }
    printf("%zu\n", resident_bytes() - before);
    free_all(kept);
    return 0;
}

TEST(decay, gives_pages_between_live_objects_back) {
    child::outcome outcome = child::run("idle_pages", child::with_environment({"TANDEM_OPTIONS=decay_ms=200"}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    if (variant_is_tandem) {
        EXPECT_LE(strtoul(outcome.out.c_str(), nullptr, 10), scattered_bytes / 3) << outcome;
    }
}

TEST(mallopt, accepts_what_programs_set) {
    EXPECT_EQ(mallopt(M_TRIM_THRESHOLD, 128 * 1024), 1);
    EXPECT_EQ(mallopt(M_MMAP_THRESHOLD, 1 << 20), 1);
    EXPECT_EQ(mallopt(M_TOP_PAD, 64 * 1024), 1);
    EXPECT_EQ(mallopt(M_MMAP_MAX, 1000), 1);
    EXPECT_EQ(mallopt(M_ARENA_MAX, 1), 1);
    free_all(allocate_many(100000, 5000000));
}

}  // namespace
