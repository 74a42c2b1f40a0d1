#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include <stdint.h>
#include <stdlib.h>

struct entry {
    struct entry *next;
    uint64_t hash;
    void *value;
    size_t n;
    char key[];
};

struct map {
    struct entry **slot;
    size_t slots; /* power of two */
    size_t count;
    uint64_t seed[2];
};

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

/* SipHash-1-3 */
static uint64_t hash_of(const struct map *m, struct slice key)
{
    uint64_t v0 = m->seed[0] ^ 0x736f6d6570736575ULL, v1 = m->seed[1] ^ 0x646f72616e646f6dULL;
    uint64_t v2 = m->seed[0] ^ 0x6c7967656e657261ULL, v3 = m->seed[1] ^ 0x7465646279746573ULL;
    size_t i = 0;
    for (; i + 8 <= key.n; i += 8) {
        uint64_t w;
        memcpy(&w, key.p + i, 8);
        v3 ^= w;
        SIP_ROUND;
        v0 ^= w;
    }
    uint64_t last = (uint64_t)key.n << 56;
    if (key.n > i)
        memcpy(&last, key.p + i, key.n - i);
    last |= (uint64_t)key.n << 56;
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

struct map *map_new(void)
{
    struct map *m = MEM_NEW(struct map);
    random_bytes(m->seed, sizeof m->seed);
    m->slots = 16;
    m->slot = mem_zalloc(m->slots * sizeof *m->slot);
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->slots; i++) {
        for (struct entry *e = m->slot[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    }
    free(m->slot);
    free(m);
}

size_t map_count(const struct map *m)
{
    return m->count;
}

static struct entry **find(const struct map *m, struct slice key, uint64_t hash)
{
    struct entry **at = &m->slot[hash & (m->slots - 1)];
    while (*at && ((*at)->hash != hash || !slice_eq(slice_of((*at)->key, (*at)->n), key)))
        at = &(*at)->next;
    return at;
}

void *map_get(const struct map *m, struct slice key)
{
    struct entry *e = *find(m, key, hash_of(m, key));
    return e ? e->value : NULL;
}

static void grow(struct map *m)
{
    size_t slots = m->slots * 2;
    struct entry **slot = mem_zalloc(slots * sizeof *slot);
    for (size_t i = 0; i < m->slots; i++) {
        for (struct entry *e = m->slot[i], *next; e; e = next) {
            next = e->next;
            e->next = slot[e->hash & (slots - 1)];
            slot[e->hash & (slots - 1)] = e;
        }
    }
    free(m->slot);
    m->slot = slot;
    m->slots = slots;
}

void *map_put(struct map *m, struct slice key, void *value)
{
    uint64_t hash = hash_of(m, key);
    struct entry **at = find(m, key, hash);
    if (*at) {
        void *old = (*at)->value;
        (*at)->value = value;
        return old;
    }
    struct entry *e = mem_alloc(sizeof *e + key.n);
    *e = (struct entry){.hash = hash, .value = value, .n = key.n};
    if (key.n)
        memcpy(e->key, key.p, key.n);
    *at = e;
    if (++m->count > m->slots)
        grow(m);
    return NULL;
}

void *map_remove(struct map *m, struct slice key)
{
    struct entry **at = find(m, key, hash_of(m, key)), *e = *at;
    if (!e)
        return NULL;
    void *value = e->value;
    *at = e->next;
    free(e);
    m->count--;
    return value;
}

void map_each(struct map *m, bool (*visit)(void *ctx, struct slice key, void *value), void *ctx)
{
    for (size_t i = 0; i < m->slots; i++) {
        for (struct entry *e = m->slot[i], *next; e; e = next) {
            next = e->next;
            if (!visit(ctx, slice_of(e->key, e->n), e->value))
                return;
        }
    }
}
