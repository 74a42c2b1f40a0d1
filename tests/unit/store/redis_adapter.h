/* What stands behind redis/redis.h in tests of the store: blocking, over a UNIX socket to a real server, and able to
 * lose what a network loses. And the server itself. */
#ifndef HOLDFAST_TESTS_REDIS_ADAPTER_H
#define HOLDFAST_TESTS_REDIS_ADAPTER_H

#include "redis/redis.h"
#include <sys/types.h>

/* ---- a server of the test's own ---- */

struct redis_server {
    pid_t pid;
    char dir[64], socket[96];
};

void server_make(struct redis_server *s); /* in a directory of its own */
void server_start(struct redis_server *s);
void server_kill(struct redis_server *s); /* memory is lost, files stay */
void server_remove(struct redis_server *s);
void server_keep_dump(struct redis_server *s); /* SAVE: what the next start reads */
void server_drop_dump(struct redis_server *s);

struct redisReply;
/* A plain command, words separated by blanks, on a connection of its own; free the reply. */
struct redisReply *server_ask(struct redis_server *s, const char *command);
long long server_number(struct redis_server *s, const char *command);

/* ---- a client ---- */

enum fault {
    FAULT_NONE,
    FAULT_REFUSED,     /* this one command is answered REDIS_AWAY, as by a full server; those behind it go on */
    FAULT_NOT_SENT,    /* the connection breaks ahead of it ... */
    FAULT_HELD,        /* the same, but the server hangs, and does it all when adapter_let_go says so ... */
    FAULT_ANSWER_LOST, /* ... or behind it and all that was sent with it: REDIS_UNKNOWN, and away until adapter_back */
};

struct redis *adapter_new(struct redis_server *server, const struct redis_events *events, void *ctx);
/* Strikes the next command of that name (of a script: the script's), after so many others of it. */
void adapter_fault(struct redis *r, enum fault fault, const char *name, unsigned after);
void adapter_let_go(struct redis *r);
void adapter_away(struct redis *r);
void adapter_back(struct redis *r, bool fresh); /* connects anew */
size_t adapter_pending(const struct redis *r);
void adapter_listen(struct redis *r, const char *channel, struct redis *speaker); /* hears what that one publishes */

#endif
