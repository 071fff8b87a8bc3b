// A program whose first call to the allocator is the one that its argument names. In C, and without the C++ library:
// nobody calls before.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void free_sized(void *pointer, size_t size) __attribute__((weak));  // C23; the system's malloc may not have it

#define LARGE ((size_t)2 << 20)
#define SPAN ((size_t)100000)
#define ALIGNMENT ((size_t)1 << 16)

static void *use(void *pointer, size_t bytes) {
    if (pointer == NULL) {
        exit(EXIT_FAILURE);
    }
    memset(pointer, 1, bytes);
    return pointer;
}

static void call(const char *name) {
    if (strcmp(name, "small") == 0) {
        free(use(malloc(100), 100));
    } else if (strcmp(name, "medium") == 0) {
        free(use(malloc(5000), 5000));
    } else if (strcmp(name, "span") == 0) {
        free(use(malloc(SPAN), SPAN));
    } else if (strcmp(name, "large") == 0) {
        free(use(malloc(LARGE), LARGE));
    } else if (strcmp(name, "calloc") == 0) {
        free(use(calloc(2, LARGE), 2 * LARGE));
    } else if (strcmp(name, "realloc") == 0) {
        free(use(realloc(use(realloc(NULL, SPAN), SPAN), 3 * LARGE), 3 * LARGE));
    } else if (strcmp(name, "aligned_alloc") == 0) {
        free(use(aligned_alloc(ALIGNMENT, 2 * ALIGNMENT), 2 * ALIGNMENT));
    } else if (strcmp(name, "free_sized") == 0) {
        if (free_sized != NULL) {
            free_sized(use(malloc(LARGE), LARGE), LARGE);
        }
    } else if (strcmp(name, "free") == 0) {
        free(NULL);
    } else {
        exit(EXIT_FAILURE);
    }
}

static void *call_in_thread(void *name) {
    call(name);
    return NULL;
}

// What comes after shows whether thread-local storage and the heap are whole.
int main(int argc, char **argv) {
    if (argc != 2) {
        return EXIT_FAILURE;
    }
    call(argv[1]);
    pthread_t thread;
    if (pthread_create(&thread, NULL, call_in_thread, argv[1]) != 0 || pthread_join(thread, NULL) != 0) {
        return EXIT_FAILURE;
    }
    call("small");
    return puts("whole") < 0;
}
