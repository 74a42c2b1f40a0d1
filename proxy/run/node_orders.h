/* What the main thread can be told to do. To be called on it, by messages to proxy_node.inbox, whose owner is their
 * first argument. */
#ifndef HOLDFAST_RUN_NODE_ORDERS_H
#define HOLDFAST_RUN_NODE_ORDERS_H

#include "run/config.h"

/* As SIGHUP. False, and nothing has changed, with errors among the problems; warnings may be there in either case. */
bool node_reload(void *running, struct config_problems *problems);
/* As the first SIGTERM: drains, then stops. Harmless when that goes on already. */
void node_drain(void *running);

#endif
