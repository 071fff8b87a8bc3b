// A program that wraps malloc and free by glibc's other names for them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
extern void __libc_free(void *pointer);

static size_t calls;

void *malloc(size_t size) {
    calls++;
    return __libc_malloc(size);
}

void *realloc(void *pointer, size_t size) {
    calls++;
    return __libc_realloc(pointer, size);
}

void free(void *pointer) {
    calls++;
    __libc_free(pointer);
}

int main(void) {
    for (size_t size = 1; size < 100000; size = size * 3 + 1) {
        char *object = malloc(size);
        if (object == NULL) {
            return EXIT_FAILURE;
        }
        memset(object, 1, size);
        object = realloc(object, 2 * size);
        if (object == NULL || object[size - 1] != 1) {
            return EXIT_FAILURE;
        }
        free(object);
        free(strdup("from the C library"));
        free(calloc(3, size));  // not wrapped
    }
    return calls >= 40 && puts("wrapped") >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
