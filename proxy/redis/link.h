/* One connection to a server, from its dial to its end: the login, commands out and answers in, in order, each exactly
 * once; time-outs. Who opens it decides what follows its end. */
#ifndef HOLDFAST_REDIS_LINK_H
#define HOLDFAST_REDIS_LINK_H

#include "command.h"
#include "facts.h"
#include "net/dialer.h"

struct link;

struct link_address {
    const char *host; /* NULL: path */
    int port;
    const char *path;
};

/* What all connections have in common; strings must outlive them. */
struct link_options {
    struct loop *loop;
    struct dialer *dialer;
    struct tls_context *tls; /* NULL: in clear */
    const char *user, *password;
    int db;
    bool bare; /* no more than AUTH goes ahead: sentinels, subscriptions */
    usec connect_timeout, command_timeout;
};

/* Never inside of a call of link_*. No link of the same owner may be freed in one but in `gone`. */
struct link_events {
    /* Logged in. facts: what the server tells of itself, valid during the call; NULL for a bare one. */
    void (*up)(void *ctx, const struct facts *facts);
    /* The reply is the callee's (freeReplyObject), and so is the command. NULL: the connection broke; c->written tells
     * whether the command may have been done. Commands with `internal` do not come here. */
    void (*answered)(void *ctx, struct command *c, struct redisReply *reply);
    /* A message to a subscriber. NULL: none are expected. */
    void (*message)(void *ctx, struct slice message);
    /* A batch was written that had commands with `writes` in it: what is returned is written behind it. NULL: nothing
     */
    struct command *(*batch)(void *ctx);
    /* It broke, or could not be made. `answered` follows for what is unanswered, then `gone`. fault: by what the
     * operator has set; to try again will not help. */
    void (*down)(void *ctx, bool fault, const char *why);
    /* The last event; link_free it here or later. */
    void (*gone)(void *ctx);
};

struct link *link_open(const struct link_options *o, const struct link_address *a, const struct link_events *events,
                       void *ctx);
/* Nothing unanswered is answered any more. Sets *l to NULL; NULL is fine. */
void link_free(struct link **l);
bool link_is_up(const struct link *l); /* NULL: no */
/* Takes it over, and writes it at a link_turn. On one that is up (or by the login itself). */
void link_send(struct link *l, struct command *c);
/* Writes what waits, within bounds. True: there is more, for the next turn. */
bool link_turn(struct link *l);
/* Ends it soon, as if it had broken. */
void link_break(struct link *l, bool fault, const char *why);
/* Bytes of commands that are not answered. */
size_t link_backlog(const struct link *l);
/* Commands of a slot that are unanswered here, in order, until visit returns false. */
void link_each(struct link *l, unsigned slot, void (*visit)(void *ctx, struct command *c), void *ctx);

#endif
