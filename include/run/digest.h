/* The one place outside net/ that uses OpenSSL: hashing. */
#ifndef HOLDFAST_RUN_DIGEST_H
#define HOLDFAST_RUN_DIGEST_H

#include "base/slice.h"
#include <stddef.h>

/* The first n bytes (n <= 32) of SHA-256 of the text, as 2 * n lowercase hex digits and a NUL. */
void digest_hex(struct slice text, char *out, size_t n);
/* Likewise of HMAC-SHA256 (RFC 2104). */
void digest_keyed_hex(struct slice key, struct slice text, char *out, size_t n);

#endif
