// Libraries that come and go: they allocate with the program's malloc, and what they allocated outlives them.
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <malloc.h>

#include "allocator/tandem.h"
#include "tests/api/opaque.h"
#include "tests/process/child.h"
#include "tests/process/workload.h"
#include "tests/variant/variant.h"
#include "gtest/gtest.h"

namespace {

// As the build lays them out, seen from the test's working directory.
constexpr const char *c_library = "tests/process/libdlopened.so";
constexpr const char *cxx_library = "tests/process/libdlopened_cxx.so";

class library {
  public:
    explicit library(const char *path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        EXPECT_NE(handle_, nullptr) << dlerror();
    }
    ~library() {
        if (handle_ != nullptr) {
            EXPECT_EQ(dlclose(handle_), 0);
        }
    }
    library(const library &) = delete;
    library &operator=(const library &) = delete;

    template <typename function> function get(const char *name) {
        void *address = dlsym(handle_, name);
        EXPECT_NE(address, nullptr) << dlerror();
        return reinterpret_cast<function>(address);
    }

  private:
    void *handle_;
};

using make_function = char *(*)(const char *);
using free_function = void (*)(char *);
using make_string_function = std::string *(*)(size_t);
using delete_string_function = void (*)(std::string *);
using use_function = size_t (*)();

TEST(dlopen, objects_cross_the_border_both_ways) {
    library c(c_library);
    library cxx(cxx_library);
    auto make = c.get<make_function>("dlopened_make");
    auto release = c.get<free_function>("dlopened_free");
    auto make_string = cxx.get<make_string_function>("dlopened_make_string");
    auto delete_string = cxx.get<delete_string_function>("dlopened_delete_string");
    for (size_t length = 0; length < 3000; length += 7) {
        std::string text(length, 'x');
        char *copy = make(text.c_str());
        ASSERT_EQ(copy, text);
        ASSERT_GT(malloc_usable_size(copy), length) << "the library has another malloc";
        free(copy);
        release(strdup(text.c_str()));
        delete make_string(length);
        delete_string(new std::string(text));
    }
}

TEST(dlopen, objects_outlive_their_library) {
    std::vector<char *> kept;
    std::vector<std::string *> strings;
    for (int i = 0; i < 50; i++) {
        library c(c_library);
        library cxx(cxx_library);
        kept.push_back(c.get<make_function>("dlopened_make")("outlives its library"));
        strings.push_back(cxx.get<make_string_function>("dlopened_make_string")(500));
    }
    for (char *text : kept) {
        EXPECT_STREQ(text, "outlives its library");
        free(text);
    }
    for (std::string *text : strings) {
        EXPECT_EQ(*text, std::string(500, 's'));
        delete text;
    }
}

TEST(dlopen, again_and_again_leaks_nothing) {
    auto load_once = [] {
        library c(c_library);
        library cxx(cxx_library);
        free(c.get<make_function>("dlopened_make")("text"));
    };
    for (int i = 0; i < 20; i++) {
        load_once();
    }
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 300; i++) {
        load_once();
    }
    struct mallinfo2 after = mallinfo2();
    EXPECT_LE(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd + 300000);
}

TEST(dlopen, in_threads_with_thread_local_objects) {
    for (int round = 0; round < 20; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([] {
                library cxx(cxx_library);
                auto use = cxx.get<use_function>("dlopened_use_thread_local");
                EXPECT_EQ(use(), 51u);
                EXPECT_EQ(use(), 52u);
                workload work(1, 2000);
                EXPECT_TRUE(work.run(200));
            });
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
    }
}

TEST(dlopen, of_what_is_not_there_fails_and_no_more) {
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(dlopen("tests/process/no_such_library.so", RTLD_NOW), nullptr);
        EXPECT_NE(dlerror(), nullptr);
    }
}

// What the function of the plugin says of the memory it did not get, with the allocator linked in and preloaded.
void expect_of_plugin(const char *function, const std::string &says) {
    child::outcome outcome = child::run_program({child::program("plugin_host"), cxx_library, function});
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, says + "\n") << outcome;
    if (!variant_is_tandem) {
        return;
    }
    outcome = child::run_program({"tests/process/plugin_host_system", cxx_library, function}, "",
                                 child::with_environment({"LD_PRELOAD=" + child::preload()}));
    EXPECT_TRUE(outcome.succeeded()) << outcome;
    EXPECT_EQ(outcome.out, says + "\n") << outcome;
}

TEST(dlopen, a_plugin_of_a_c_program_can_run_out_of_memory) {
    expect_of_plugin("dlopened_exhaust", "bad_alloc after the new_handler");
}

TEST(dlopen, a_plugin_of_a_c_program_can_run_out_of_memory_without_bad_alloc) {
    expect_of_plugin("dlopened_exhaust_nothrow", "NULL after the new_handler");
}

}  // namespace
