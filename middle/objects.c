#include "middle/objects.h"

#include "backend/backend.h"
#include "base/arch.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/size_class.h"

static size_t count_of_bits(uint64_t bits) {
    return (size_t)__builtin_popcountll(bits);
}

void td_objects_set_all_free(struct td_span *span) {
    size_t objects = td_class_info[span->class_index].span_objects;
    for (size_t word = 0; word * 64 < objects; word++)
        td_store_relaxed(&span->free_bits[word],
                         objects - word * 64 >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << (objects % 64)) - 1);
    span->free_objects = (uint16_t)objects;
}

size_t td_objects_count_free(const struct td_span *span) {
    size_t count = 0;
    for (size_t word = 0; word * 64 < td_class_info[span->class_index].span_objects; word++)
        count += count_of_bits(span->free_bits[word]);
    return count;
}

static uintptr_t object_at(const struct td_span *span, const struct td_class_info *info, size_t index) {
    return span->start + index * info->object_bytes;
}

void *td_objects_at(const struct td_span *span, size_t class_index, size_t index) {
    return (void *)object_at(span, &td_class_info[class_index], index);
}

// The lowest `count` of the bits, and then those whose objects share the last one's cache line.
static uint64_t lowest_bits(const struct td_span *span, const struct td_class_info *info, size_t word, uint64_t bits,
                            size_t count) {
    uint64_t rest = bits;
    uintptr_t last_line = 0;
    for (; rest != 0; rest &= rest - 1) {
        uintptr_t object = object_at(span, info, word * 64 + (size_t)__builtin_ctzll(rest));
        if (count == 0 && (info->object_bytes >= TD_CACHE_LINE || object / TD_CACHE_LINE != last_line))
            break;
        last_line = (object + info->object_bytes - 1) / TD_CACHE_LINE;
        count -= count != 0;
    }
    return bits & ~rest;
}

size_t td_objects_take(struct td_span *span, size_t count, struct td_object_words *words) {
    const struct td_class_info *info = &td_class_info[span->class_index];
    size_t taken = 0;
    for (size_t word = 0; span->free_objects != 0 && taken < count && words->count < TD_OBJECT_WORDS; word++) {
        uint64_t bits = span->free_bits[word];
        if (bits == 0)
            continue;
        // Each word of a full span is taken whole, most times.
        size_t now = count_of_bits(bits);
        if (now > count - taken) {
            bits = lowest_bits(span, info, word, bits, count - taken);
            now = count_of_bits(bits);
        }
        words->words[words->count++] = (struct td_object_word){span, bits, (uint32_t)word, (uint32_t)now};
        td_store_relaxed(&span->free_bits[word], span->free_bits[word] & ~bits);
        span->free_objects = (uint16_t)(span->free_objects - now);
        taken += now;
    }
    return taken;
}

// The highest one first. Returns how many.
static size_t list_word(const struct td_object_word *word, const struct td_class_info *info, void **objects) {
    size_t count = 0;
    for (uint64_t bits = word->bits, bit; bits != 0; bits &= ~bit) {
        size_t index = td_highest_bit(bits);
        bit = (uint64_t)1 << index;
        objects[count++] = (void *)object_at(word->span, info, (size_t)word->word * 64 + index);
    }
    return count;
}

size_t td_objects_list(const struct td_object_words *words, void **objects) {
    size_t count = 0;
    for (size_t i = words->count; i > 0; i--) {
        const struct td_object_word *word = &words->words[i - 1];
        count += list_word(word, &td_class_info[word->span->class_index], objects + count);
    }
    return count;
}

size_t td_objects_index(const struct td_span *span, size_t class_index, const void *pointer, const char *call) {
    const struct td_class_info *info = &td_class_info[class_index];
    size_t offset = (uintptr_t)pointer - span->start;
    size_t index = td_class_object_index(info, offset);
    if (td_unlikely(index * info->object_bytes != offset || index >= info->span_objects ||
                    span->class_index != class_index))
        td_fatal_interior(call, pointer, td_class_bytes(span->class_index));
    return index;
}

static bool lies_in(const struct td_span *span, const void *object) {
    return (uintptr_t)object - span->start < span->pages * TD_PAGE_BYTES;
}

// The first objects, as many as lie in one word of a span. `span` may be theirs.
static struct td_object_word gather_word(struct td_span *span, size_t class_index, void *const *objects, size_t count) {
    if (span == NULL || !lies_in(span, objects[0]))
        span = td_backend_span_of(objects[0], "free");
    struct td_object_word word = {.span = span};
    do {
        size_t index = td_objects_index(span, class_index, objects[word.count], "free");
        uint64_t bit = (uint64_t)1 << (index % 64);
        if (word.count == 0)
            word.word = (uint32_t)(index / 64);
        else if (word.word != index / 64)
            break;
        if (td_unlikely((word.bits & bit) != 0))
            td_fatal_double_free(objects[word.count], td_class_bytes(class_index));
        word.bits |= bit;
        word.count++;
    } while (word.count < count && lies_in(span, objects[word.count]));
    return word;
}

size_t td_objects_gather(size_t class_index, void *const *objects, size_t count, struct td_object_words *words) {
    struct td_span *span = NULL;
    size_t gathered = 0;
    words->count = 0;
    while (gathered < count && words->count < TD_OBJECT_WORDS) {
        struct td_object_word *word = &words->words[words->count++];
        *word = gather_word(span, class_index, objects + gathered, count - gathered);
        span = word->span;
        gathered += word->count;
    }
    return gathered;
}
