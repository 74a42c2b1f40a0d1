#include "upstream_health.h"

#define LEAST_SHARE 10 /* percent, at the beginning of the ramp */

/* Up to a fifth more or less: nodes that lost a server at the same moment do not look for it in step. */
static usec jittered(usec interval, uint32_t chance)
{
    return interval * 4 / 5 + interval * 2 / 5 * (chance % 1000) / 1000;
}

static void set_state(struct upstream_health *h, bool good, usec now)
{
    h->came_back = good && h->state == UPSTREAM_DOWN;
    h->state = good ? UPSTREAM_UP : UPSTREAM_DOWN;
    h->since = now;
    h->against = 0;
}

bool health_note(struct upstream_health *h, bool good, usec now, uint32_t chance)
{
    enum upstream_state before = h->state;
    if (before == UPSTREAM_UNTRIED)
        set_state(h, good, now);
    else if (good == (before == UPSTREAM_UP))
        h->against = 0;
    else if (++h->against >= HEALTH_RESULTS)
        set_state(h, good, now);
    usec interval = h->against ? HEALTH_CHECK_SOON : h->state == UPSTREAM_UP ? HEALTH_CHECK_UP : HEALTH_CHECK_DOWN;
    h->check_at = now + jittered(interval, chance);
    return h->state != before;
}

void health_suspect(struct upstream_health *h, usec now)
{
    if (h->state != UPSTREAM_UP || h->against) /* once, however many sessions break */
        return;
    h->against = HEALTH_RESULTS - 1;
    h->check_at = now;
}

unsigned health_share(const struct upstream_health *h, usec now)
{
    usec up_for = now - h->since;
    if (h->state == UPSTREAM_UNTRIED)
        return 0;
    if (h->state != UPSTREAM_UP || !h->came_back || up_for >= HEALTH_RAMP)
        return 100;
    return LEAST_SHARE + (unsigned)((100 - LEAST_SHARE) * up_for / HEALTH_RAMP);
}
