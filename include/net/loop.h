/* One libev loop: the current time, timers, end-of-turn work, wake-ups from other threads. Everything here but
 * loop_wake belongs to the loop's own thread. loop_new makes the process ignore SIGPIPE unless it has a handler
 * (OpenSSL cannot write without raising it).
 *
 * A turn: sockets, then timers that are due, then turn_end, then the transports write, then what was freed is
 * released. */
#ifndef HOLDFAST_NET_LOOP_H
#define HOLDFAST_NET_LOOP_H

#include "base/clock.h"
#include "base/list.h"
#include "base/timers.h"
#include <stdbool.h>
#include <stddef.h>

struct loop;
struct ev_loop;

struct loop *loop_new(void);
/* No transport, listener, dial or timer may be left on it; transports freed gracefully that still flush or wait for the
 * peer's goodbye are closed at once. */
void loop_free(struct loop *l);
void loop_run(struct loop *l);  /* returns after loop_stop, with that turn ended in order; may be called again */
void loop_stop(struct loop *l); /* from a callback on the loop */

/* Updated at the start of each turn (before any callback of that turn). */
const struct clock *loop_clock(const struct loop *l);
struct timers *loop_timers(struct loop *l);
struct ev_loop *loop_ev(struct loop *l); /* for net/ only */
/* Transports freed gracefully that are not done yet (each takes seconds at most): a stopping program may wait
 * for none, looking at each turn_end. */
size_t loop_closing(const struct loop *l);

/* Work at the end of each turn, after all I/O and timer callbacks and before the transports flush what was written
 * in it: the place where sessions decide on acks and requests, so that these leave in the same write. One
 * callback; it is called once before the first sleep, too. Work that it causes is done without sleeping. */
void loop_on_turn_end(struct loop *l, void (*turn_end)(void *ctx), void *ctx);
/* Behind all of it, when what was written has left: loop_last_turn tells how long the turn was. */
void loop_on_turn_done(struct loop *l, void (*turn_done)(void *ctx), void *ctx);
/* Called on the loop's thread some time after loop_wake. */
void loop_on_wake(struct loop *l, void (*woken)(void *ctx), void *ctx);
/* From any thread; cheap; several calls may coalesce. Whoever may call it must be done before loop_free. */
void loop_wake(struct loop *l);

/* How long the last turn took from its first callback to the end of its writes: for the lag histogram. */
usec loop_last_turn(const struct loop *l);
/* The longest one since the last call of this. */
usec loop_longest_turn(struct loop *l);

#endif
