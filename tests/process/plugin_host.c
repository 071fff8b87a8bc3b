// A program in C that loads a library in C++ for itself alone, and the C++ library with it, and calls a function of it.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    void *plugin = argc == 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void *function = plugin != NULL ? dlsym(plugin, argv[2]) : NULL;
    if (function == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return EXIT_FAILURE;
    }
    puts(((const char *(*)(void))function)());
    return EXIT_SUCCESS;
}
