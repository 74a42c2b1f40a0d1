/* A session in a store that outlives its node: both queues, what a rebuild needs, who owns it. Its owner holds a
 * struct kept while it runs the session. The store reads the queues where they are, in memory: what is appended is
 * marked, and written with all else of the turn at its end (store_turn), so no stanza is copied or waited for. What the
 * store has not taken yet (it is away, or slow) waits in the queues themselves.
 *
 * The fence: every write carries the epoch of the owner; once another node has claimed the session the store refuses
 * it, and the owner is told `fenced`. It must not tell the client nor the server anything more for that session.
 *
 * All calls and events on one thread, that of the store's loop; no event comes inside of a call. */
#ifndef HOLDFAST_STORE_KEPT_H
#define HOLDFAST_STORE_KEPT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/slice.h"
#include "xmpp/queue.h"

struct store;
struct kept;
struct tombstone;

enum kept_queue { KEPT_DOWN /* unacked */, KEPT_UP /* unconfirmed */ };

struct kept_events {
    /* All numbers up to it are committed: a crash of this node cannot lose them any more. KEPT_UP: `h` may tell it. */
    void (*committed)(void *ctx, enum kept_queue which, uint64_t upto);
    /* Numbers up to it may be written to the client (design: reserved in blocks; a new owner accepts an h up to it). */
    void (*reserved)(void *ctx, uint64_t high_water);
    /* Until then (mono) nobody else ends the session. Behind it another node may, and put what is unacked into the
     * mailbox: whatever is written to the client later may come twice. Pushed ahead while the session is attached and
     * the store can be reached; before the first time nobody else knows of it. */
    void (*leased)(void *ctx, usec silent_at);
    /* What `attached` asked for is committed: from here on only another claim can end the session elsewhere. It comes
     * late when the store has only just begun anew. */
    void (*attached)(void *ctx);
    /* Writes what a rebuild needs beside the queues; called inside store_turn. */
    void (*record)(void *ctx, struct buf *out);
    /* Another node owns the session now, or it has expired. upto: what the other one has of the unacked queue, or its
     * client: the claim has recorded that, and it may be more than this node knew committed. Messages above it are this
     * node's alone: they are to go to the mailbox, by `spill`; nothing but that or `free` may follow. */
    void (*fenced)(void *ctx, uint64_t upto);
    /* A node wants to have the session (ask_release): it is to be released, or kept, as the owner likes. A hint. */
    void (*asked_to_release)(void *ctx);
};

/* Of a session that begins. */
struct kept_origin {
    const char *sid, *account, *proof; /* account: a full JID, whose account it is; proof may be NULL; copied */
    const struct queue *queue[2];      /* where the store reads; valid until kept_free */
    const struct kept_events *events;
    void *ctx;
};

/* What a claim compares: nobody else has claimed it since, and its owner has not said anything of it: attached it
 * again, say. */
struct kept_version {
    uint64_t epoch, words;
};

/* What is known of a session without claiming it. */
struct kept_place {
    bool found;
    struct kept_version version;
    bool alive;     /* its owner's node shows a heartbeat: a hint */
    bool mine;      /* this node (of this boot) is its owner */
    bool released;  /* its last owner has let it go */
    bool stale;     /* the store has begun anew since its owner was heard of: it may be older than what a client was
                     * told. A claim fails, unless its owner comes back and says that it is whole. */
    bool unsettled; /* the store has only just begun anew: owners may come back yet, so nobody is to claim */
    uint64_t acked, high_water;                /* an h of the client may lie between them (or be lower, XEP-0198 5) */
    const char *node, *boot, *account, *proof; /* valid during the call; proof may be NULL */
    const char *peer; /* alive: where its node listens for other nodes; likewise; NULL: it does not */
};
typedef void kept_place_fn(void *ctx, const struct kept_place *p); /* NULL: the store is away, nobody knows */

/* A claimed session. The queues' entries are the callee's (entry.next), numbered, without gaps up to last[]. */
struct kept_claim {
    struct kept *kept;      /* NULL: somebody else was faster (look again), or it is gone */
    bool unreadable;        /* kept NULL: not by this node (its key is missing), or damaged; it stays as it was found */
    struct slice record;    /* valid during the call */
    struct entry *first[2]; /* oldest first */
    uint64_t last[2];       /* last number ever appended: KEPT_UP also the h that is safe */
    uint64_t high_water;    /* an h up to it is accepted; KEPT_DOWN numbers go on above max(last, h) */
    usec deadline_left;     /* until it would have expired */
    usec silent_at;         /* as of `leased` */

    /* What h has acked and the last owner had not heard of (not all of it, if that is much); valid during the call. */
    struct entry *told;
};
typedef void kept_claim_fn(void *ctx, struct kept_claim *c); /* NULL: the store is away */

struct kept_ops {
    /* Begins to keep a session; also what its queues hold already. */
    struct kept *(*open)(struct store *s, const struct kept_origin *o);
    /* An entry was appended to a queue. */
    void (*appended)(struct kept *k, enum kept_queue which);
    /* Entries up to it are about to leave the front of the queue: acked, or confirmed. Before they are freed. A number
     * that was not committed yet is committed without its bytes. */
    void (*releasing)(struct kept *k, enum kept_queue which, uint64_t upto);
    /* What `record` writes has changed. urgent: it is committed ahead of any release of the same turn (setup log, lost
     * requests); else some seconds later, with others. */
    void (*changed)(struct kept *k, bool urgent);
    /* Attached (deadline < 0: the owner lives) or detached (time left until the session expires, if its owner dies
     * too). While the node lives the store pushes the deadline of attached sessions ahead by itself. */
    void (*attached)(struct kept *k, usec max);
    void (*detached)(struct kept *k, usec left);
    /* The end: in one step for each entry, messages of the unacked queue (mail) and of the unconfirmed queue (out) go
     * to their boxes, the tombstone is put, all else of the session is removed. Takes the chains over (entry.next); an
     * entry with an origin goes back to where it came from. k is gone for the caller. */
    void (*end)(struct kept *k, const struct tombstone *t, struct entry *mail, struct entry *out);
    /* After `fenced`: these messages of the unacked queue (entry.next, ascending) go to the mailbox, each once, over
     * any outage. Takes the chain over. k is gone for the caller. */
    void (*spill)(struct kept *k, struct entry *mail);
    /* Lets it go for another node to claim: when all is committed; `done` then, k is gone. */
    void (*release)(struct kept *k, void (*done)(void *ctx), void *ctx);
    /* Forgets it here, without changing the store: fenced, or the process stops. Flushes nothing. */
    void (*free)(struct kept *k);

    void (*look)(struct store *s, const char *sid, kept_place_fn *done, void *ctx);
    /* Takes a session over, if it still is as it was seen; h: what the client has handled, its acks count at once.
     * A claim of an h above the high-water mark, or of an expired session, fails. On success o's queues are read from
     * the next turn on: by then the caller has filled them from the claim. o->sid names it; o->account and proof are
     * ignored. */
    void (*claim)(struct store *s, const struct kept_origin *o, struct kept_version seen, uint64_t h,
                  kept_claim_fn *done, void *ctx);
    /* A hint to the owner, which may be gone: let it go. It releases, or fences itself. */
    void (*ask_release)(struct store *s, const char *sid, const char *node);
};

#endif
