/* All clients of this program, the loop that they share, and what it counts. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "load/client.h"
#include "load/watch.h"

enum tls_mode { TLS_NONE, TLS_DIRECT, TLS_STARTTLS };

struct load {
    /* what to connect to, and how */
    unsigned port;
    const char *domain;
    enum tls_mode tls;
    bool over_web; /* WebSocket */
    bool stream_management;
    unsigned ask_every; /* stanzas for one <r/>; 0 asks for none */
    bool asks_receipts; /* XEP-0184, in each message */

    int epoll;
    SSL_CTX *ssl;
    struct client *clients;
    unsigned count, first_account;
    struct list dirty;
    bool command_waits; /* on stdin */
    struct watch watch;

    /* what the command under way does with a message; and when a link is lost unasked */
    void (*on_message)(struct load *l, struct client *c, struct slice message);
    bool (*on_lost)(struct load *l, struct client *c); /* true: it was to be expected */
    void (*on_resumed)(struct load *l, struct client *c);
    void (*on_ack)(struct load *l, struct client *c);
    void *command;

    unsigned ready, resumed, left; /* clients that reached CLIENT_READY, by resumption, and that left; only grow */
    unsigned failed;               /* clients that were refused, lost their link, or heard a wrong count */
    unsigned misordered;           /* messages lost, doubled or out of order, found by their numbers */
};

/* One turn of the loop; waits up to `until` (now_ns; 0 = does not wait, UINT64_MAX = for ever). */
void load_turn(struct load *l, uint64_t until);
void load_dirty(struct load *l, struct client *c);
/* The client is of no use any more; the first few say why on stderr. */
void load_fail(struct load *l, struct client *c, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Compares the message's number with those before it, and returns its stamp (0: none of ours). */
uint64_t load_check(struct load *l, struct client *c, struct slice message);

#endif
