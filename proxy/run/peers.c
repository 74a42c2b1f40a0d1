#include "peers.h"
#include "base/log.h"
#include "base/mem.h"
#include "config_row.h"
#include "net/dialer.h"
#include "net/tcp.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GREETING_TIME (3 * USEC_S) /* handshake and greeting; the other node waits for two */
#define DIAL_TIME     (5 * USEC_S) /* who waits for it gives up before that */
#define CALLERS_MAX   256 /* that have not greeted; a whole node that comes back has some more, and may ask again */

struct port {
    struct list link;
    struct peers *peers;
    struct listener *listener;
};

/* A connection that has not brought a client yet. */
struct caller {
    struct list link;
    struct peers *peers;
    struct transport *transport;
    struct timer timer;
    struct buf greeting;
    bool ready; /* it knows the secret */
};

struct peers {
    struct context *cx;
    const struct peers_events *events;
    void *ctx;
    struct tls_context *server, *client;
    struct dialer *dialer; /* of its own: proxy.upstream_source is not for other nodes */
    struct list ports, callers;
    unsigned caller_count;
    bool refusing;
};

enum refusal {
    REFUSED_HANDSHAKE,
    REFUSED_LATE,
    REFUSED_HELLO,
    REFUSED_VERSION,
    REFUSED_HOPS,
    REFUSED_DRAINING,
    REFUSED_LIMIT,
};

static const struct {
    const char *word;
    enum metric metric;
} refusals[] = {
    [REFUSED_HANDSHAKE] = {"handshake", METRIC_peer_refused_handshake},
    [REFUSED_LATE] = {"late", METRIC_peer_refused_late},
    [REFUSED_HELLO] = {"hello", METRIC_peer_refused_hello},
    [REFUSED_VERSION] = {"version", METRIC_peer_refused_version},
    [REFUSED_HOPS] = {"hops", METRIC_peer_refused_hops},
    [REFUSED_DRAINING] = {"draining", METRIC_peer_refused_draining},
    [REFUSED_LIMIT] = {"limit", METRIC_peer_refused_limit},
};

/* ---- callers ---- */

/* Its transport has been given away, or goes too. */
static void forget(struct caller *c)
{
    list_remove(&c->link);
    c->peers->caller_count--;
    timers_cancel(c->peers->cx->timers, &c->timer);
    transport_free(&c->transport, true);
    buf_free(&c->greeting);
    free(c);
}

static void note_refusal(struct peers *p, const char *peer, enum refusal why, const char *detail)
{
    count(p->cx->counters, refusals[why].metric);
    if (context_may_tell(p->cx))
        LOG(LOG_WARN, "connection to the peer port refused", LF("peer", peer), LF("reason", refusals[why].word),
            LF("detail", detail));
}

/* Who knows the secret is told why. */
static void refuse(struct caller *c, enum refusal why, const char *detail)
{
    note_refusal(c->peers, transport_peer(c->transport), why, detail);
    if (c->ready) {
        struct buf out = {0};
        peer_refusal_write(&out, refusals[why].word);
        transport_write(c->transport, buf_slice(&out));
        buf_free(&out);
    }
    forget(c);
}

static void take(struct caller *c, const struct peer_hello *hello)
{
    struct peers *p = c->peers;
    struct transport *t = c->transport;
    t->kind = TRANSPORT_RELAY;
    transport_read_stop(t);
    if (hello->client[0]) /* the client's, as with a load balancer */
        snprintf(t->client->peer, sizeof t->client->peer, "%s", hello->client);
    if (!p->events->arrived(p->ctx, t, hello)) {
        refuse(c, REFUSED_LIMIT, "limits.connections");
        return;
    }
    c->transport = NULL;
    forget(c);
}

static void look_at_greeting(struct caller *c)
{
    struct peer_hello hello;
    switch (peer_hello_read(buf_slice(&c->greeting), &hello)) {
    case PEER_HELLO_MORE:
        return;
    case PEER_HELLO_BAD:
        refuse(c, REFUSED_HELLO, "not the greeting of a node");
        return;
    case PEER_HELLO_VERSION:
        refuse(c, REFUSED_VERSION, "a greeting of another version");
        return;
    case PEER_HELLO_HOPS:
        refuse(c, REFUSED_HOPS, "the client comes through too many nodes");
        return;
    case PEER_HELLO_OK:
        break;
    }
    if (c->peers->refusing)
        refuse(c, REFUSED_DRAINING, "this node sends its clients away");
    else
        take(c, &hello);
    peer_hello_clear(&hello);
}

