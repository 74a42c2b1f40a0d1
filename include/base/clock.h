/* Time, read once per loop turn and handed down; tests set it by hand.
 * All durations and points in time in the code are microseconds in a usec. */
#ifndef HOLDFAST_BASE_CLOCK_H
#define HOLDFAST_BASE_CLOCK_H

#include <stdint.h>

typedef int64_t usec;

#define USEC_MS 1000LL
#define USEC_S  1000000LL

struct clock {
    usec mono; /* monotonic: timers, ages */
    usec wall; /* since 1970 UTC: delay stamps, log lines */
};

void clock_read(struct clock *c); /* from the system */

#define CLOCK_STAMP_SIZE sizeof("1970-01-01T00:00:00.000Z")
/* XEP-0082 dateTime in UTC with milliseconds, as XEP-0203 wants it in stamps. Returns out. */
char *clock_stamp(char out[CLOCK_STAMP_SIZE], usec wall);

#endif
