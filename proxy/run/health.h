/* Checks the upstream servers: connects, does TLS and STARTTLS as a session would, and wants a stream header and
 * features. Every few seconds while one is down, less often while it is up and no session's dial has shown it. Lives on
 * one worker. */
#ifndef HOLDFAST_RUN_HEALTH_H
#define HOLDFAST_RUN_HEALTH_H

#include "net/dialer.h"
#include "run/upstreams.h"

struct context;
struct health;

/* What it needs of its worker. */
struct health_ops {
    /* Dials these routes as for a session of that domain. */
    struct transport *(*dial)(struct context *cx, const struct dial_route *routes, size_t n, const char *domain);
};

struct health *health_new(struct context *cx, struct upstreams *upstreams, const struct health_ops *ops);
void health_free(struct health *h); /* on the worker's thread or when that has ended; NULL is fine */
/* A check may be due earlier than had been told. */
void health_look(struct health *h);

#endif
