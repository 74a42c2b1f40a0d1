#include "base/pace.h"

usec pace_claim(struct pace *p, usec now, unsigned rate, usec longest)
{
    if (rate == 0)
        return now;
    usec interval = rate < USEC_S ? USEC_S / rate : 1;
    int64_t next = atomic_load_explicit(&p->next, memory_order_relaxed), at;
    do {
        at = next > now - PACE_BURST ? next : now - PACE_BURST;
        if (longest >= 0 && at - now > longest)
            return -1;
    } while (!atomic_compare_exchange_weak_explicit(&p->next, &next, at + interval, memory_order_relaxed,
                                                    memory_order_relaxed));
    return at > now ? at : now;
}
