/* What the control socket does to a node. */
#ifndef HOLDFAST_RUN_NODE_CONTROL_H
#define HOLDFAST_RUN_NODE_CONTROL_H

#include "run/control_http.h"
#include "run/worker.h"

/* The node must outlive the control socket. */
struct control_actions node_control_actions(struct proxy_node *node);

/* node_fates.c: the action that tells what became of a message; ctx is the node. */
enum control_result node_tell_message(void *ctx, struct slice id, struct buf *out);

#endif
