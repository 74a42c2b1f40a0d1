/* What the control socket does to a node. */
#ifndef HOLDFAST_RUN_NODE_CONTROL_H
#define HOLDFAST_RUN_NODE_CONTROL_H

#include "run/control_http.h"
#include "run/worker.h"

/* The node must outlive the control socket. */
struct control_actions node_control_actions(struct proxy_node *node);

#endif
