/* Memory for what there is many of. Objects lie in slabs, 64 KiB each, of one size and one life and nothing else: so
 * slabs become empty when connections end, and go back to the system. On the heap, among others, what remains would
 * hold the pages of what has gone. An object costs its size, rounded up to 16 bytes.
 *
 * Each thread has slabs of its own, and takes no locks; what others free of them it has again when it tidies up. So it
 * is for threads that last. Large objects are malloc's; so are all where slab_init was not called, or addresses are
 * scarce: 16 GiB of them are reserved, which costs nothing. */
#ifndef HOLDFAST_BASE_SLAB_H
#define HOLDFAST_BASE_SLAB_H

#include <stddef.h>

/* What an object goes with. */
enum slab_life {
    SLAB_CONNECTION, /* of a client */
    SLAB_SESSION,    /* or the connection to its server */
    SLAB_RECORD,     /* what is left of a session */
    SLAB_LIVES,
};

void slab_init(void); /* once, before there are other threads */
/* Uninitialised, aligned as malloc does; NULL when there is no memory, or n is 0. */
void *slab_alloc(enum slab_life life, size_t n);
void *slab_realloc(enum slab_life life, void *p, size_t n); /* n is 0: frees, and returns NULL */
void *slab_zalloc(enum slab_life life, size_t n);           /* zeroed; never fails, as mem_zalloc */
void slab_free(void *p);                                    /* of any thread; NULL is fine */
/* Takes back what others have freed of the calling thread's, and gives back what is empty. Now and then. */
void slab_tidy(void);

#define SLAB_NEW(life, type) ((type *)slab_zalloc(life, sizeof(type)))

#endif
