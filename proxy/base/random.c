#include "base/random.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

void random_hex(char *out, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    unsigned char *byte = (unsigned char *)out + n; /* each is read before its digits, or others', get there */
    random_bytes(byte, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = byte[i];
        out[2 * i] = digit[c >> 4];
        out[2 * i + 1] = digit[c & 15];
    }
    out[2 * n] = '\0';
}

uint32_t random_below(uint32_t bound)
{
    uint32_t limit = UINT32_MAX - UINT32_MAX % bound, x;
    do
        random_bytes(&x, sizeof x);
    while (x >= limit);
    return x % bound;
}
