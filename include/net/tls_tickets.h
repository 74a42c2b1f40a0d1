/* The keys that seal session tickets (RFC 5077, RFC 8446 2.2): what a client brings back to skip most of a handshake.
 * The workers of a process share them; with a file, nodes do, and a process with the one after it. A key seals new
 * tickets while it is the first; the others open those of before.
 *
 * The file has one key of 80 bytes, or several: as they are, or each as a line of base64, where empty lines and lines
 * that begin with # do not count. A key is 16 bytes of name, 32 for AES-256-CBC, 32 for HMAC-SHA-256: any random ones,
 * as of `openssl rand`. */
#ifndef HOLDFAST_NET_TLS_TICKETS_H
#define HOLDFAST_NET_TLS_TICKETS_H

#include <stdbool.h>

struct tls_tickets;

/* The keys of that file; without one (NULL), a random key. NULL with *error_r (free it): "FILE:3: …". */
struct tls_tickets *tls_tickets_new(const char *file, char **error_r);
/* After all contexts and transports that use them. NULL is fine. */
void tls_tickets_free(struct tls_tickets *t);
/* Takes over the keys of `fresh`, which is freed: a reload. Random ones stay if those are random too. Any thread, while
 * others use t. */
void tls_tickets_replace(struct tls_tickets *t, struct tls_tickets *fresh);
/* A new random key becomes the first one; the one before it still opens. Nothing happens to keys of a file. Any thread.
 */
void tls_tickets_rotate(struct tls_tickets *t);

#endif
