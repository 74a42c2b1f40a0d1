/* OpenSSL's objects, some forty for each connection, apart from all others (base/slab.h says why). */
#ifndef HOLDFAST_NET_TLS_MEMORY_H
#define HOLDFAST_NET_TLS_MEMORY_H

/* Before anything else of OpenSSL's and before there are threads. Sanitized programs leave it to malloc, which they
 * watch. */
void tls_memory_init(void);

#endif
