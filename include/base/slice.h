/* A borrowed run of bytes: pointer and length, not NUL-terminated, never owned. */
#ifndef HOLDFAST_BASE_SLICE_H
#define HOLDFAST_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

#define SLICE_NONE         ((struct slice){NULL, 0})
#define SLICE_LIT(literal) ((struct slice){"" literal, sizeof(literal) - 1})
/* For printf: printf("%.*s", SLICE_ARG(s)) */
#define SLICE_ARG(s) (int)(s).n, (s).p

static inline struct slice slice_of(const char *p, size_t n)
{
    return (struct slice){p, n};
}

/* NULL gives the empty slice. */
static inline struct slice slice_str(const char *text)
{
    return text ? (struct slice){text, strlen(text)} : SLICE_NONE;
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *text)
{
    return slice_eq(a, slice_str(text));
}

static inline bool slice_starts(struct slice a, struct slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

static inline struct slice slice_skip(struct slice a, size_t n)
{
    return n >= a.n ? (struct slice){a.p ? a.p + a.n : NULL, 0} : (struct slice){a.p + n, a.n - n};
}

/* XML white space (RFC 6120 4.6.1 allows it between stanzas). */
static inline bool slice_is_space(struct slice a)
{
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] != ' ' && a.p[i] != '\n' && a.p[i] != '\r' && a.p[i] != '\t')
            return false;
    return true;
}

#endif
