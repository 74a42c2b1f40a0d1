/* Rosters (RFC 6121 2): the items of a result or a push, however many there are. */
#ifndef HOLDFAST_XMPP_ROSTER_H
#define HOLDFAST_XMPP_ROSTER_H

#include "base/buf.h"
#include "base/hash.h"
#include "xmpp/element.h"

struct roster_item {
    struct slice jid;
    bool removed;      /* subscription='remove' */
    bool sees_us;      /* subscription='from' or 'both': may see the account's presence */
    const struct node *node;
};

/* Calls item for each, in order; what it gets is valid during the call. True: all of them were read. A tree that was cut
 * (element.h) is read once more, item by item; such a roster may be cut short by bad XML, or by a prefix that only the
 * stream's header declares. */
bool roster_each(const struct element *iq, void (*item)(void *ctx, const struct roster_item *item), void *ctx);

/* Equal for items that say the same, in whatever order and spelling. */
uint64_t roster_digest(const struct hash_key *seed, const struct roster_item *item);

/* The item as it can stand in any `<query xmlns='jabber:iq:roster'>`. */
void roster_write_item(struct buf *out, const struct roster_item *item);

#endif
