/* Whether one upstream server is up, by what dials and checks have found, and when to look again. Pure: time and chance
 * come from the caller. */
#ifndef HOLDFAST_RUN_UPSTREAM_HEALTH_H
#define HOLDFAST_RUN_UPSTREAM_HEALTH_H

#include "base/clock.h"
#include <stdbool.h>
#include <stdint.h>

/* UNTRIED --first result--> UP or DOWN; then it takes that many results in a row to change its state: a single SYN lost
 * takes no server out, and one that flaps does not come back at its first sign of life. */
enum upstream_state { UPSTREAM_UNTRIED, UPSTREAM_UP, UPSTREAM_DOWN };
#define HEALTH_RESULTS 2

#define HEALTH_CHECK_UP   (10 * USEC_S) /* behind the last result, while up */
#define HEALTH_CHECK_DOWN (2 * USEC_S)
#define HEALTH_CHECK_SOON (500 * USEC_MS) /* while the last result speaks against the state */
#define HEALTH_RAMP       (30 * USEC_S)   /* until one that came back gets its full share of new sessions */

/* {0} is a server that nobody has tried, and that is to be checked at once. */
struct upstream_health {
    enum upstream_state state;
    unsigned against; /* results in a row that speak against it */
    usec since;       /* of the state; 0 = untried */
    bool came_back;   /* it had been down before */
    usec check_at;
};

/* A dial or a check has worked or not. chance: any random number, for the jitter. True if the state has changed. */
bool health_note(struct upstream_health *h, bool good, usec now, uint32_t chance);
/* Something makes it doubtful that the server still lives: look now, and if that fails it needs no second failure. */
void health_suspect(struct upstream_health *h, usec now);
/* The share of its turns at new sessions that it may take, in percent: 100, but less for some time after it came back,
 * and 0 before its first result, which a check brings soon. */
unsigned health_share(const struct upstream_health *h, usec now);

#endif
