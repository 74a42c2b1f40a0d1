/* Who may see the presence of a client, as far as its own stream tells: the roster (RFC 6121 2) and directed presence
 * (4.6). What is not known is denied. A session has one as soon as there is something to know; NULL is one that knows
 * nothing. */
#ifndef HOLDFAST_SESSION_CONTACTS_H
#define HOLDFAST_SESSION_CONTACTS_H

#include "session/session.h"

struct contacts;

void contacts_free(struct contacts *c);

/* What passes on the stream. From the client: requests for the roster, presence, ways to be invisible. */
void contacts_from_client(struct session *s, const struct element *e);
/* From the server: results for those requests, and pushes. True: the stanza is for us alone. */
bool contacts_from_upstream(struct session *s, const struct element *e);

/* The client is available to all that its account's roster allows, and not invisible. */
bool contacts_is_visible(const struct contacts *c);
/* Directed presence is with this address, or with its bare form. */
bool contacts_is_directed(const struct contacts *c, struct slice jid);
/* This address may see the client's presence now: by directed presence, or by its roster while it is visible. */
bool contacts_sees(const struct contacts *c, struct slice jid);
/* A room that the client has joined (XEP-0045), or somebody in it. */
bool contacts_is_room(const struct contacts *c, struct slice jid);
/* Whether the roster that nobody knows yet is on its way: it is asked for if the client has not done so. */
bool contacts_await(struct session *s);
/* Behind a rebuild; what the client has asked for is asked for by that. */
void contacts_on_fresh_leg(struct contacts *c);
/* A whole roster has been seen. Without one contacts_sees knows of single pushes alone. */
bool contacts_is_known(const struct contacts *c);

struct roster_item;
struct contacts_changes {
    /* xml: the item as it can stand in a `<query xmlns='jabber:iq:roster'>` */
    void (*changed)(void *ctx, struct slice xml); /* new ones too */
    void (*removed)(void *ctx, struct slice jid);
};
/* A whole roster (an iq with its tree): what is not in it is forgotten. With changes (may be NULL) all differences from
 * what was known are told; none if no whole roster was known. False: it could not be read, nothing has changed. */
bool contacts_compare(struct session *s, const struct element *roster, const struct contacts_changes *changes,
                      void *ctx);

struct record_reader;
void contacts_save(const struct contacts *c, struct buf *out);
void contacts_load(struct session *s, struct record_reader *in);

size_t contacts_bytes(const struct contacts *c); /* memory that it takes; not of NULL */

#endif
