/* A server, across its connections. */
#ifndef HOLDFAST_REDIS_SERVER_H
#define HOLDFAST_REDIS_SERVER_H

#include "private.h"

/* Answers that wait until replicas have what they answer, oldest first. */
struct gate {
    struct list held; /* struct command.queue */
    unsigned asked;   /* WAITs that are not answered */
    bool lacking;     /* the last one was answered with too few */
};

struct server {
    struct redis *redis;
    struct list link; /* redis.servers */
    char *host;       /* NULL: UNIX socket, or not found yet */
    int port;
    char text[80];           /* for logs: "127.0.0.1:6379" */
    struct link *connection; /* NULL: none, waits for its retry */
    bool up;
    bool wanted;               /* Cluster: the map has it */
    usec known_at;             /*   and had it last */
    unsigned run;              /* another one after each start of the server */
    unsigned long long loaded; /* scripts, by their place in redis.scripts */
    struct facts facts;        /* of the last login */
    struct gate gate;
    usec up_since, backoff;
    struct timer retry;
    char *why;     /* why it is not up; NULL: it is */
    bool fault;    /* because of what the operator has set */
    char *refusal; /* up, but it does not take writes: OOM and the like; NULL: it does */
    usec probe_delay, well_since;
    struct timer probe;
};

/* host NULL: it has to be found, or is a UNIX socket. */
struct server *server_new(struct redis *r, const char *host, int port);
void server_free(struct server *s); /* nothing is answered */
/* Opens a connection; host NULL: as before. */
void server_connect(struct server *s, const char *host, int port);
/* It could not be found; it is tried again. */
void server_failed(struct server *s, bool fault, const char *why);
/* Is to be called once it is up. */
void server_put(struct server *s, struct command *c);
void server_forget_script(struct server *s, const struct redis_script *script); /* it has */
bool server_turn(struct server *s);                                             /* true: there is more to write */
/* It has refused a write because of its own state; probed until it takes them again. */
void server_refuses(struct server *s, const char *why);
/* Likewise, without a probe: whoever says so says also that it recovers. */
void server_lacks(struct server *s, const char *why);
void server_recovers(struct server *s);
static inline bool server_is_writable(const struct server *s)
{
    return s && s->up && !s->refusal;
}

/* --- replicas.c --- */
/* True: it waits there (place is COMMAND_GATED) with its answer. */
bool gate_takes(struct server *s, struct command *c);
/* The WAIT behind a batch. */
struct command *gate_batch(struct server *s);
/* The connection broke: nobody knows of what it holds. */
void gate_break(struct server *s);
void gate_clear(struct server *s); /* frees what it holds */

#endif
