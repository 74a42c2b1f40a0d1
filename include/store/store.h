/* What outlives a session: mailboxes of accounts, tombstones. It does not know what a session is. Two stores serve the
 * interface: `memory:` (store/memory.h), for one node; Redis, for many.
 *
 * Calls come from any worker, each with the struct store that it was given. A callback comes on the calling thread,
 * before the call returns or later. */
#ifndef HOLDFAST_STORE_STORE_H
#define HOLDFAST_STORE_STORE_H

#include "base/clock.h"
#include "base/slice.h"
#include "xmpp/queue.h"

#define SID_SIZE 33 /* 32 hex digits and NUL: a hash of the previd, so that no log or key reveals one */

struct store;

struct tombstone {
    const char *account, *proof; /* whose session it was, as in the directory of owners; proof may be NULL */
    uint64_t h;                  /* what the session had told or could have told */
    const char *reason;          /* word of enum close_reason */
};

typedef void store_mail_fn(void *ctx, struct entry *first, size_t n);
typedef void store_tombstone_fn(void *ctx, const struct tombstone *t); /* NULL: none, or of another account */

struct store_ops {
    /* Keeps a message for an account (bare JID). e->origin names where it first came from ("SID/NUMBER"): an entry that
     * is there already under that origin is not doubled but becomes free to be taken again. Takes e over. */
    void (*mail_put)(struct store *s, struct slice account, struct entry *e);
    /* Hands copies of all free messages of the account to a session, oldest first, with their origins, and lends them
     * to it: until mail_put or mail_return gives them back nobody else gets them. The callee owns the chain
     * (entry.next). */
    void (*mail_take)(struct store *s, struct slice account, store_mail_fn *done, void *ctx);
    /* The client has it: it is removed. */
    void (*mail_done)(struct store *s, struct slice account, struct slice origin);
    /* Keeps what is needed to answer a late resume with the last h (XEP-0198 5); forgotten after the store's ttl. */
    void (*tombstone_put)(struct store *s, const char *sid, const struct tombstone *t); /* strings are copied */
    /* Only its owner is told: account (bare JID) or proof must be the one that was put; either may be NULL. */
    void (*tombstone_get)(struct store *s, const char *sid, const char *account, const char *proof,
                          store_tombstone_fn *done, void *ctx);
};

struct store {
    const struct store_ops *ops;
};

#endif
