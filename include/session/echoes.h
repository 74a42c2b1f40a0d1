/* Messages that their senders' sessions expect to see at their recipients (proxy/session/echo.h), of all workers of a
 * node. */
#ifndef HOLDFAST_SESSION_ECHOES_H
#define HOLDFAST_SESSION_ECHOES_H

#include <stdint.h>

struct context;

/* Any thread may use it. It is bounded: who finds a place taken takes it over, and the other one does without. */
struct echoes;

struct echoes *echoes_new(void);
void echoes_free(struct echoes *all);

/* What context_ops.post_echo is to call on the worker that it was told. */
void echo_told(struct context *cx, uint64_t key);

#endif
