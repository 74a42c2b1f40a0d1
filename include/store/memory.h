/* The store of one node without Redis: all in memory behind one lock, which is never taken on the stanza path. What it
 * holds is gone with the process. */
#ifndef HOLDFAST_STORE_MEMORY_H
#define HOLDFAST_STORE_MEMORY_H

#include "store/store.h"
#include <stdatomic.h>

struct memory_store;

/* memory: the node's account of bytes in queues and mailboxes, which mailboxes and tombstones add to; NULL is fine. */
struct memory_store *memory_store_new(usec mailbox_ttl, usec tombstone_ttl, _Atomic int64_t *memory);
void memory_store_free(struct memory_store *m);
struct store *memory_store_get(struct memory_store *m); /* the same for all workers */
void memory_store_set_ttls(struct memory_store *m, usec mailbox_ttl, usec tombstone_ttl);

/* At most so many bytes in all mailboxes (0: no limit); and in each at most MAILBOX_MESSAGES and MAILBOX_BYTES. Where a
 * message does not fit, the oldest of the same account make room; they count as overflown. */
#define MAILBOX_MESSAGES 10000
#define MAILBOX_BYTES    ((size_t)32 * 1024 * 1024)
#define TOMBSTONES_MAX   200000 /* the oldest make room */
void memory_store_set_limit(struct memory_store *m, size_t bytes);

/* Drops what is past its time; any thread, now and then. */
void memory_store_sweep(struct memory_store *m, usec wall);

/* store.file: all that is in it, over a clean stop. NULL, or an error to tell (free it).
 * Save writes anew beside the file and then takes its name, readable for the owner alone. */
char *memory_store_save(struct memory_store *m, const char *path);
/* A file that is not there is fine. One that was read is removed: what it held must not come again after a crash. One
 * that is damaged is an error, and stays as it was; nothing of it is taken. */
char *memory_store_load(struct memory_store *m, const char *path);

/* Taken at one moment. Of each box, always: put + loaded = what is in it + done + expired + overflown + purged. */
struct memory_store_figures {
    size_t messages, outbox, bytes, tombstones, sessions;
    size_t tombstone_bytes; /* what they hold beside the counts; it adds to the node's account as well */
    struct {
        size_t put, loaded; /* came in: from sessions, from the file */
        size_t done, expired, overflown, purged;
        size_t doubled; /* put although they were there */
    } box[BOXES];
};
struct memory_store_figures memory_store_figures(struct memory_store *m);

#endif
