// A C++ library with static and thread-local objects that allocate, for a program that loads and unloads it.
#include <cstdlib>
#include <map>
#include <new>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT std::string *dlopened_make_string(size_t length);
EXPORT void dlopened_delete_string(std::string *text);
EXPORT size_t dlopened_use_thread_local();
EXPORT const char *dlopened_exhaust();
EXPORT const char *dlopened_exhaust_nothrow();

namespace {

std::map<int, std::string> static_map = {{1, std::string(100, 'a')}, {2, std::string(1000, 'b')}};
thread_local std::vector<std::string> thread_strings(50, std::string(200, 't'));

}  // namespace

std::string *dlopened_make_string(size_t length) {
    return new std::string(length, 's');
}

void dlopened_delete_string(std::string *text) {
    delete text;
}

size_t dlopened_use_thread_local() {
    thread_strings.push_back(static_map[2]);
    return thread_strings.size();
}

// Asks for more than there is: whether the new_handler is called, and what is thrown then.
const char *dlopened_exhaust() {
    static bool is_handled;
    std::set_new_handler([] {
        is_handled = true;
        std::set_new_handler(nullptr);
    });
    volatile size_t too_much = size_t{1} << 60;
    try {
        char *volatile memory = new char[too_much];  // volatile: the compiler may leave out what nobody sees
        delete[] memory;
    } catch (const std::bad_alloc &) {
        return is_handled ? "bad_alloc after the new_handler" : "bad_alloc without the new_handler";
    }
    return "nothing thrown";
}

// The same of the forms that throw nothing, with a new_handler that does.
const char *dlopened_exhaust_nothrow() {
    static int handled;
    std::set_new_handler([] {
        handled++;
        throw std::bad_alloc();
    });
    volatile size_t too_much = size_t{1} << 60;
    try {
        void *volatile plain = operator new(too_much, std::nothrow);
        void *volatile aligned = operator new (too_much, std::align_val_t{64}, std::nothrow);
        std::set_new_handler(nullptr);
        return plain == nullptr && aligned == nullptr && handled == 2 ? "NULL after the new_handler" : "something else";
    } catch (const std::bad_alloc &) {
        return "bad_alloc";
    }
}
