/* The store of many nodes: all in a Redis, so that a session, a mailbox, an outbox outlives any one node. One struct
 * redis_store for each worker, with the connections of that worker; no locks.
 *
 * While Redis is away nothing fails: appends stay in the queues of their sessions, what is put into boxes, tombstones
 * and ends of sessions wait here and are repeated when it is back; questions are answered with "nothing known".
 * Whoever was away may have lost what it had committed: on each `back` every session is compared with what its owner
 * holds, and written again from there, before anything more is told as committed.
 *
 * Redis 7.0 or later. The keys are in proxy/store/redis_keys.h, the scripts in redis_scripts.c. */
#ifndef HOLDFAST_STORE_REDIS_H
#define HOLDFAST_STORE_REDIS_H

#include "base/counters.h"
#include "base/timers.h"
#include "redis/redis.h"
#include "store/kept.h"
#include "store/store.h"
#include <stdatomic.h>

struct redis_store;

/* What became of a text that was to be opened. */
enum redis_opened {
    OPENED,
    OPENED_DAMAGED, /* nobody can read it any more */
    OPENED_LOCKED,  /* this node lacks the key: others may have it, and it may get it */
};

struct redis_store_options {
    const char *node, *boot; /* who owns what is kept here: the name, and an id of this run of it; without '/' */
    const char *peer;        /* address of the peer port for the others, or "" */
    struct timers *timers;
    const struct clock *clock;
    struct counters *counters;
    _Atomic int64_t *memory; /* the node's account of bytes, which everything that waits here adds to; NULL is fine */
    void (*tag_of)(void *ctx, struct slice account, char tag[TAG_SIZE]); /* as in the first digits of a sid */
    /* How what Redis holds is hidden; appended to out (by open: only if it is OPENED). tag: of the account; what was
     * sealed under another one must not open. NULL: in clear. */
    void (*seal)(void *ctx, struct slice tag, struct slice plain, struct buf *out);
    enum redis_opened (*open)(void *ctx, struct slice tag, struct slice sealed, struct buf *out);
    /* A session that was asked for (ask_release) has been let go: look again. A hint. NULL is fine. */
    void (*released)(void *ctx, const char *sid);
    /* There is something new in the mailbox of the account with that tag, put there by whatever node. Told to the
     * worker with the heartbeat. A hint. NULL is fine. */
    void (*mail)(void *ctx, const char *tag);
    void *ctx;

    usec max; /* sm.max: nothing is reaped for so long after an outage */
    usec mailbox_ttl, tombstone_ttl;
    usec settle;    /* after an outage nothing is ended for so long: 30 s */
    bool waits;     /* an answer of Redis means that replicas have it: who takes over from a master has all of it */
    bool heartbeat; /* one worker of a node tells that the node lives */
    /* This one looks after every `reapers`-th of the lists of deadlines, beginning with number `reaper` (the workers of
     * a node share them). 0: none. */
    unsigned reaper, reapers;
};

/* Strings are copied. */
struct redis_store *redis_store_new(const struct redis_store_options *o);
/* Behind redis_free. Questions that are not answered are answered with "nothing known"; sessions that are still kept
 * are forgotten. */
void redis_store_free(struct redis_store *s);
struct store *redis_store_get(struct redis_store *s);

/* The connections are made with these: events (ctx: the struct redis_store) and channels go into redis_options. Then
 * the store gets them. All that is sent leaves in the store's turn, which ends with redis_turn. */
const struct redis_events *redis_store_events(void);
const char *redis_store_channel(const struct redis_store *s);
extern const char redis_store_shared_channel[]; /* of all nodes */
void redis_store_connect(struct redis_store *s, struct redis *r);

void redis_store_set_times(struct redis_store *s, usec max, usec mailbox_ttl, usec tombstone_ttl);

/* `seal` does it otherwise now: what is kept of living sessions is written again, but for stanzas that wait. */
void redis_store_reseal(struct redis_store *s);

/* What waits for Redis: operations on boxes, tombstones, ends; sessions whose state there is not known. */
struct redis_store_waiting {
    size_t operations, sessions;
};
struct redis_store_waiting redis_store_waiting(const struct redis_store *s);

#define KEPT_BLOCK 1024 /* the high-water mark is reserved in such blocks */

#endif
