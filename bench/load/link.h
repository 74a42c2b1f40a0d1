/* A client's connection: non-blocking TCP, in clear or with TLS, WebSocket in it if wanted, and the XML items in what
 * it reads. */
#ifndef BENCH_LINK_H
#define BENCH_LINK_H

#include "base/buf.h"
#include "common/scan.h"
#include "load/web.h"
#include <openssl/ssl.h>
#include <stdint.h>

enum link_state { LINK_NONE, LINK_CONNECTING, LINK_HANDSHAKE, LINK_OPEN, LINK_LOST };

struct link {
    int fd, epoll;
    void *owner; /* what epoll tells of this link */
    SSL *ssl;
    enum link_state state;
    bool deaf;  /* does not read */
    bool write; /* cannot go on before the socket is writable */
    uint32_t watched;
    struct scan scan;
    struct buf in, out; /* `in` holds what is incomplete */
    bool over_web;
    struct web web;
    struct buf wire; /* over WebSocket: what `out` has become */
};

struct link_upcalls {
    void (*open)(void *owner); /* connected, and all handshakes are over */
    /* Returns false to have nothing more of this read looked at. */
    bool (*item)(void *owner, enum scan_item item, struct slice bytes);
    void (*lost)(void *owner); /* by the other side, or by an error */
};

void link_connect(struct link *l, int epoll, void *owner, unsigned port, SSL_CTX *tls, bool over_web);
/* What comes next on the stream is a fresh stream. */
void link_restart(struct link *l);
/* TLS from here on; what comes next on the stream is a fresh stream. */
void link_start_tls(struct link *l, SSL_CTX *tls);
/* Does what the socket is ready for. */
void link_handle(struct link *l, const struct link_upcalls *up, uint32_t events);
/* Writes what it can of l->out; false when the link is lost. */
bool link_flush(struct link *l);
void link_listen(struct link *l, bool on);
/* Ends it: by reset, which tells TLS nothing and leaves nothing behind. Back to LINK_NONE. */
void link_reset(struct link *l);

#endif
