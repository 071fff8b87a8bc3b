// A C library that allocates while it is loaded, used and unloaded.
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT char *dlopened_make(const char *text);
EXPORT void dlopened_free(char *text);

static char *made_by_constructor;

__attribute__((constructor)) static void load(void) {
    made_by_constructor = malloc(3000);
    memset(made_by_constructor, 'c', 3000);
}

__attribute__((destructor)) static void unload(void) {
    char *last = malloc(100);
    if (last != NULL) {
        memset(last, 'l', 100);
    }
    free(last);
    free(made_by_constructor);
}

// A copy that the caller owns.
char *dlopened_make(const char *text) {
    return strdup(text);
}

void dlopened_free(char *text) {
    free(text);
}
