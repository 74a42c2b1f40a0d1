/* Which upstream server a new session goes to, and which ones are tried if that cannot be connected. Pure. */
#ifndef HOLDFAST_RUN_UPSTREAM_CHOICE_H
#define HOLDFAST_RUN_UPSTREAM_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct upstream_candidate {
    unsigned priority, weight; /* RFC 2782; without SRV records all have the same */
    size_t sessions;           /* that it has of us, those being dialled included */
    bool down;
    unsigned share; /* percent of its turns that it may take: health_share */
};

/* Writes the indices of those to try, in this order, and returns how many. Those that are down are left out, unless all
 * are. Then the lower priority value is first, whatever the load. Among equals the one with the least sessions for its
 * weight is first: sessions last for days, so that turns by chance alone would not even out. One with a smaller
 * share stands back behind the others in the rest of its turns. random: uniform in [0, bound). */
size_t upstream_choose(const struct upstream_candidate *c, size_t n, uint32_t (*random)(uint32_t bound), size_t *order);

#endif
