#include "base/buf.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *buf_reserve(struct buf *b, size_t n)
{
    if (b->off + b->n + n > b->cap) {
        if (b->off && b->n + n <= b->cap && b->n <= b->cap / 2) {
            memmove(b->data, b->data + b->off, b->n);
        } else {
            size_t cap = b->cap ? b->cap : 256;
            if (n > SIZE_MAX / 4) /* a length gone below 0: better an end than a search without one */
                abort();
            while (cap < b->n + n)
                cap *= 2;
            char *data = mem_alloc(cap);
            if (b->n)
                memcpy(data, b->data + b->off, b->n);
            free(b->data);
            b->data = data;
            b->cap = cap;
        }
        b->off = 0;
    }
    return b->data + b->off + b->n;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n) {
        memcpy(buf_reserve(b, n), p, n);
        b->n += n;
    }
}

void buf_add(struct buf *b, struct slice s)
{
    buf_append(b, s.p, s.n);
}

void buf_add_str(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_add_number(struct buf *b, uint64_t n)
{
    char digits[20], *p = digits + sizeof digits;
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10));
    buf_append(b, p, (size_t)(digits + sizeof digits - p));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0) {
        vsnprintf(buf_reserve(b, (size_t)n + 1), (size_t)n + 1, format, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t n)
{
    b->off += n;
    b->n -= n;
    if (b->n == 0)
        b->off = 0;
}

void buf_clear(struct buf *b)
{
    b->off = b->n = 0;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

char *buf_steal(struct buf *b)
{
    char *text = mem_dup(buf_slice(b));
    buf_free(b);
    return text;
}
