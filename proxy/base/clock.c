#include "base/clock.h"
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

/* Decimal digits, with zeros ahead. Returns what is behind them. */
static char *put_digits(char *p, unsigned n, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; n /= 10)
        p[i] = (char)('0' + n % 10);
    return p + digits;
}

char *clock_stamp(char out[CLOCK_STAMP_SIZE], usec wall)
{
    static const char between[] = "--T::.Z";
    time_t s = (time_t)(wall / USEC_S);
    struct tm tm;
    gmtime_r(&s, &tm);
    const unsigned parts[] = {(unsigned)tm.tm_year + 1900,
                              (unsigned)tm.tm_mon + 1,
                              (unsigned)tm.tm_mday,
                              (unsigned)tm.tm_hour,
                              (unsigned)tm.tm_min,
                              (unsigned)tm.tm_sec,
                              (unsigned)(wall % USEC_S / 1000)};
    const unsigned digits[] = {4, 2, 2, 2, 2, 2, 3};
    char *p = out;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        p = put_digits(p, parts[i], digits[i]);
        *p++ = between[i];
    }
    *p = '\0';
    return out;
}
