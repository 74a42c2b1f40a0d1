/* Ordered timers driven by "now"; no event loop inside. A heap: arming costs O(log n), so owners keep one lazy
 * timer each: store the real deadline, and arm again only when the timer fires early. Not thread-safe. */
#ifndef HOLDFAST_BASE_TIMERS_H
#define HOLDFAST_BASE_TIMERS_H

#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>

struct timer {
    usec at;                 /* read-only for owners; valid while armed */
    size_t index;            /* 1-based place in the heap, 0 = not armed */
    void (*fire)(void *ctx); /* called once, disarmed before the call; may arm again or free its owner */
    void *ctx;
};

struct timers;

struct timers *timers_new(void);
void timers_free(struct timers *t); /* armed timers are forgotten, not fired */
/* Arms, or moves an armed timer. */
void timers_arm(struct timers *t, struct timer *timer, usec at);
/* Arms unless it is armed for that time or earlier: the lazy way to push a deadline ahead. */
void timers_arm_by(struct timers *t, struct timer *timer, usec at);
void timers_cancel(struct timers *t, struct timer *timer); /* harmless when not armed */
static inline bool timer_armed(const struct timer *timer)
{
    return timer->index != 0;
}
/* The earliest deadline, -1 when nothing is armed. */
usec timers_next(const struct timers *t);
/* Fires all that are due at `now`, in order of their deadlines; those armed meanwhile for <= now fire too, but at most
 * `budget` in all. Returns how many fired. */
size_t timers_run(struct timers *t, usec now, size_t budget);

#endif
