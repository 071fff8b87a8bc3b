// A program in C that loads a library in C++ for itself alone, and the C++ library with it.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    void *plugin = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void *exhaust = plugin != NULL ? dlsym(plugin, "dlopened_exhaust") : NULL;
    if (exhaust == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return EXIT_FAILURE;
    }
    puts(((const char *(*)(void))exhaust)());
    return EXIT_SUCCESS;
}
