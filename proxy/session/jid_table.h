/* A set of addresses with a few facts about each, packed: there is one for every session, with all its contacts. Equal
 * are addresses whose bare parts differ in ASCII case alone (RFC 7622 3.2, 3.3, as far as a proxy needs it). */
#ifndef HOLDFAST_SESSION_JID_TABLE_H
#define HOLDFAST_SESSION_JID_TABLE_H

#include "base/hash.h"
#include <stdbool.h>

struct jid_row {
    uint32_t hash;
    uint32_t digest; /* the owner's */
    uint16_t n;
    uint8_t flags; /* the owner's */
    bool removed;
    char jid[]; /* as it was put */
};

struct jid_table { /* {0} is a valid empty one */
    char *rows;    /* one behind the other, in the order they were put */
    uint32_t used, cap, wasted;
    uint32_t *slot; /* offset of a row + 1; 0 = free */
    uint32_t slots; /* a power of two, or 0 */
    uint32_t count;
};

/* NULL when absent. Rows are valid until the next put. */
struct jid_row *jid_table_get(const struct jid_table *t, const struct hash_key *seed, struct slice jid);
/* The row of that address, a new one (all zero) if need be; NULL for what is too long to be an address. */
struct jid_row *jid_table_put(struct jid_table *t, const struct hash_key *seed, struct slice jid);
void jid_table_remove(struct jid_table *t, struct jid_row *row);
/* The row behind this one (NULL: the first), NULL at the end; the current one may be removed. */
struct jid_row *jid_table_next(const struct jid_table *t, const struct jid_row *row);
static inline struct slice jid_row_jid(const struct jid_row *row)
{
    return slice_of(row->jid, row->n);
}
void jid_table_trim(struct jid_table *t);  /* gives back what it does not need */
void jid_table_clear(struct jid_table *t); /* frees all: {0} again */
size_t jid_table_bytes(const struct jid_table *t);

#endif
