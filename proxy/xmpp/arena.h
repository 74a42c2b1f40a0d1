/* Memory that dies all at once: what is noted about one element, reused for the next. */
#ifndef HOLDFAST_XMPP_ARENA_H
#define HOLDFAST_XMPP_ARENA_H

#include "base/slice.h"
#include <stddef.h>

struct arena_block;
struct arena { /* {0} is a valid empty one */
    struct arena_block *block;
    size_t used; /* of that block */
};

void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned for pointers */
char *arena_bytes(struct arena *a, size_t n); /* uninitialised, not aligned; never NULL */
struct slice arena_copy(struct arena *a, struct slice s);
void arena_reset(struct arena *a); /* everything in it is gone; one small block is kept */
void arena_free(struct arena *a);

#endif
