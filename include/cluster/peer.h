/* What nodes say to each other on the peer port. A node whose client resumes a session that another living node runs
 * connects to that one and greets it with one line: the `hello`, which tells the session, what the client has proved,
 * and who it is. From then on the connection is a client leg to the owner: the elements of the client's stream go one
 * way, what the session has for it the other, both without stream headers. The owner's first element is <resumed/>, or
 * a refusal. Bytes in, facts out: no sockets. */
#ifndef HOLDFAST_CLUSTER_PEER_H
#define HOLDFAST_CLUSTER_PEER_H

#include "base/buf.h"
#include "store/store.h"
#include <stdint.h>

#define PEER_HELLO_MAX   8192 /* bytes of the line; a longer one is refused */
#define PEER_HOPS        2    /* a client that comes from further away goes in circles */
#define PEER_CLIENT_SIZE 64   /* as transport.peer */
#define NS_PEER          "urn:holdfast:peer"

struct peer_hello {
    unsigned hops; /* nodes between the client and the reader of this, from 1 */
    char sid[SID_SIZE];
    uint32_t h;                    /* of the <resume/> */
    char *account;                 /* bare JID that the client has proved to be */
    char *node;                    /* who relays */
    char client[PEER_CLIENT_SIZE]; /* the client's address and port, "" if it is not known */
};

enum peer_hello_result {
    PEER_HELLO_OK,
    PEER_HELLO_MORE,    /* no whole line yet */
    PEER_HELLO_BAD,     /* not ours, malformed, too long, or with something behind it: the owner speaks next */
    PEER_HELLO_VERSION, /* ours, of another version */
    PEER_HELLO_HOPS,    /* more than PEER_HOPS */
};

/* Appends the line. */
void peer_hello_write(struct buf *out, const struct peer_hello *hello);
/* Reads what has come so far; fills *hello if OK (peer_hello_clear it), and leaves it alone otherwise. */
enum peer_hello_result peer_hello_read(struct slice bytes, struct peer_hello *hello);
void peer_hello_clear(struct peer_hello *hello);

/* The element that refuses; reason: a word. Appended. */
void peer_refusal_write(struct buf *out, const char *reason);

#endif
