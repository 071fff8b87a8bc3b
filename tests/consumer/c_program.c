// Says which front end is behind malloc, after some work that would not survive a broken one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/tandem.h"

enum { OBJECTS = 1000 };

static int fill_and_check(void) {
    static unsigned char *objects[OBJECTS];
    for (int i = 0; i < OBJECTS; i++) {
        objects[i] = malloc((size_t)i + 1);
        if (objects[i] == NULL) {
            return 0;
        }
        memset(objects[i], i & 0xff, (size_t)i + 1);
    }
    int intact = 1;
    for (int i = 0; i < OBJECTS; i++) {
        for (int byte = 0; byte <= i; byte++) {
            intact &= objects[i][byte] == (i & 0xff);
        }
        free(objects[i]);
    }
    return intact;
}

int main(void) {
    if (!fill_and_check()) {
        fprintf(stderr, "an object was lost or overwritten\n");
        return 1;
    }
    printf("%s\n", tandem_front_end());
    return 0;
}
