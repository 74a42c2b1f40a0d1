#include "base/index.h"
#include "base/hash.h"
#include "base/mem.h"
#include <stdint.h>
#include <stdlib.h>

/* Open addressing with linear probing; at least one slot in eight is empty. */
struct index {
    struct slice (*key)(const void *object);
    void **object;  /* NULL: the slot is empty */
    uint32_t *hash; /* of the object there: objects themselves are looked at when these agree */
    size_t slots;   /* power of two */
    size_t count;
    struct hash_key seed;
};

static void make_slots(struct index *ix, size_t slots)
{
    ix->slots = slots;
    ix->object = mem_zalloc(slots * sizeof *ix->object);
    ix->hash = mem_zalloc(slots * sizeof *ix->hash);
}

struct index *index_new(struct slice (*key)(const void *object))
{
    struct index *ix = MEM_NEW(struct index);
    ix->key = key;
    ix->seed = hash_key_new();
    make_slots(ix, 16);
    return ix;
}

void index_free(struct index *ix)
{
    if (!ix)
        return;
    free(ix->object);
    free(ix->hash);
    free(ix);
}

size_t index_count(const struct index *ix)
{
    return ix->count;
}

static size_t behind(const struct index *ix, size_t slot)
{
    return (slot + 1) & (ix->slots - 1);
}

/* Where it is, or the empty slot where it would be. */
static size_t find(const struct index *ix, struct slice key, uint32_t hash)
{
    size_t at = hash & (ix->slots - 1);
    while (ix->object[at] && (ix->hash[at] != hash || !slice_eq(ix->key(ix->object[at]), key)))
        at = behind(ix, at);
    return at;
}

static uint32_t hash_in(const struct index *ix, struct slice key)
{
    return (uint32_t)hash_of(&ix->seed, key);
}

void *index_get(const struct index *ix, struct slice key)
{
    return ix->object[find(ix, key, hash_in(ix, key))];
}

static void grow(struct index *ix)
{
    void **object = ix->object;
    uint32_t *hash = ix->hash;
    size_t slots = ix->slots;
    make_slots(ix, slots * 2);
    for (size_t i = 0; i < slots; i++) {
        if (!object[i])
            continue;
        size_t at = hash[i] & (ix->slots - 1);
        while (ix->object[at])
            at = behind(ix, at);
        ix->object[at] = object[i];
        ix->hash[at] = hash[i];
    }
    free(object);
    free(hash);
}

void *index_put(struct index *ix, void *object)
{
    struct slice key = ix->key(object);
    uint32_t hash = hash_in(ix, key);
    size_t at = find(ix, key, hash);
    void *old = ix->object[at];
    ix->object[at] = object;
    ix->hash[at] = hash;
    if (!old && ++ix->count > ix->slots - ix->slots / 8)
        grow(ix);
    return old;
}

/* Those behind an empty slot move up as far as their own slots, so that none of them stands behind a gap. */
static void close_gap(struct index *ix, size_t gap)
{
    for (size_t at = behind(ix, gap); ix->object[at]; at = behind(ix, at)) {
        size_t own = ix->hash[at] & (ix->slots - 1);
        if (((at - own) & (ix->slots - 1)) < ((at - gap) & (ix->slots - 1)))
            continue;
        ix->object[gap] = ix->object[at];
        ix->hash[gap] = ix->hash[at];
        gap = at;
    }
    ix->object[gap] = NULL;
}

void *index_remove(struct index *ix, struct slice key)
{
    size_t at = find(ix, key, hash_in(ix, key));
    void *object = ix->object[at];
    if (!object)
        return NULL;
    close_gap(ix, at);
    ix->count--;
    return object;
}

/* Downwards from an empty slot: what moves up when the current one is removed was visited before. */
void index_each(struct index *ix, bool (*visit)(void *ctx, void *object), void *ctx)
{
    size_t empty = 0;
    while (ix->object[empty])
        empty++;
    for (size_t n = 1; n < ix->slots; n++) {
        void *object = ix->object[(empty - n) & (ix->slots - 1)];
        if (object && !visit(ctx, object))
            return;
    }
}
