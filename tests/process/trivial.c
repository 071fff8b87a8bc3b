// The smallest program that allocates. Prints its peak resident set in KiB.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/process/resident.h"

int main(void) {
    char *volatile text = malloc(100);
    if (text == NULL) {
        return EXIT_FAILURE;
    }
    memset(text, 'x', 100);
    free(text);
    printf("%ld\n", status_kib("VmHWM:"));
    return EXIT_SUCCESS;
}
