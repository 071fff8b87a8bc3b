#include "base/text.h"

#include "base/minmax.h"

static void put(struct td_text *text, char c) {
    if (text->length < text->capacity)
        text->buffer[text->length] = c;
    text->length++;
}

void td_text_string(struct td_text *text, const char *string) {
    for (; *string != '\0'; string++)
        put(text, *string);
}

static void put_number(struct td_text *text, uint64_t value, unsigned base) {
    char digits[20];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count > 0)
        put(text, digits[--count]);
}

void td_text_decimal(struct td_text *text, uint64_t value) {
    put_number(text, value, 10);
}

void td_text_pointer(struct td_text *text, const void *pointer) {
    td_text_string(text, "0x");
    put_number(text, (uintptr_t)pointer, 16);
}

void td_text_end(struct td_text *text) {
    if (text->capacity != 0)
        text->buffer[td_min(text->length, text->capacity - 1)] = '\0';
}
