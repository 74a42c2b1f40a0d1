/* A cheap XMPP server: takes any PLAIN login, binds, answers iqs, and passes messages between its sessions. It does as
 * little as a server can, so that what is measured in front of it is not hidden by it. */
#ifndef BENCH_STUB_H
#define BENCH_STUB_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "common/scan.h"
#include <stdint.h>

struct peer {
    struct stub *stub;
    int fd;
    struct scan scan;
    struct buf in, out; /* `in` holds what is incomplete */
    char *user;         /* as logged in, NULL before */
    char *jid;          /* full, NULL before bind */
    struct list dirty;  /* in stub.dirty: has something to write, or to close */
    bool waits;         /* for EPOLLOUT */
    bool closing;       /* nothing is heard any more; closes when all is written */
    bool dead;
};

struct stub {
    int epoll, listener;
    const char *domain;
    struct map *sessions; /* full JID, and bare JID for the newest -> struct peer */
    struct list dirty;
    unsigned long long streams; /* for ids */
    char *buffer;
    uint64_t second; /* of the last connection, and how many it has had: told on stdout when it is over */
    unsigned connections;
};

/* xmpp.c: what one item of a peer's stream asks for. */
void stub_take(struct peer *p, enum scan_item item, struct slice bytes);
void stub_unbind(struct peer *p);

/* main.c: the peer has news in `out`, or is closing. */
void stub_dirty(struct peer *p);

#endif
