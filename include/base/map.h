/* Hash map keyed by bytes. Keys are copied (for those that lie in the values: base/index.h); values are the caller's
 * pointers. Keyed hash with a random seed, so that nobody can choose colliding keys. Not thread-safe. */
#ifndef HOLDFAST_BASE_MAP_H
#define HOLDFAST_BASE_MAP_H

#include "base/slice.h"
#include <stddef.h>

struct map;

struct map *map_new(void);
void map_free(struct map *m); /* values stay the caller's; NULL is fine */
size_t map_count(const struct map *m);
void *map_get(const struct map *m, struct slice key);        /* NULL when absent */
void *map_put(struct map *m, struct slice key, void *value); /* returns the value it replaced, or NULL */
void *map_remove(struct map *m, struct slice key); /* returns the value it held, or NULL */
/* Calls visit for each entry until it returns false. The current entry may be removed by visit, nothing else. */
void map_each(struct map *m, bool (*visit)(void *ctx, struct slice key, void *value), void *ctx);

#endif
