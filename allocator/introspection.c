// glibc's calls that ask the allocator about itself: mallinfo(3), mallopt(3), malloc_info(3), malloc_stats(3),
// malloc_trim(3).
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "allocator/extension.h"
#include "allocator/malloc.h"
#include "allocator/statistics.h"
#include "base/minmax.h"

TD_EXPORT struct mallinfo2 mallinfo2(void) {
    struct tandem_stats stats;
    td_statistics_get(&stats);
    return (struct mallinfo2){
        .arena = stats.mapped_bytes,
        .ordblks = stats.segments,
        .fsmblks = stats.cached_bytes,
        .uordblks = stats.live_bytes,
        .fordblks = stats.mapped_bytes - stats.live_bytes,
        .keepcost = stats.free_bytes,
    };
}

static int to_int(size_t value) {
    return (int)td_min(value, INT_MAX);
}

TD_EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 info = mallinfo2();
    return (struct mallinfo){
        .arena = to_int(info.arena),
        .ordblks = to_int(info.ordblks),
        .fsmblks = to_int(info.fsmblks),
        .uordblks = to_int(info.uordblks),
        .fordblks = to_int(info.fordblks),
        .keepcost = to_int(info.keepcost),
    };
}

// None of glibc's parameters means anything here; 1 is success, so that programs which tune glibc go on.
TD_EXPORT int mallopt(int parameter, int value) {
    (void)parameter;
    (void)value;
    return 1;
}

TD_EXPORT void malloc_stats(void) {
    td_statistics_print();
}

TD_EXPORT int malloc_trim(size_t pad) {
    (void)pad;
    return td_release_memory(SIZE_MAX) != 0;
}

// XML of the form that glibc's has: a root `malloc` with a version, and totals.
TD_EXPORT int malloc_info(int options, FILE *stream) {
    if (options != 0) {
        errno = EINVAL;
        return EINVAL;
    }
    struct tandem_stats stats;
    td_statistics_get(&stats);
    int written = fprintf(stream,
                          "<malloc version=\"1\">\n"
                          "<heap nr=\"0\">\n"
                          "<total type=\"live\" size=\"%ju\"/>\n"
                          "<total type=\"cached\" size=\"%ju\"/>\n"
                          "<total type=\"free\" size=\"%ju\"/>\n"
                          "<total type=\"fresh\" size=\"%ju\"/>\n"
                          "<total type=\"waste\" size=\"%ju\"/>\n"
                          "<total type=\"metadata\" size=\"%ju\"/>\n"
                          "</heap>\n"
                          "<system type=\"current\" size=\"%ju\"/>\n"
                          "<system type=\"max\" size=\"%ju\"/>\n"
                          "</malloc>\n",
                          (uintmax_t)stats.live_bytes, (uintmax_t)stats.cached_bytes, (uintmax_t)stats.free_bytes,
                          (uintmax_t)stats.fresh_bytes, (uintmax_t)stats.waste_bytes, (uintmax_t)stats.metadata_bytes,
                          (uintmax_t)stats.mapped_bytes, (uintmax_t)stats.peak_mapped_bytes);
    return written < 0 ? -1 : 0;
}
