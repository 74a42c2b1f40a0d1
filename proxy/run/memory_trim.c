#include "memory_trim.h"
#include <malloc.h>

#define LOOK_EVERY (2 * USEC_S)
#define QUIET      32  /* changes between two looks, at the most */
#define WORTH_IT   512 /* changes: some megabytes */

bool memory_trim_due(struct memory_trim *m, size_t changes, usec now)
{
    if (now - m->seen_at < LOOK_EVERY)
        return false;
    bool due = changes - m->seen <= QUIET && changes - m->done >= WORTH_IT;
    m->seen = changes;
    m->seen_at = now;
    if (due)
        m->done = changes;
    return due;
}

void memory_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
