/* One question to whoever of several hosts answers it first: in order, each with a short time-out, over connections of
 * its own. */
#ifndef HOLDFAST_REDIS_QUESTION_H
#define HOLDFAST_REDIS_QUESTION_H

#include "link.h"

struct question;

#define QUESTION_TIMEOUT USEC_S /* for the connection, and for the answer */

struct question_asks {
    const char *const *words; /* the command, ends with NULL; must outlive the question */
    /* NULL: that is the answer. Else why it is none; the next host is asked. */
    const char *(*answer)(void *ctx, const struct redis_host *host, const struct redisReply *reply);
    /* The last event: host has answered; NULL: nobody has, and why. Free the question here. */
    void (*done)(void *ctx, const struct redis_host *host, bool fault, const char *why);
    void *ctx;
};

/* hosts: copied; one at least. Nothing is called before it has returned. */
struct question *question_new(const struct link_options *o, const struct redis_host *hosts, size_t n,
                              const struct question_asks *asks);
void question_free(struct question **q); /* NULL is fine */
void question_turn(struct question *q);

#endif
