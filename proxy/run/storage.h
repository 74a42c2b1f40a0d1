/* The store that the configuration names: memory, which all workers share, or a Redis, to which each worker has
 * connections of its own. */
#ifndef HOLDFAST_RUN_STORAGE_H
#define HOLDFAST_RUN_STORAGE_H

#include "base/buf.h"
#include "net/dialer.h"
#include "run/config.h"
#include "session/context.h"
#include "store/store.h"

#define STORAGE_PEER_KEY 32

struct seal_keys;
struct storage;

/* name: the node's. NULL with *error_r (free it): "KEY: what is wrong". */
struct storage *storage_new(const struct config *config, const char *name, _Atomic int64_t *memory, char **error_r);
void storage_free(struct storage *s); /* the workers' ends must be gone */
/* What seals what goes to Redis, from now on; takes it over. True: another key than before, so each worker's end is to
 * seal anew what it keeps. Any thread. */
bool storage_set_keys(struct storage *s, struct seal_keys *fresh);
struct memory_store *storage_memory(struct storage *s); /* with Redis an empty one */
bool storage_is_shared(const struct storage *s);        /* nodes have it together */
/* What stands for an account in the names of keys and in previds; any thread. */
void storage_tag(const struct storage *s, struct slice account, char tag[TAG_SIZE]);
/* What nodes prove to each other that they know; only with proxy.secret_file. */
void storage_peer_key(const struct storage *s, unsigned char key[STORAGE_PEER_KEY]);
/* Whether all workers can give acks; if not, lines for people are added to reasons. Any thread. */
bool storage_is_ready(struct storage *s, struct buf *reasons);
/* Sets the gauges of what Redis does with what is committed: the weakest that any worker knows. Any thread. */
void storage_figures(struct storage *s, struct counters *c);

/* A worker's end. NULL where there is nothing to connect (memory). */
struct storage_end;
/* cx: with loop, clock, timers and counters; gets its store. resolver: proxy.resolver, or NULL. *end_r may be NULL
 * afterwards. False with *error_r (free it). */
bool storage_join(struct storage *s, struct context *cx, const char *resolver, unsigned index,
                  struct storage_end **end_r, char **error_r);
void storage_reseal(struct storage_end *e); /* NULL is fine */
/* To be called once in a while: before Redis was there for the first time, and about faults that commands meet, no
 * event tells why. NULL is fine. */
void storage_look(struct storage_end *e);
void storage_leave(struct storage_end *e); /* NULL is fine; the worker has no sessions left */

#endif
