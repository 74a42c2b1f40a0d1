/* When free memory goes back to the system. glibc keeps what connections and their handshakes have left: behind a storm
 * that is several times what its sessions need. Giving it back takes some milliseconds for each hundred megabytes, in
 * which threads may wait for memory: it is done when it is worth that, and no more connections come and go. Where they
 * always do, the memory is of use. */
#ifndef HOLDFAST_RUN_MEMORY_TRIM_H
#define HOLDFAST_RUN_MEMORY_TRIM_H

#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>

struct memory_trim {   /* {0} is a valid fresh one */
    size_t done, seen; /* changes when it was due last, and when that was looked at */
    usec seen_at;
};

/* changes: connections that have begun or ended since the start. To be asked often. True: it is time. */
bool memory_trim_due(struct memory_trim *m, size_t changes, usec now);
/* Gives all back that can be. Any thread. */
void memory_trim(void);

#endif
