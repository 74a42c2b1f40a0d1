/* A growable run of owned bytes: append at the end, consume at the front. {0} is a valid empty one. */
#ifndef HOLDFAST_BASE_BUF_H
#define HOLDFAST_BASE_BUF_H

#include "base/slice.h"
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* allocation, NULL while nothing was stored */
    size_t off; /* consumed bytes at the front */
    size_t n;   /* bytes held, from data + off */
    size_t cap;
};

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->n ? b->data + b->off : NULL, b->n);
}

/* Makes room for n more bytes and returns where they go; they count after buf_commit(b, n). */
char *buf_reserve(struct buf *b, size_t n);
static inline void buf_commit(struct buf *b, size_t n)
{
    b->n += n;
}

void buf_append(struct buf *b, const void *p, size_t n);
void buf_add(struct buf *b, struct slice s);
void buf_add_str(struct buf *b, const char *text);
void buf_add_number(struct buf *b, uint64_t n); /* in decimal; a tenth of the time that buf_printf takes */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n); /* n <= b->n */
void buf_clear(struct buf *b);             /* empties, keeps the allocation */
void buf_free(struct buf *b);              /* back to {0} */
/* The content as a NUL-terminated string that the caller frees; b is {0} afterwards. */
char *buf_steal(struct buf *b);

#define BUF_LIT(b, literal) buf_append((b), "" literal, sizeof(literal) - 1)

#endif
