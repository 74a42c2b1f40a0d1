/* Who owns a session: which worker runs it (later: which node). One directory for the process, behind a lock that is
 * taken when a session begins, ends, detaches or is looked for; never on the stanza path. */
#ifndef HOLDFAST_CLUSTER_OWNER_H
#define HOLDFAST_CLUSTER_OWNER_H

#include "base/slice.h"
#include "store/store.h"

struct owner;

/* A copy of what the directory knows; its strings are the caller's to free (owner_place_clear). */
struct owner_place {
    char sid[SID_SIZE];
    int worker;
    char *account;  /* bare JID */
    char *proof;    /* of the account, comparable; NULL when nothing but a bind can prove it */
    char *resource; /* it has no upstream leg, and needs this resource bound on a fresh one; NULL: it has one */
};

/* tagged: sids of an account begin alike, and owner_find_tagged is used. */
struct owner *owner_new(bool tagged);
void owner_free(struct owner *o); /* NULL is fine */
void owner_place_clear(struct owner_place *p);

/* A session begins. sid stays where it is until owner_remove; the other strings are copied. proof may be NULL. */
void owner_add(struct owner *o, const char *sid, int worker, struct slice account, const char *proof);
void owner_remove(struct owner *o, const char *sid); /* harmless when unknown */
/* A worker is about to take the session over from another node. False: one has it already, or is about to; a second
 * claim of this node would take it from the first. */
bool owner_begin_claim(struct owner *o, const char *sid);
void owner_end_claim(struct owner *o, const char *sid); /* behind owner_add, or it came to nothing */
/* False when no such session lives here. */
bool owner_find(struct owner *o, const char *sid, struct owner_place *place_r);

/* Detached sessions of an account, in the order in which they detached. Returns true with the oldest one when there are
 * more than limit of them now: it is to expire. */
bool owner_detached(struct owner *o, const char *sid, unsigned limit, struct owner_place *oldest_r);
void owner_attached(struct owner *o, const char *sid);

/* The session has lost its upstream leg and needs that resource; empty: it has one again. */
void owner_set_stranded(struct owner *o, const char *sid, struct slice resource);
/* Some session has lost its upstream leg: whoever logs in now may be its client. */
bool owner_any_stranded(struct owner *o);

/* Sessions whose client can get messages of the mailbox now (available presence of non-negative priority). */
void owner_set_available(struct owner *o, const char *sid, bool available);
/* One of the account's available sessions; false when there is none. */
bool owner_find_available(struct owner *o, struct slice account, struct owner_place *place_r);
/* Likewise, of the account whose tag that is (the first digits of its sids). */
bool owner_find_tagged(struct owner *o, struct slice tag, struct owner_place *place_r);

#endif
