/* Spreads events so that no more than a rate of them happens, over all threads together (the generic cell rate
 * algorithm): each claims a time of its own. O(1), no lock, no queue. */
#ifndef HOLDFAST_BASE_PACE_H
#define HOLDFAST_BASE_PACE_H

#include "base/clock.h"
#include <stdatomic.h>

struct pace { /* {0} is a valid one */
    _Atomic int64_t next;
};

/* A tenth of a second's worth may happen at once after a quiet time. */
#define PACE_BURST (USEC_S / 10)

/* When this event may happen: now, or later. rate: events a second, 0 = no limit. With longest >= 0 nothing is claimed,
 * and -1 returned, when it would have to wait for longer than that. */
usec pace_claim(struct pace *p, usec now, unsigned rate, usec longest);

#endif
