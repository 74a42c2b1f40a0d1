/* Looks at the start whether the upstream can be reached, and while it cannot, looks again: so that /readyz comes back
 * by itself when no client is sent here to find out. Lives on one worker. */
#ifndef HOLDFAST_RUN_HEALTH_H
#define HOLDFAST_RUN_HEALTH_H

struct context;
struct health;

struct health *health_new(struct context *cx);
void health_look(struct health *h); /* now, unless it does so already; NULL is fine */
void health_free(struct health *h); /* on the worker's thread or when that has ended; NULL is fine */

#endif
