// All of it is referenced weakly, so that a C program with Tandem needs no C++ library. A static library is linked in
// only as far as the program refers to it: what throws std::bad_alloc may be missing where a program catches it.
#define _GNU_SOURCE
#include "allocator/cxx_library.h"

#include <dlfcn.h>
#include <stddef.h>

#include "base/config.h"
#include "base/fatal.h"

typedef void (*new_handler)(void);

#define TD_OF_LIBRARY(symbol) __asm__(symbol) __attribute__((weak, visibility("default")))
extern void throw_bad_alloc(void) TD_OF_LIBRARY("_ZSt17__throw_bad_allocv");
extern new_handler get_new_handler(void) TD_OF_LIBRARY("_ZSt15get_new_handlerv");

// Without it `catch` does not stop anything.
extern const char personality[] TD_OF_LIBRARY("__gxx_personality_v0");

// The Itanium C++ ABI's: all that catches anything brings them along, but for the two of std::bad_alloc.
extern void *allocate_exception(size_t size) TD_OF_LIBRARY("__cxa_allocate_exception");
extern void throw_exception(void *exception, const void *type, void (*destroy)(void *)) TD_OF_LIBRARY("__cxa_throw");
extern const char exception_type[] TD_OF_LIBRARY("_ZTISt9exception");
extern const char methods_of_types[] TD_OF_LIBRARY("_ZTVN10__cxxabiv120__si_class_type_infoE");
extern const char bad_alloc_type[] TD_OF_LIBRARY("_ZTISt9bad_alloc");
extern const char bad_alloc_methods[] TD_OF_LIBRARY("_ZTVSt9bad_alloc");

// Where an object's pointer to its methods leads to: there are two words before.
#define TD_FIRST_METHOD (2 * sizeof(void *))

// Our own std::bad_alloc, as the ABI lays out a class with one base: for programs that do not know it, and catch it as
// something else. (Types are the same if their names are.)
struct type {
    const char *methods;
    const char *name;
    const char *base;
};

struct exception_methods {
    ptrdiff_t offset;
    const struct type *type;
    void (*destroy)(void *exception);
    void (*destroy_and_delete)(void *exception);
    const char *(*what)(const void *exception);
};

static void destroy(void *exception) {
    (void)exception;
}

static const char *what(const void *exception) {
    (void)exception;
    return "std::bad_alloc";
}

// Not constant: a program that is loaded at a fixed address would get copies of a shared library's objects for it.
static struct type own_type = {methods_of_types + TD_FIRST_METHOD, "St9bad_alloc", exception_type};
static struct exception_methods own_methods = {0, &own_type, destroy, destroy, what};

// A C++ library's own function, whatever its name leads to elsewhere.
static void *find_own(const char *name) {
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    void *function = NULL;
    // Not by its name, which linkers of static programs warn of.
    void *(*open)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_DEFAULT, "dlopen");
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        void *handle = function == NULL && open != NULL ? open(libraries[i], RTLD_LAZY | RTLD_NOLOAD) : NULL;
        if (handle != NULL)
            function = dlsym(handle, name);
    }
    return function;
}

// A function of a C++ library that was not there when weak references were resolved: it came by dlopen, for all or for
// one library alone.
static void *find_late(const char *name) {
    void *function = dlsym(RTLD_DEFAULT, name);
    return function != NULL ? function : find_own(name);
}

// Returns if the program lacks what it takes.
static void throw_without_library(void) {
    if (allocate_exception == NULL || throw_exception == NULL || exception_type == NULL || methods_of_types == NULL)
        return;
    bool is_known = bad_alloc_type != NULL && bad_alloc_methods != NULL;
    const void **exception = allocate_exception(sizeof *exception);
    *exception = is_known ? (const void *)(bad_alloc_methods + TD_FIRST_METHOD) : &own_methods.destroy;
    throw_exception(exception, is_known ? (const void *)bad_alloc_type : &own_type, NULL);
}

void td_cxx_throw_bad_alloc(void) {
    void (*thrower)(void) = throw_bad_alloc;
    if (thrower == NULL)
        throw_without_library();
    if (thrower == NULL)
        thrower = (void (*)(void))find_late("_ZSt17__throw_bad_allocv");
    if (thrower != NULL)
        thrower();
    td_fatal("out of memory in operator new, and no C++ library to throw std::bad_alloc");
}

bool td_cxx_call_new_handler(void) {
    new_handler (*getter)(void) = get_new_handler;
    if (getter == NULL)
        getter = (new_handler(*)(void))find_late("_ZSt15get_new_handlerv");
    new_handler handler = getter != NULL ? getter() : NULL;
    if (handler == NULL)
        return false;
    handler();
    return true;
}

bool td_cxx_can_catch(void) {
    return personality != NULL;
}

void *td_cxx_new_nothrow(size_t size, size_t alignment) {
    const char nothrow = 0;  // nobody looks at it
    if (alignment <= TD_MIN_OBJECT_BYTES) {
        void *(*plain)(size_t, const char *) = (void *(*)(size_t, const char *))find_own("_ZnwmRKSt9nothrow_t");
        return plain != NULL ? plain(size, &nothrow) : NULL;
    }
    void *(*aligned)(size_t, size_t, const char *) =
        (void *(*)(size_t, size_t, const char *))find_own("_ZnwmSt11align_val_tRKSt9nothrow_t");
    return aligned != NULL ? aligned(size, alignment, &nothrow) : NULL;
}
