/* What outlives a session: mailboxes and outboxes of accounts, tombstones; and sessions over a stop of the node, as
 * bytes. It does not know what a session is. Two stores serve the interface: `memory:` (store/memory.h), for one node;
 * Redis, for many.
 *
 * Calls come from any worker, each with the struct store that it was given. A callback comes on the calling thread,
 * before the call returns or later. */
#ifndef HOLDFAST_STORE_STORE_H
#define HOLDFAST_STORE_STORE_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/slice.h"
#include "xmpp/queue.h"

/* 48 hex digits and NUL: the tag of the account, then a hash of the previd, so that no log or key reveals one. All that
 * a store keeps for an account lies under its tag. */
#define SID_SIZE 49
#define TAG_SIZE 25 /* 24 hex digits and NUL */

struct store;

struct tombstone {
    const char *account, *proof; /* whose session it was, as in the directory of owners; proof may be NULL */
    uint64_t h;                  /* what the session had told or could have told */
    const char *reason;          /* word of enum close_reason */
    struct slice resent;         /* what its client may send again: bytes of session/'s own */
};

/* Two boxes for each account (bare JID). */
enum store_box {
    BOX_MAIL, /* messages to the account whose session ended before its client had acked them */
    BOX_OUT,  /* messages of the account that were acked to its client and that the server may not have */
    BOXES,
};

typedef void store_mail_fn(void *ctx, struct entry *first, size_t n);
typedef void store_tombstone_fn(void *ctx, const struct tombstone *t); /* NULL: none, or of another account */

/* What was removed of an account. */
struct store_purged {
    size_t messages, bytes, tombstones; /* of both boxes */
    size_t lent; /* messages that are on their way right now: they are removed when they have arrived, or come back */
};
typedef void store_purge_fn(void *ctx, const struct store_purged *p);

struct store_ops {
    /* Keeps a message in a box of an account. e->origin names where it first came from ("SID/NUMBER", with a store of
     * many nodes "SID/EPOCH-NUMBER"): an entry that is there already under that origin is not doubled but becomes free
     * to be taken again. Takes e over. */
    void (*box_put)(struct store *s, enum store_box box, struct slice account, struct entry *e);
    /* Keeps a copy of a message that is on its way to a session, lent to that session, which is one that no other node
     * can take over: were its node to die, the message is the account's next session's. It does not count as kept until
     * box_put puts it back, under the same e->origin; box_done ends it, too. Takes e over. NULL: a store of one node.
     */
    void (*box_lend)(struct store *s, enum store_box box, struct slice account, const char *sid, struct entry *e);
    /* Hands copies of all free messages of the account to a session, oldest first, with their origins, and lends them
     * to it: until box_put gives them back nobody else gets them (of a store for many nodes: while that session lives,
     * and some minutes longer). The callee owns the chain (entry.next). A store that is away has none. */
    void (*box_take)(struct store *s, enum store_box box, struct slice account, const char *sid, store_mail_fn *done,
                     void *ctx);
    /* It has arrived: it is removed. */
    void (*box_done)(struct store *s, enum store_box box, struct slice account, struct slice origin);
    /* Keeps what is needed to answer a late resume with the last h (XEP-0198 5); forgotten after the store's ttl. */
    void (*tombstone_put)(struct store *s, const char *sid, const struct tombstone *t); /* strings are copied */
    /* Only its owner is told: account (bare JID) or proof must be the one that was put; either may be NULL. */
    void (*tombstone_get)(struct store *s, const char *sid, const char *account, const char *proof,
                          store_tombstone_fn *done, void *ctx);
    /* Keeps a session over a stop of the node; record: what it is made of, in bytes of session/'s own. */
    void (*session_put)(struct store *s, const char *sid, struct slice record);
    /* Hands out one that was kept, until there are none; record is the caller's to free. */
    bool (*session_take)(struct store *s, char sid_r[SID_SIZE], struct buf *record_r);
    /* Removes all that is kept for an account: messages, which count as purged, and tombstones. */
    void (*purge)(struct store *s, struct slice account, store_purge_fn *done, void *ctx);
};

struct kept_ops;

struct store {
    const struct store_ops *ops;
    const struct kept_ops *kept;   /* store/kept.h; NULL: of one node, sessions die with it */
    void (*turn)(struct store *s); /* at the end of each turn of the loop, behind the sessions'; NULL: not needed */
};

#endif
