/* The inside of the memory store, for the file that it is carried over a stop in. */
#ifndef HOLDFAST_STORE_MEMORY_VISIT_H
#define HOLDFAST_STORE_MEMORY_VISIT_H

#include "store/memory.h"

struct memory_visitor {
    void (*mail)(void *ctx, enum store_box box, const char *account, const struct entry *e);
    void (*session)(void *ctx, const char *sid, struct slice record);
    void (*grave)(void *ctx, const char *sid, const struct tombstone *t, usec until);
};

/* All messages, in order within each box, then all sessions, then all tombstones, the oldest first; under the store's
 * lock. */
void memory_store_visit(struct memory_store *m, const struct memory_visitor *v, void *ctx);
/* What was put so far came from a file. */
void memory_store_loaded(struct memory_store *m);
void memory_store_bury(struct memory_store *m, const char *sid, const struct tombstone *t, usec until);

#endif
