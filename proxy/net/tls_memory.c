#include "net/tls_memory.h"
#include "base/slab.h"
#include <openssl/crypto.h>
#include <stdlib.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void *take(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return slab_alloc(SLAB_CONNECTION, n);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return slab_realloc(SLAB_CONNECTION, p, n);
}

static void give(void *p, const char *file, int line)
{
    (void)file, (void)line;
    slab_free(p);
}

/* Who preloads something may want to see each allocation (valgrind), or has chosen an allocator. */
void tls_memory_init(void)
{
    if (!getenv("LD_PRELOAD") && CRYPTO_set_mem_functions(take, resize, give))
        slab_init();
}
#else
void tls_memory_init(void) {}
#endif
