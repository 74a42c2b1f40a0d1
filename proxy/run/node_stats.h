/* What the stats port shows of a node. */
#ifndef HOLDFAST_RUN_NODE_STATS_H
#define HOLDFAST_RUN_NODE_STATS_H

#include "run/stats_http.h"
#include "run/worker.h"

/* The node must outlive the stats port. */
struct stats_source node_stats_source(struct proxy_node *node);
/* Whether each worker's loop turned lately; else reasons, one per line. */
bool node_is_alive(struct proxy_node *node, struct buf *reasons);

/* node_sessions.c: the parts of the source that list sessions; ctx is the node. */
bool node_list_sessions(void *ctx, const struct stats_query *q, struct buf *out);
bool node_tell_session(void *ctx, struct slice sid, struct buf *out);

#endif
