#include "middle/free_pages.h"

#include "backend/os.h"
#include "base/minmax.h"
#include "base/size_class.h"

// Whether the objects with these indexes, the last included, are free.
static bool are_free(const struct td_span *span, size_t first, size_t last) {
    for (size_t word = first / 64; word <= last / 64; word++) {
        uint64_t mask = ~(uint64_t)0;
        if (word == first / 64)
            mask &= mask << (first % 64);
        if (word == last / 64)
            mask &= ~(uint64_t)0 >> (63 - last % 64);
        if ((span->free_bits[word] & mask) != mask)
            return false;
    }
    return true;
}

bool td_free_pages_next(const struct td_span *span, uintptr_t from, struct td_free_pages *pages) {
    const struct td_class_info *info = &td_class_info[span->class_index];
    size_t os_page = td_os_page_bytes();
    uintptr_t span_end = span->start + span->pages * TD_PAGE_BYTES;
    uintptr_t objects_end = span->start + (size_t)info->span_objects * info->object_bytes;
    pages->bytes = 0;
    for (uintptr_t at = td_round_up(from, os_page); at < objects_end && at + os_page <= span_end; at += os_page) {
        uintptr_t behind = td_min(at + os_page, objects_end);
        size_t first = td_class_object_index(info, at - span->start);
        size_t last = td_class_object_index(info, behind - 1 - span->start);
        if (are_free(span, first, last)) {
            if (pages->bytes == 0) {
                pages->start = at;
                pages->first = first;
            }
            pages->bytes += os_page;
            pages->objects = last - pages->first + 1;
        } else if (pages->bytes != 0) {
            break;
        }
    }
    return pages->bytes != 0;
}
