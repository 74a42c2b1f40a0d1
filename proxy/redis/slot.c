#include "slot.h"
#include "redis/redis.h"
#include <stdint.h>

/* CRC16-CCITT (XMODEM): polynomial 0x1021, from 0, not reflected. Four bits at a time: keys are short. */
static uint16_t crc16(struct slice s)
{
    static const uint16_t table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
    };
    uint16_t crc = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        crc = (uint16_t)(crc << 4 ^ table[(crc >> 12) ^ (c >> 4)]);
        crc = (uint16_t)(crc << 4 ^ table[(crc >> 12) ^ (c & 15)]);
    }
    return crc;
}

/* An empty {} is no tag: all of the key counts then. */
unsigned redis_slot(struct slice key)
{
    const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
    if (open) {
        struct slice tag = slice_skip(key, (size_t)(open - key.p) + 1);
        const char *close = tag.n ? memchr(tag.p, '}', tag.n) : NULL;
        if (close && close > tag.p)
            key = slice_of(tag.p, (size_t)(close - tag.p));
    }
    return crc16(key) % SLOTS;
}
