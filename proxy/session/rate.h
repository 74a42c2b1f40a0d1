/* limits.bytes_per_second, limits.stanzas_per_second: a client that sends more is read more slowly, and never cut. It
 * has 10 s worth of both in hand, so that a queue that is sent again, or a big picture, is not held up. */
#ifndef HOLDFAST_SESSION_RATE_H
#define HOLDFAST_SESSION_RATE_H

#include "session/client_leg.h"

/* What the client sent. They may stop the leg, for STOP_RATE; a timer lets it go on. */
void rate_bytes(struct client_leg *c, size_t n);
void rate_element(struct client_leg *c, const struct element *e);

void rate_begin(struct client_leg *c);
/* Its timer off this worker, or for good; and on to the next worker. */
void rate_leave(struct client_leg *c);
void rate_arrive(struct client_leg *c);

#endif
