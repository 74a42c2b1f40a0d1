/* OpenSSL's objects, some forty for each connection, apart from all others (base/slab.h says why). */
#ifndef HOLDFAST_NET_TLS_MEMORY_H
#define HOLDFAST_NET_TLS_MEMORY_H

/* Before anything else of OpenSSL's and before there are threads. Left to malloc in sanitized programs, which watch
 * it, and where LD_PRELOAD is set. */
void tls_memory_init(void);

#endif
