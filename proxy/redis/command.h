/* A command on its way: its bytes as they go over the wire, kept until it is answered (it may have to be written once
 * more, elsewhere), and who wants to know. */
#ifndef HOLDFAST_REDIS_COMMAND_H
#define HOLDFAST_REDIS_COMMAND_H

#include "base/clock.h"
#include "base/list.h"
#include "redis/redis.h"
#include <hiredis/hiredis.h>

struct server;

enum command_place {
    COMMAND_ON_LINK,  /* to be written, or to be answered */
    COMMAND_GATED,    /* answered by the server; replicas are waited for */
    COMMAND_IN_LANE,  /* to be put onto a link, see lane.h */
    COMMAND_ANSWERED, /* to be told, when those before it are */
};

struct command {
    struct list queue; /* of the link that has it, or of the gate, or of those that are answered at the turn's end */
    struct list lane;  /* its place in the order of its slot, while that has a lane */
    enum command_place place;
    struct server *on; /* which server has it, or had it last */

    redis_done_fn *done;
    /* In place of done, for commands of our own: reply NULL when the connection broke; the caller frees it. */
    void (*internal)(void *ctx, const struct redisReply *reply);
    void *ctx;

    struct redis_script *script; /* of an EVALSHA */
    struct server *asked;        /* the one to ask this once, by an ASK */
    uint16_t slot;
    uint8_t tries;            /* how often it was sent again, for whatever reason */
    uint8_t hops;             /*   to another server, without a pause between */
    bool writes;              /* command_writes, where anybody wants to know */
    bool written;             /* to the connection: it may have been done */
    enum redis_answer answer; /* what its owner is going to be told, with reply */
    struct redisReply *reply;
    usec since, written_at;

    size_t n;
    char bytes[];
};

/* Formats it. since: now. */
struct command *command_new(unsigned slot, size_t argc, const struct slice *argv, usec since);
/* One of our own; words end with NULL. */
struct command *command_internal(void (*answered)(void *ctx, const struct redisReply *reply), void *ctx, usec since,
                                 const char *const *words);
bool command_writes(const struct command *c); /* it may change something */
void command_free(struct command *c);         /* out of its queue and lane, with its reply */
/* "XADD": for logs. */
struct slice command_name(const struct command *c);

/* Of a reply that is an error. */
static inline struct slice reply_text(const struct redisReply *reply)
{
    return slice_of(reply->str, reply->len);
}
static inline bool reply_is_error(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR;
}

#endif
