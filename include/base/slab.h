/* Memory for a library whose many small objects live as long as a connection does. They lie in slabs: 64 KiB each, of
 * objects of one size and nothing else, so that slabs become empty when connections end, and go back to the system;
 * among other objects on the heap what remains would hold their pages. An object costs its size, rounded up to 16
 * bytes.
 *
 * Each thread has slabs of its own, and takes no locks; what others free of them it has again when it tidies up. So it
 * is for threads that last. Large objects are malloc's; so are all where slab_init was not called, or addresses are
 * scarce: 16 GiB of them are reserved, which costs nothing. */
#ifndef HOLDFAST_BASE_SLAB_H
#define HOLDFAST_BASE_SLAB_H

#include <stddef.h>

void slab_init(void);       /* once, before there are other threads */
void *slab_alloc(size_t n); /* uninitialised, aligned as malloc does; NULL when there is no memory, or n is 0 */
void *slab_realloc(void *p, size_t n); /* n is 0: frees, and returns NULL */
void slab_free(void *p);               /* of any thread; NULL is fine */
/* Takes back what others have freed of the calling thread's, and gives back what is empty. Now and then. */
void slab_tidy(void);

#endif
