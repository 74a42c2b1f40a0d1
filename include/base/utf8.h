/* Characters of UTF-8 (RFC 3629). Header only. */
#ifndef HOLDFAST_BASE_UTF8_H
#define HOLDFAST_BASE_UTF8_H

#include "base/slice.h"

/* How many bytes the character at the beginning of s has, which is not empty; 0 when it is not well-formed, or not
 * whole. */
static inline size_t utf8_size(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* over-long forms, surrogates, and what is above U+10FFFF show in the second byte */
    bool wrong = n > 1 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                           (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f));
    return wrong ? 0 : n;
}

#endif
