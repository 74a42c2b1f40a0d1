/* What a server tells of itself (INFO, CONFIG GET), and what that makes of the promise. Pure. */
#ifndef HOLDFAST_REDIS_FACTS_H
#define HOLDFAST_REDIS_FACTS_H

#include "base/buf.h"
#include "base/slice.h"
#include "redis/redis.h"
#include <stdbool.h>

struct facts {
    char run_id[64]; /* another one after each start; "" where it is not told */
    char version[32];
    char policy[32]; /* maxmemory_policy */
    char fsync[16];  /* appendfsync; "" where CONFIG GET is refused, as everywhere below */
    char save[64];
    bool saves_known; /* CONFIG GET save was answered */
    bool master, loading, aof, bounded /* maxmemory is set */;
    unsigned replicas; /* connected ones */
};

/* From the text of INFO, without sections or with. Sets all but fsync and save. */
void facts_read(struct facts *f, struct slice info);
enum redis_persistence facts_persistence(const struct facts *f);
bool facts_policy_is_unsafe(const struct facts *f);
/* What it means for the promise, a sentence for each point, "; " between. */
void facts_describe(const struct facts *f, unsigned wait_replicas, struct buf *out);

#endif
