#include "base/clock.h"
#include <stdio.h>
#include <time.h>

static usec read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * USEC_S + ts.tv_nsec / 1000;
}

void clock_read(struct clock *c)
{
    c->mono = read_clock(CLOCK_MONOTONIC);
    c->wall = read_clock(CLOCK_REALTIME);
}

char *clock_stamp(char out[CLOCK_STAMP_SIZE], usec wall)
{
    time_t s = (time_t)(wall / USEC_S);
    struct tm tm;
    char date[32];
    gmtime_r(&s, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, CLOCK_STAMP_SIZE, "%.19s.%03uZ", date, (unsigned)(wall % USEC_S / 1000) % 1000);
    return out;
}
