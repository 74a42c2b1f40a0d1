/* The drain: the node's clients are sent away so that they resume elsewhere. /readyz fails at once; behind
 * proxy.drain_grace no new streams are let in; then client legs are cut at proxy.drain_rate a second, until none is
 * left or proxy.drain has passed. */
#ifndef HOLDFAST_RUN_DRAIN_H
#define HOLDFAST_RUN_DRAIN_H

#include "run/worker.h"

/* The main thread's part; the rest is proxy_node.drain, for all to see. {0}: none goes on. */
struct drain {
    usec grace_end, cut_at, told_at;
    double due;     /* clients to be cut by now, less those that were */
    unsigned next;  /* worker that gets what does not divide */
    size_t clients; /* at its beginning */
};

void drain_begin(struct drain *d, struct proxy_node *node, usec now);
/* The next step, every tick. True: it is over. */
bool drain_step(struct drain *d, struct proxy_node *node, usec now);

#endif
