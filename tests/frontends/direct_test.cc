// The direct way of malloc and operator new, and of free and operator delete, in a program that has it: open where the
// mode allows it, and taken.
// That what comes from it is whole, under threads, signals and forks, is what all other tests show.
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

extern "C" {
#include "backend/page_map.h"
#include "frontends/percpu/fast_path.h"

extern const ptrdiff_t __rseq_offset __attribute__((weak));  // glibc 2.35 and later
}

namespace {

#if defined(__x86_64__)

td_direct_block &first() {
    return td_direct.blocks[0];
}

bool is_to_be_open() {
    return std::string(tandem_mode()) == "rseq (glibc)" && std::string(tandem_index()) == "mm_cid";
}

#define SKIP_UNLESS_OPEN()                                                                                             \
    free(opaque(malloc(1)));                                                                                           \
    if (!is_to_be_open())                                                                                              \
    GTEST_SKIP() << tandem_mode() << ", " << tandem_index()

TEST(direct, is_open_where_glibcs_areas_have_mm_cid) {
    free(opaque(malloc(1)));
    EXPECT_EQ(first().size_end, is_to_be_open() ? TD_TABLE_BYTES + 1 : 0);
}

TEST(direct, knows_the_classes_of_all_sizes_in_the_table) {
    SKIP_UNLESS_OPEN();
    for (size_t size = 0; size <= TD_TABLE_BYTES; size++)
        EXPECT_EQ(first().codes[size], td_class_code_table[size] + TD_DIRECT_ORIGIN) << size;
}

// Makes the way's table lead elsewhere for a moment, and says whether `allocate` followed it. Now and then the bin
// there is empty, and the other way is taken, which has a table of its own.
template <typename F> bool goes_there(F allocate) {
    bool is_seen = false;
    for (int i = 0; i < 16; i++) {
        free(opaque(malloc(512)));
        uint8_t code = first().codes[48];
        first().codes[48] = first().codes[512];
        void *object = opaque(allocate(size_t{48}));
        first().codes[48] = code;
        is_seen |= malloc_usable_size(object) == 512;
        free(object);
    }
    return is_seen;
}

TEST(direct, is_where_malloc_and_new_go) {
    SKIP_UNLESS_OPEN();
    EXPECT_TRUE(goes_there([](size_t size) { return malloc(size); }));
    EXPECT_TRUE(goes_there([](size_t size) { return operator new(size); }));
    EXPECT_TRUE(goes_there([](size_t size) { return operator new[](size); }));
    EXPECT_FALSE(goes_there([](size_t size) { return calloc(1, size); }));
}

TEST(direct, leads_to_the_slab_that_other_sequences_find) {
    SKIP_UNLESS_OPEN();
    for (size_t i = 0; i < TD_DIRECT_CPUS; i++)
        for (size_t class_index = 1; class_index <= TD_TABLE_CLASSES; class_index++)
            for (int way = 0; way < 2; way++) {
                const char *descriptor = reinterpret_cast<char *>(&first().descriptor[way]);
                ptrdiff_t distance = td_direct.blocks[i].distances[class_index][way];
                const void *bin = distance == 0 ? nullptr : descriptor + distance;
                const td_slab *slab = td_percpu.slabs[i];
                bool is_none = slab == nullptr || slab == &td_no_slab;
                EXPECT_EQ(bin, is_none ? nullptr : &slab->bins[class_index]) << i;
            }
}

TEST(direct, has_descriptors_that_are_empty_bins) {
    SKIP_UNLESS_OPEN();
    for (const td_rseq_cs &descriptor : first().descriptor) {
        td_link alloc;
        memcpy(&alloc, &descriptor, sizeof alloc);
        EXPECT_EQ(alloc, 0u);
    }
}

// What the thread's last sequence announced itself with, unless it has been preempted since.
const void *announced() {
    if (&__rseq_offset == nullptr)
        return nullptr;
    const char *area = td_thread_pointer() + __rseq_offset;
    return reinterpret_cast<const void *>(reinterpret_cast<const td_rseq_area *>(area)->rseq_cs);
}

template <typename F> bool announces(const td_rseq_cs *descriptor, F release) {
    bool is_seen = false;
    for (int i = 0; i < 16; i++) {
        void *object = opaque(malloc(48));
        release(object);
        is_seen |= announced() == descriptor;
    }
    return is_seen;
}

// The three ways' descriptors.
const td_rseq_cs &of_delete = td_percpu.free_descriptor[0];
const td_rseq_cs &of_sized_delete = td_percpu.free_descriptor[1];
const td_rseq_cs &of_free = td_percpu.free_descriptor[2];

void delete_plain(void *object) {
    operator delete(object);
}
void delete_sized(void *object) {
    operator delete (object, size_t{48});
}

TEST(direct, is_where_free_and_delete_go) {
    SKIP_UNLESS_OPEN();
    EXPECT_TRUE(announces(&of_free, free));
    EXPECT_TRUE(announces(&of_delete, delete_plain));
    EXPECT_TRUE(announces(&of_delete, [](void *object) { operator delete[](object); }));
    EXPECT_EQ(announces(&of_sized_delete, delete_sized), !variant_is_debug);
    EXPECT_FALSE(announces(&of_delete, free));
    EXPECT_FALSE(announces(&of_free, delete_plain));
}

// That is looked into, and no object of the class.
TEST(direct, leaves_frees_of_a_wrong_size_to_the_other_way) {
    SKIP_UNLESS_OPEN();
    for (size_t size : {size_t{0}, size_t{1}, size_t{49}, TD_TABLE_BYTES, TD_TABLE_BYTES + 1, SIZE_MAX})
        if (!variant_is_debug) {
            EXPECT_FALSE(announces(&of_sized_delete, [=](void *object) { operator delete(object, size); })) << size;
        }
}

TEST(direct, is_closed_for_frees_where_it_cannot_be_open) {
    free(opaque(malloc(1)));
    EXPECT_EQ(td_percpu.free_mask, is_to_be_open() ? TD_LINK_NO_OBJECT : UINT64_MAX);
}

TEST(direct, leaves_frees_to_the_other_way_while_it_is_closed) {
    free(opaque(malloc(1)));
    uint64_t mask = td_percpu.free_mask;
    td_percpu.free_mask = UINT64_MAX;
    EXPECT_FALSE(announces(&of_free, free));
    EXPECT_FALSE(announces(&of_delete, delete_plain));
    EXPECT_FALSE(announces(&of_sized_delete, delete_sized));
    for (size_t size : {size_t{8}, size_t{5000}, size_t{1} << 20})
        free(opaque(malloc(size)));
    for (size_t size : {size_t{8}, size_t{1000}, size_t{5000}, size_t{1} << 20})
        operator delete(opaque(operator new(size)), size);
    free(opaque(static_cast<void *>(nullptr)));
    td_percpu.free_mask = mask;
}

// As under valgrind. Nothing but NULL has a link of no bits.
TEST(direct, has_nothing_to_do_for_null_where_the_heap_lies_in_the_first_4_gib) {
    static struct td_page_map_leaf leaf;
    free(opaque(malloc(1)));
    struct td_page_map_leaf *known = td_page_map_root[0];
    td_page_map_root[0] = known != nullptr ? known : &leaf;
    uint64_t mask = td_percpu.free_mask;
    for (uint64_t tried : {mask, UINT64_MAX}) {
        td_percpu.free_mask = tried;
        free(opaque(static_cast<void *>(nullptr)));
        operator delete(opaque(static_cast<void *>(nullptr)));
        operator delete (opaque(static_cast<void *>(nullptr)), size_t{48});
        free(opaque(malloc(1)));
    }
    td_percpu.free_mask = mask;
    td_page_map_root[0] = known;
}

TEST(direct, leaves_to_the_other_way_what_it_does_not_do) {
    for (size_t size :
         {size_t{0}, TD_TABLE_BYTES, TD_TABLE_BYTES + 1, size_t{5000}, size_t{1} << 20, size_t{1} << 33}) {
        void *object = malloc(size);
        ASSERT_NE(object, nullptr) << size;
        EXPECT_GE(malloc_usable_size(object), size);
        free(object);
    }
    for (size_t size : {SIZE_MAX, SIZE_MAX - 1000, (size_t)PTRDIFF_MAX + 1}) {
        EXPECT_EQ(malloc(opaque(size)), nullptr);
        EXPECT_THROW((void)operator new(opaque(size)), std::bad_alloc);
        EXPECT_THROW((void)operator new[](opaque(size)), std::bad_alloc);
    }
}

#else

TEST(direct, is_for_x86_64_alone) {
    GTEST_SKIP();
}

#endif

}  // namespace
