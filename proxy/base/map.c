#include "base/map.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/slab.h"
#include <stdint.h>
#include <stdlib.h>

struct entry {
    struct entry *next;
    void *value;
    uint32_t n, hash;
    char key[];
};

struct map {
    struct entry **slot;
    size_t slots; /* power of two */
    size_t count;
    struct hash_key key;
};

struct map *map_new(void)
{
    struct map *m = MEM_NEW(struct map);
    m->key = hash_key_new();
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
            slab_free(e);
        }
    }
    free(m->slot);
    free(m);
}

size_t map_count(const struct map *m)
{
    return m->count;
}

static uint32_t hash_in(const struct map *m, struct slice key)
{
    return (uint32_t)hash_of(&m->key, key);
}

static struct entry **find(const struct map *m, struct slice key, uint32_t hash)
{
    struct entry **at = &m->slot[hash & (m->slots - 1)];
    while (*at && ((*at)->hash != hash || !slice_eq(slice_of((*at)->key, (*at)->n), key)))
        at = &(*at)->next;
    return at;
}

void *map_get(const struct map *m, struct slice key)
{
    struct entry *e = *find(m, key, hash_in(m, key));
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
    uint32_t hash = hash_in(m, key);
    struct entry **at = find(m, key, hash);
    if (*at) {
        void *old = (*at)->value;
        (*at)->value = value;
        return old;
    }
    struct entry *e = mem_check(slab_alloc(SLAB_SESSION, sizeof *e + key.n));
    *e = (struct entry){.hash = hash, .value = value, .n = (uint32_t)key.n};
    if (key.n)
        memcpy(e->key, key.p, key.n);
    *at = e;
    if (++m->count > m->slots)
        grow(m);
    return NULL;
}

void *map_remove(struct map *m, struct slice key)
{
    struct entry **at = find(m, key, hash_in(m, key)), *e = *at;
    if (!e)
        return NULL;
    void *value = e->value;
    *at = e->next;
    slab_free(e);
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
