/* A Redis in any form (one server, Sentinel, Cluster), as commands and their answers. One struct redis for a loop.
 *
 * Commands of one slot are written in the order in which they were sent, pipelined with all else of the turn at its
 * end, and answered in that order, each once. The server works them off in that order too, also while the slot is moved
 * from one server to another. Two exceptions, where it has refused one and done what came behind it: a script that was
 * flushed (SCRIPT FLUSH by hand; else scripts are there before they are needed), and keys of one command that are on
 * two servers for a moment (TRYAGAIN).
 *
 * Answers and events come from the loop, never inside of redis_new or redis_send; redis_turn may tell answers. In them
 * all may be called but redis_turn and redis_free. */
#ifndef HOLDFAST_REDIS_REDIS_H
#define HOLDFAST_REDIS_REDIS_H

#include "base/clock.h"
#include "base/counters.h"
#include "base/slice.h"
#include "redis/url.h"
#include <stdbool.h>
#include <stddef.h>

struct redis;
struct redisReply; /* hiredis/hiredis.h */
struct loop;
struct dialer;
struct tls_context;

/* What an answer means; the table of errors is in redis/errors.c. */
enum redis_answer {
    REDIS_DONE,    /* the reply is of the command */
    REDIS_ERROR,   /* the server has refused this command, and not because of its own state: reply holds the text */
    REDIS_FAULT,   /* configuration: NOAUTH, NOPERM, WRONGPASS, WRONGTYPE, unknown command: told in the log and `why` */
    REDIS_AWAY,    /* OOM, MISCONF, NOREPLICAS, LOADING, BUSY ..., or no connection: not done, may be tried again when
                    * `back` is told, which follows in any case */
    REDIS_UNKNOWN, /* the connection broke, or a time-out: it may have been done, or be done later (by a server that
                    * hung, even behind what another connection sends it) */
};
/* reply is valid during the call; NULL with REDIS_UNKNOWN, and with REDIS_AWAY where no server was asked. */
typedef void redis_done_fn(void *ctx, enum redis_answer a, const struct redisReply *reply);

struct redis_events {
    /* The servers of these slots (0 to 16383, both ends in) can be written to (again), after `away`, a failover or a
     * reconnect: what was committed there earlier may be gone. Also at the first connect, and when slots have got
     * another server without having been away. fresh: the server's run id is another one than at the last `back` of
     * the slots, and they were not just moved here by a server that keeps others. What was sent before has been
     * answered with REDIS_AWAY or REDIS_UNKNOWN, or is still under way. */
    void (*back)(void *ctx, unsigned first_slot, unsigned last_slot, bool fresh);
    /* They cannot: no connection (all that was under way has been answered), or the server refuses writes (OOM ...;
     * then commands still go there, for some of them make room). Not told at the beginning, when nothing is there yet.
     */
    void (*away)(void *ctx, unsigned first_slot, unsigned last_slot, const char *why);
    /* A message on the channel that was subscribed to (a hint: may be lost). */
    void (*told)(void *ctx, struct slice message);
};

struct redis_options {
    const struct redis_url *url;
    struct loop *loop;
    struct dialer *dialer;
    struct tls_context *tls;       /* of rediss://: a client context that forgoes ALPN */
    const char *password;          /* over the URL's; NULL: that one */
    const char *sentinel_password; /* the URL's is never told to a sentinel */
    unsigned wait_replicas;        /* an answer to a write counts when that many replicas have it (WAIT, one a batch) */
    usec connect_timeout, command_timeout;
    const char *channel, *shared_channel; /* to subscribe to; NULL: none. shared_channel: only beside a channel */
    struct counters *counters;
    const struct redis_events *events;
    void *ctx;
};

struct redis *redis_new(const struct redis_options *o);
void redis_free(struct redis *r); /* answers that are still due do not come */

#define REDIS_SLOTS 16384u
/* The slot of a key: CRC16 of what is inside the first {} of it, or of all of it. */
unsigned redis_slot(struct slice key);

/* argv[0] is the command's name; all is copied. done NULL: nobody wants to know (an error other than away is logged).
 * Without a connection to the server of the slot: answered at the end of the turn with REDIS_AWAY, never kept. */
void redis_send(struct redis *r, unsigned slot, size_t argc, const struct slice *argv, redis_done_fn *done, void *ctx);

/* A Lua script with its SHA1; EVALSHA, loaded ahead of its first use on each connection, and again where a server has
 * lost it. It must outlive the struct redis. keys come first in argv. */
struct redis_script {
    const char *name, *text;
    char sha[41]; /* "" at the beginning; filled by the first redis_eval */
};
void redis_eval(struct redis *r, unsigned slot, struct redis_script *script, size_t nkeys, size_t argc,
                const struct slice *argv, redis_done_fn *done, void *ctx);

/* What the servers say that they do with what is committed, the weakest of them (INFO and, where it is allowed, CONFIG
 * GET). Logged, too, when a server is reached for the first time or after its restart. */
enum redis_persistence {
    REDIS_PERSISTENCE_UNKNOWN,  /* no server has been reached yet */
    REDIS_PERSISTENCE_NONE,     /* a restart of the server loses all */
    REDIS_PERSISTENCE_RDB,      /* snapshots: minutes */
    REDIS_PERSISTENCE_EVERYSEC, /* AOF: one or two seconds. Also where it is not told how often it is synced */
    REDIS_PERSISTENCE_ALWAYS,   /* AOF, synced before each answer: nothing */
};
struct redis_promise {
    enum redis_persistence persistence;
    bool policy_unsafe; /* a full server throws keys away that are in use */
    char text[512];     /* for people; "" while nothing is known */
};
void redis_promise(const struct redis *r, struct redis_promise *out);

/* Whether PUBSUB NUMSUB tells how many listen to a channel. In a cluster each server knows its own listeners only. */
bool redis_counts_listeners(const struct redis *r);

/* Bytes of commands that are not answered, written or not, over all servers. */
size_t redis_backlog(const struct redis *r);
/* Why it cannot be written to, wholly or in part, a text for /readyz; NULL: it can. A configuration fault that commands
 * have met is told for a minute. Valid until the loop's next turn. */
const char *redis_why_away(const struct redis *r);
/* To be called at the end of the loop's turn: writes what was sent. */
void redis_turn(struct redis *r);

#endif
