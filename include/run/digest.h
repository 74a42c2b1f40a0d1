/* Hashing, and keys out of secrets. */
#ifndef HOLDFAST_RUN_DIGEST_H
#define HOLDFAST_RUN_DIGEST_H

#include "base/slice.h"
#include <stddef.h>

/* The first n bytes (n <= 32) of SHA-256 of the text, as 2 * n lowercase hex digits and a NUL. */
void digest_hex(struct slice text, char *out, size_t n);
/* Likewise of HMAC-SHA256 (RFC 2104). */
void digest_keyed_hex(struct slice key, struct slice text, char *out, size_t n);
/* A key of n bytes for that one purpose out of a secret (HKDF-SHA256, RFC 5869): it tells nothing of the secret, nor of
 * the keys for other purposes. */
void digest_derive(struct slice secret, const char *purpose, unsigned char *out, size_t n);

#endif