static void on_ready(void *ctx)
{
    struct caller *c = ctx;
    c->ready = true;
    transport_read_start(c->transport);
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct caller *c = ctx;
    buf_append(&c->greeting, p, n);
    look_at_greeting(c);
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct caller *c = ctx;
    (void)end;
    if (c->ready || c->greeting.n)
        forget(c);
    else
        refuse(c, REFUSED_HANDSHAKE, detail);
}

static const struct transport_events caller_events = {on_ready, on_bytes, on_drained, on_closed};

static void on_late(void *ctx)
{
    refuse(ctx, REFUSED_LATE, "no greeting in time");
}

static void on_accepted(void *ctx, int fd, const struct endpoint *peer)
{
    struct peers *p = ((struct port *)ctx)->peers;
    char text[ENDPOINT_TEXT];
    if (p->caller_count >= CALLERS_MAX) {
        note_refusal(p, endpoint_text(peer, text), REFUSED_LIMIT, "too many that have not greeted");
        close(fd);
        return;
    }
    struct caller *c = MEM_NEW(struct caller);
    c->peers = p;
    c->timer = (struct timer){.fire = on_late, .ctx = c};
    c->transport = tcp_accept(p->cx->loop, fd, p->server, 2 * GREETING_TIME, NULL);
    transport_set_events(c->transport, &caller_events, c);
    list_append(&p->callers, &c->link);
    p->caller_count++;
    timers_arm(p->cx->timers, &c->timer, p->cx->clock->mono + GREETING_TIME);
}

static const struct listener_events listener_events = {on_accepted};

/* ---- life ---- */

struct peers *peers_new(struct context *cx, const unsigned char key[TLS_PSK_SIZE], const char *resolver,
                        const struct peers_events *events, void *ctx)
{
    struct peers *p = MEM_NEW(struct peers);
    p->cx = cx;
    p->events = events;
    p->ctx = ctx;
    p->server = tls_psk_server_new(key);
    p->client = tls_psk_client_new(key);
    p->dialer = dialer_new(cx->loop);
    if (resolver)
        dialer_set_servers(p->dialer, resolver);
    list_init(&p->ports);
    list_init(&p->callers);
    return p;
}

void peers_add_listener(struct peers *p, struct listener *l)
{
    struct port *port = MEM_NEW(struct port);
    port->peers = p;
    port->listener = l;
    list_append(&p->ports, &port->link);
}

void peers_start(struct peers *p)
{
    LIST_FOREACH_SAFE(it, next, &p->ports)
    {
        struct port *port = CONTAINER_OF(it, struct port, link);
        listener_start(port->listener, p->cx->loop, &listener_events, port);
    }
}

void peers_refuse(struct peers *p)
{
    p->refusing = true;
}

void peers_stop(struct peers *p)
{
    LIST_FOREACH_SAFE(it, next, &p->ports)
    {
        struct port *port = CONTAINER_OF(it, struct port, link);
        list_remove(it);
        listener_free(port->listener);
        free(port);
    }
    LIST_FOREACH_SAFE(it, next, &p->callers)
    forget(CONTAINER_OF(it, struct caller, link));
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    peers_stop(p);
    dialer_free(p->dialer);
    tls_free(p->server);
    tls_free(p->client);
    free(p);
}

struct transport *peers_dial(struct peers *p, const char *address)
{
    struct buf reason = {0};
    char *host;
    int port = 0;
    bool good = config_host_port(address, &host, &port, &reason);
    buf_free(&reason);
    if (!good)
        return NULL;
    struct transport *t = dialer_dial(
        p->dialer, &(struct dial_target){.host = host, .port = port, .tls = p->client, .timeout = DIAL_TIME});
    free(host);
    return t;
}
