/* What the files of redis/ share.
 *
 *   redis.c     the public face
 *   answers.c   what becomes of an answer: told, followed, repeated
 *   routes.c    which server has which slot; the events back and away
 *   server.c    a server across its connections (link.c): backoff, refusals (OOM ...), what it tells of itself
 * (facts.c) lane.c      the order of a slot while something is out of the ordinary: moved, asked elsewhere, script
 * missing replicas.c  answers that wait for replicas script.c    Lua scripts, loaded ahead of their first use on each
 * connection sentinel.c, cluster.c   where the servers are, by a question.c to whoever knows channel.c   the
 * subscription
 */
#ifndef HOLDFAST_REDIS_PRIVATE_H
#define HOLDFAST_REDIS_PRIVATE_H

#include "link.h"
#include "redis/redis.h"
#include "slot.h"

struct server;
struct lane;
struct sentinel;
struct cluster;
struct channel;

#define SCRIPTS          64
#define REDIS_FAULT_TOLD (60 * USEC_S) /* a fault that a command met is told that long */
#define BACKOFF_MIN      (100 * USEC_MS)
#define BACKOFF_MAX      (5 * USEC_S)

enum slot_flag {
    SLOT_TOLD_BACK = 1, /* `back` was the last that its owner was told */
    SLOT_RESTS = 2,     /* its commands were not done although its server is there; see redis_rest_slot */
};

struct slot {
    struct server *have; /* who gets its commands; NULL: nobody knows */
    struct server *want; /* who shall, once it is there: `have` in ordinary times */
    struct lane *lane;   /* NULL: links keep its order */
    unsigned told_run;   /* server.run of the last `back` */
    unsigned flags;
};

struct redis {
    struct redis_options o; /* url is shared, strings are copies */
    struct link_options link;
    struct list servers; /* struct server.link */
    struct slot slots[SLOTS];
    unsigned runs; /* numbers for server.run */
    struct list lanes, refused;
    struct timer again; /* there is work left for another turn */
    bool unsettled;     /*   among it a redis_settle */
    bool told;          /* an answer was */
    struct timer rest;
    struct redis_script *scripts[SCRIPTS];
    size_t script_count;
    struct sentinel *sentinel;
    struct cluster *cluster;
    struct channel *channel;
    char *why;   /* some slots cannot be written to; NULL: all can */
    char *fault; /* the last configuration fault that a command met, and when */
    usec fault_at;
};

static inline usec redis_now(const struct redis *r)
{
    return loop_clock(r->o.loop)->mono;
}
static inline struct timers *redis_timers(const struct redis *r)
{
    return loop_timers(r->o.loop);
}
/* The delay doubles up to the maximum; what is returned is somewhere in its upper half, so that nodes do not march in
 * step. */
usec redis_backoff(usec *delay);

/* --- redis.c --- */
/* What was sent to servers that are away. */
void redis_tell_refused(struct redis *r);

/* --- answers.c --- */
/* A command has got what its owner is to be told (reply is taken over); told now, or in its lane's order. */
void redis_finish(struct redis *r, struct command *c, enum redis_answer answer, struct redisReply *reply);
/* Tells its owner, and frees it. */
void redis_tell(struct redis *r, struct command *c);
/* A server's connection answers c, or broke (NULL). */
void redis_take_answer(struct redis *r, struct server *s, struct command *c, struct redisReply *reply);

/* --- routes.c --- */
/* Servers have come, gone, or got other slots: brings `have` in step, tells back and away. */
void redis_settle(struct redis *r);
void redis_settle_soon(struct redis *r); /* once for all that is found out in a turn */
/* A command of it was answered with away, with its server there: it is told away, and back a while later. */
void redis_rest_slot(struct redis *r, unsigned slot);
void redis_end_rest(void *ctx);
/* Where the server of that address is to be looked for, now or after a while: server_connect or server_failed. */
void redis_find(struct redis *r, struct server *s);

/* --- sentinel.c --- */
struct sentinel *sentinel_new(struct redis *r);
void sentinel_free(struct sentinel *s);
void sentinel_find(struct sentinel *s, struct server *master); /* server_connect or server_failed follows */
void sentinel_turn(struct sentinel *s);

/* --- cluster.c --- */
struct cluster *cluster_new(struct redis *r);
void cluster_free(struct cluster *c);
void cluster_refresh(struct cluster *c); /* asks for the map, soon; no more often than is good for it */
void cluster_turn(struct cluster *c);
/* The server of that address, made and connected where it is new. */
struct server *cluster_server(struct cluster *c, const char *host, int port);
const char *cluster_why(const struct cluster *c); /* why there is no map; NULL: there is */

/* --- channel.c --- */
struct channel *channel_new(struct redis *r);
void channel_free(struct channel *ch);
void channel_turn(struct channel *ch); /* connects where it can and is not */

/* --- script.c --- */
void script_hash(struct redis_script *script);
/* The command that loads it. */
struct command *script_load(struct redis_script *script, usec since);

#endif
