#include "base/hash.h"
#include "base/random.h"
#include <endian.h>

static uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

#define SIP_ROUND                                                                                                      \
    do {                                                                                                               \
        v0 += v1, v1 = rotl(v1, 13) ^ v0, v0 = rotl(v0, 32);                                                           \
        v2 += v3, v3 = rotl(v3, 16) ^ v2;                                                                              \
        v0 += v3, v3 = rotl(v3, 21) ^ v0;                                                                              \
        v2 += v1, v1 = rotl(v1, 17) ^ v2, v2 = rotl(v2, 32);                                                           \
    } while (0)

struct hash_key hash_key_new(void)
{
    struct hash_key key;
    random_bytes(&key, sizeof key);
    return key;
}

static uint64_t word_at(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return le64toh(w);
}

/* The last n bytes, fewer than eight: without a copy of them where there is something ahead. */
static uint64_t tail_of(struct slice bytes, size_t n)
{
    uint64_t tail = 0;
    if (n && bytes.n >= 8)
        return word_at(bytes.p + bytes.n - 8) >> (64 - 8 * n);
    for (size_t i = 0; i < n; i++)
        tail |= (uint64_t)(unsigned char)bytes.p[i] << (8 * i);
    return tail;
}

uint64_t hash_of(const struct hash_key *key, struct slice bytes)
{
    uint64_t v0 = key->word[0] ^ 0x736f6d6570736575ULL, v1 = key->word[1] ^ 0x646f72616e646f6dULL;
    uint64_t v2 = key->word[0] ^ 0x6c7967656e657261ULL, v3 = key->word[1] ^ 0x7465646279746573ULL;
    size_t i = 0;
    for (; i + 8 <= bytes.n; i += 8) {
        uint64_t w = word_at(bytes.p + i);
        v3 ^= w;
        SIP_ROUND;
        v0 ^= w;
    }
    uint64_t last = tail_of(bytes, bytes.n - i) | (uint64_t)bytes.n << 56;
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}
