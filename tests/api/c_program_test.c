// The whole C API from a plain C program: the declarations are libc's, the header is C, nothing needs C++.
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/variant/variant.h"

void free_sized(void *object, size_t size);
void free_aligned_sized(void *object, size_t alignment, size_t size);
void cfree(void *object);

static int failures;

static void expect(int condition, const char *text, int line) {
    if (!condition) {
        fprintf(stderr, "line %d: expected %s\n", line, text);
        failures++;
    }
}

#define EXPECT(condition) expect((condition) ? 1 : 0, #condition, __LINE__)

// The compiler must not know the value.
static size_t hidden(size_t value) {
    volatile size_t copy = value;
    return copy;
}

static void allocate_and_free(void) {
    void *first = malloc(hidden(0));
    void *second = malloc(hidden(0));
    EXPECT(first != NULL && second != NULL && first != second);
    free(first);
    free(second);
    free(NULL);

    char *text = malloc(hidden(100));
    EXPECT(text != NULL && malloc_usable_size(text) >= 100);
    memset(text, 'x', 100);
    text = realloc(text, hidden(100000));
    EXPECT(text != NULL && text[0] == 'x' && text[99] == 'x');
    text = reallocarray(text, hidden(30), hidden(10));
    EXPECT(text != NULL && text[99] == 'x');
    cfree(text);

    unsigned char *zeros = calloc(hidden(1000), hidden(10));
    EXPECT(zeros != NULL && zeros[0] == 0 && memcmp(zeros, zeros + 1, 9999) == 0);
    free_sized(zeros, 10000);

    errno = 0;
    EXPECT(malloc(hidden(SIZE_MAX / 2 + 1)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(calloc(hidden(SIZE_MAX / 2), hidden(4)) == NULL && errno == ENOMEM);
}

static void allocate_aligned(void) {
    void *object = NULL;
    EXPECT(posix_memalign(&object, hidden(128), 1000) == 0 && (uintptr_t)object % 128 == 0);
    free(object);
    EXPECT(posix_memalign(&object, hidden(100), 1000) == EINVAL);
    object = aligned_alloc(hidden(4096), 8192);
    EXPECT(object != NULL && (uintptr_t)object % 4096 == 0);
    free_aligned_sized(object, 4096, 8192);
    object = memalign(hidden(64), 10);
    EXPECT(object != NULL && (uintptr_t)object % 64 == 0);
    free(object);
    object = valloc(hidden(10));
    EXPECT(object != NULL && (uintptr_t)object % (uintptr_t)sysconf(_SC_PAGESIZE) == 0);
    free(object);
    object = pvalloc(hidden(10));
    EXPECT(object != NULL && malloc_usable_size(object) >= (size_t)sysconf(_SC_PAGESIZE));
    free(object);
}

static void ask_the_allocator(void) {
    struct mallinfo2 info = mallinfo2();
    EXPECT(info.arena + info.hblkhd > 0);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    int trimmed = malloc_trim(0);
    EXPECT(trimmed == 0 || trimmed == 1);
    FILE *null = fopen("/dev/null", "w");
    EXPECT(null != NULL && malloc_info(0, null) == 0);
    fclose(null);
}

static void use_the_extension_api(void) {
    static char buffer[1 << 16];
    EXPECT(strcmp(tandem_version(), TANDEM_VERSION) == 0);
    EXPECT(strcmp(tandem_front_end(), variant_front_end) == 0);
    EXPECT(tandem_mode()[0] != '\0' && tandem_index()[0] != '\0' && tandem_mode_reason()[0] != '\0');
    struct tandem_sized_pointer sized = tandem_alloc_at_least(hidden(1000));
    EXPECT(sized.pointer != NULL && sized.size >= 1000);
    free_sized(sized.pointer, sized.size);
    tandem_flush();
    tandem_release_memory(SIZE_MAX);
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    EXPECT(stats.mapped_bytes > 0);
    EXPECT(tandem_stats_text(buffer, sizeof buffer) == strlen(buffer));
    EXPECT(tandem_stats_json(buffer, sizeof buffer) == strlen(buffer));
}

int main(void) {
    allocate_and_free();
    allocate_aligned();
    ask_the_allocator();
    use_the_extension_api();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
