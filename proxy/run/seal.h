/* Sealing: what is given to a store that others may read, so that nobody reads it without a key (AES-256-GCM). The keys
 * come from a file that all nodes share: one a line, 64 hex digits or 32 bytes in base64; empty lines and lines that
 * begin with # do not count. The first one seals, all of them open.
 *
 * A text in clear is opened as it is: it was stored before there were keys. So a seal hides; that nobody with access to
 * the store puts a text of his own there is not what it is for.
 *
 * The keys are shared by the workers and may be replaced at any time; each worker has a sealer, whose calls take no
 * lock unless that has happened. */
#ifndef HOLDFAST_RUN_SEAL_H
#define HOLDFAST_RUN_SEAL_H

#include "base/buf.h"
#include "base/slice.h"
#include <stdbool.h>

#define SEAL_ID_SIZE  9  /* 8 hex digits and NUL: stands for a key in logs */
#define SEAL_KEYS_MAX 16 /* in a file */

struct seal_keys;
struct sealer;

/* The keys of that file; NULL: none, nothing is sealed. NULL with *error_r (free it): "FILE:3: …". */
struct seal_keys *seal_keys_new(const char *file, char **error_r);
void seal_keys_free(struct seal_keys *k); /* after all sealers that use it; NULL is fine */
/* Takes over the keys of `fresh`, which is freed: a reload. Any thread, while others use k. */
void seal_keys_replace(struct seal_keys *k, struct seal_keys *fresh);
/* How many there are, and which one seals ("-": none). Any thread. */
size_t seal_keys_count(struct seal_keys *k, char first[SEAL_ID_SIZE]);

/* Of one thread. */
struct sealer *sealer_new(struct seal_keys *k);
void sealer_free(struct sealer *s); /* NULL is fine */
/* Appends to out. What was sealed with one context does not open with another. */
void sealer_seal(struct sealer *s, struct slice context, struct slice plain, struct buf *out);
/* Appends to out; false, with nothing appended: it is damaged, of another context, or its key is not here. */
bool sealer_open(struct sealer *s, struct slice context, struct slice sealed, struct buf *out);
/* Why it cannot be opened: none of the keys here has sealed it, or a version to come. id: that key's ("?": unknown). */
bool sealer_lacks_key(struct sealer *s, struct slice sealed, char id[SEAL_ID_SIZE]);

#endif
