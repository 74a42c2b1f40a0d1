#include "jid_table.h"
#include "base/mem.h"
#include "xmpp/jid.h"
#include <stdlib.h>

#define JID_MAX   3071 /* RFC 7622 3.1: three parts of 1023 bytes, and what is between them */
#define MIN_SLOTS 8
#define MAX_BYTES (UINT32_MAX / 2)

static uint32_t row_size(size_t n)
{
    size_t size = sizeof(struct jid_row) + n, align = _Alignof(struct jid_row);
    return (uint32_t)((size + align - 1) / align * align);
}

static struct jid_row *row_at(const struct jid_table *t, uint32_t offset)
{
    return (struct jid_row *)(void *)(t->rows + offset);
}

static uint32_t hash_jid(const struct hash_key *seed, struct slice jid)
{
    char folded[JID_MAX];
    size_t bare = jid_bare(jid).n;
    for (size_t i = 0; i < jid.n; i++)
        folded[i] = i < bare ? jid_lower(jid.p[i]) : jid.p[i];
    return (uint32_t)hash_of(seed, slice_of(folded, jid.n));
}

static bool equal(struct slice a, struct slice b)
{
    size_t bare = jid_bare(a).n;
    if (a.n != b.n || bare != jid_bare(b).n)
        return false;
    return jid_domain_eq(slice_of(a.p, bare), slice_of(b.p, bare)) &&
           slice_eq(slice_skip(a, bare), slice_skip(b, bare));
}

/* Open addressing; the slots of removed rows stay taken until the table is packed. */
static uint32_t *find(const struct jid_table *t, uint32_t hash, struct slice jid)
{
    for (uint32_t i = hash;; i++) {
        uint32_t *slot = &t->slot[i & (t->slots - 1)];
        if (!*slot)
            return slot;
        struct jid_row *row = row_at(t, *slot - 1);
        if (!row->removed && row->hash == hash && equal(jid_row_jid(row), jid))
            return slot;
    }
}

struct jid_row *jid_table_get(const struct jid_table *t, const struct hash_key *seed, struct slice jid)
{
    if (!t->count || jid.n > JID_MAX)
        return NULL;
    uint32_t offset = *find(t, hash_jid(seed, jid), jid);
    return offset ? row_at(t, offset - 1) : NULL;
}

/* Without the removed rows, with slots for `count` of them and half as many more. */
static void pack(struct jid_table *t, uint32_t count, uint32_t room)
{
    struct jid_table fresh = {.cap = t->used - t->wasted + room, .slots = MIN_SLOTS};
    while (fresh.slots < count + count / 2)
        fresh.slots *= 2;
    fresh.rows = mem_alloc(fresh.cap ? fresh.cap : 1);
    fresh.slot = mem_zalloc(fresh.slots * sizeof *fresh.slot);
    for (struct jid_row *row = NULL; (row = jid_table_next(t, row));) {
        uint32_t size = row_size(row->n);
        memcpy(fresh.rows + fresh.used, row, size);
        *find(&fresh, row->hash, jid_row_jid(row)) = fresh.used + 1;
        fresh.used += size;
        fresh.count++;
    }
    jid_table_clear(t);
    *t = fresh;
}

static bool is_crowded(const struct jid_table *t, uint32_t size)
{
    uint32_t taken = t->count + t->wasted / row_size(1); /* at the most: removed rows still have their slots */
    return !t->slots || t->cap - t->used < size || taken + 1 > t->slots / 4 * 3;
}

struct jid_row *jid_table_put(struct jid_table *t, const struct hash_key *seed, struct slice jid)
{
    if (!jid.n || jid.n > JID_MAX)
        return NULL;
    struct jid_row *row = jid_table_get(t, seed, jid);
    uint32_t size = row_size(jid.n);
    if (row || t->used > MAX_BYTES)
        return row;
    if (is_crowded(t, size))
        pack(t, 2 * t->count + 2, size + (t->used - t->wasted) / 2);
    row = row_at(t, t->used);
    memset(row, 0, size);
    row->hash = hash_jid(seed, jid);
    row->n = (uint16_t)jid.n;
    memcpy(row->jid, jid.p, jid.n);
    *find(t, row->hash, jid) = t->used + 1;
    t->used += size;
    t->count++;
    return row;
}

void jid_table_remove(struct jid_table *t, struct jid_row *row)
{
    row->removed = true;
    t->wasted += row_size(row->n);
    t->count--;
}

struct jid_row *jid_table_next(const struct jid_table *t, const struct jid_row *row)
{
    uint32_t at = row ? (uint32_t)((const char *)row - t->rows) + row_size(row->n) : 0;
    while (at < t->used && row_at(t, at)->removed)
        at += row_size(row_at(t, at)->n);
    return at < t->used ? row_at(t, at) : NULL;
}

void jid_table_trim(struct jid_table *t)
{
    if (t->count)
        pack(t, t->count, 0);
    else
        jid_table_clear(t);
}

void jid_table_clear(struct jid_table *t)
{
    free(t->rows);
    free(t->slot);
    *t = (struct jid_table){0};
}

size_t jid_table_bytes(const struct jid_table *t)
{
    return t->cap + t->slots * sizeof *t->slot;
}
