/* Index of objects by bytes that lie in them: some 20 bytes for each, where a map (base/map.h) has an entry and a copy
 * of the key. Keyed hash with a random seed, so that nobody can choose colliding keys. Not thread-safe. */
#ifndef HOLDFAST_BASE_INDEX_H
#define HOLDFAST_BASE_INDEX_H

#include "base/slice.h"
#include <stdbool.h>
#include <stddef.h>

struct index;

/* key: that of an object; it stays as it is while the object is in the index. */
struct index *index_new(struct slice (*key)(const void *object));
void index_free(struct index *ix); /* the objects stay the caller's; NULL is fine */
size_t index_count(const struct index *ix);
void *index_get(const struct index *ix, struct slice key); /* NULL when absent */
void *index_put(struct index *ix, void *object);           /* returns the one whose place it takes, or NULL */
void *index_remove(struct index *ix, struct slice key);    /* returns the object, or NULL */
/* Calls visit for each object until it returns false, in no order. The current one may be removed by visit, nothing
 * else. */
void index_each(struct index *ix, bool (*visit)(void *ctx, void *object), void *ctx);

#endif
