// A program whose first call to the allocator is the one that its argument names. In C, and without the C++ library:
// nobody calls before.
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocator/tandem.h"

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

// Of keys that nobody gives a value.
static void end_key(void *value) {
    (void)value;
    _exit(EXIT_FAILURE);
}

// Returns how many were left, `count` at most.
static int take_keys(int count) {
    pthread_key_t key;
    int taken = 0;
    while (taken < count && pthread_key_create(&key, end_key) == 0) {
        taken++;
    }
    return taken;
}

// Beyond the first keys of a thread, setting one allocates; the allocator itself has one, if any is left.
static bool take_keys_before(const char *name) {
    const int first_keys = 40;
    if (strcmp(name, "behind other keys") == 0) {
        return take_keys(first_keys) == first_keys;
    }
    return strcmp(name, "without a key") != 0 || take_keys(PTHREAD_KEYS_MAX + 1) <= PTHREAD_KEYS_MAX;
}

static void call(const char *name) {
    if (strcmp(name, "small") == 0 || strcmp(name, "behind other keys") == 0 || strcmp(name, "without a key") == 0) {
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
    if (argc != 2 || !take_keys_before(argv[1])) {
        return EXIT_FAILURE;
    }
    call(argv[1]);
    for (int i = 0; i < 60; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, call_in_thread, argv[1]) != 0 || pthread_join(thread, NULL) != 0) {
            return EXIT_FAILURE;
        }
    }
    call("small");
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    const char *front_end = tandem_front_end();
    // One of the main thread, one that the others leave to each other, and those of CPUs, for what an exit frees.
    uint64_t most = 2 + (uint64_t)sysconf(_SC_NPROCESSORS_CONF);
    if (front_end != NULL && strcmp(front_end, "perthread") == 0 && stats.slabs > most) {
        puts("slabs that nobody uses");
    }
    return puts("whole") < 0;
}
