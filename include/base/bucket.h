/* A token bucket in one number: when it will be full again. What is taken pushes that time ahead by its cost, which is
 * the time in which as much flows in; the bucket holds `burst` worth of time, and what is taken beyond is owed. */
#ifndef HOLDFAST_BASE_BUCKET_H
#define HOLDFAST_BASE_BUCKET_H

#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>

struct bucket {
    usec full_at; /* zeroed: full */
};

/* Of n things at that many a second; rounded up, so that nothing is free. */
static inline usec bucket_cost(size_t n, size_t a_second)
{
    return (usec)((n * (size_t)USEC_S + a_second - 1) / a_second);
}
static inline bool bucket_is_full(const struct bucket *b, usec now)
{
    return b->full_at <= now;
}
static inline void bucket_take(struct bucket *b, usec now, usec cost)
{
    b->full_at = (bucket_is_full(b, now) ? now : b->full_at) + cost;
}
static inline void bucket_give_back(struct bucket *b, usec cost)
{
    b->full_at -= cost;
}
/* What was taken and has not flowed in again, as time. */
static inline usec bucket_missing(const struct bucket *b, usec now)
{
    return bucket_is_full(b, now) ? 0 : b->full_at - now;
}
/* How long it takes until nothing is owed any more; 0 when nothing is. */
static inline usec bucket_owes(const struct bucket *b, usec now, usec burst)
{
    usec missing = bucket_missing(b, now);
    return missing > burst ? missing - burst : 0;
}

#endif
