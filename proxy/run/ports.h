/* The ports of the node: bound as configured, or passed by the service manager (socket activation). */
#ifndef HOLDFAST_RUN_PORTS_H
#define HOLDFAST_RUN_PORTS_H

#include "run/worker.h"

/* "starttls", "tls", "ws", "wss", "peer": as the keys of the configuration and the sockets of the service manager are
 * named (which passes none for other nodes). */
const char *port_kind_name(enum port_kind kind);
/* Binds the address once for each worker: the kernel spreads the connections. False with *error_r (free it). */
bool port_add(struct proxy_node *node, const char *address, enum port_kind kind, char **error_r);

struct passed; /* sockets of the service manager that nobody has taken yet, by the kind that they are named after */

/* NULL with *error_r (free it) if there is one of an unknown kind: it would take connections that nobody answers. */
struct passed *passed_new(char **error_r);
void passed_free(struct passed *p); /* closes what is left; NULL is fine */
bool passed_has(const struct passed *p, const char *kind);
int passed_take(struct passed *p, const char *kind); /* -1: none is left */
/* Takes all of that kind as ports for clients, under its name. Where there are as many as workers on one address
 * (ReusePort=, the line repeated) each has its own; else one worker accepts for all. */
bool passed_add_ports(struct passed *p, struct proxy_node *node, enum port_kind kind, char **error_r);

#endif
