#include "net/resolver.h"
#include "base/list.h"
#include "base/mem.h"
#include "srv_answer.h"
#include <ares.h>
#include <ev.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/time.h>

/* Of one question to one name server; c-ares waits twice as long in the second round. Who waits for an answer is told
 * soon, who keeps answers asks again anyway. */
#define SERVER_TIMEOUT_MS 1500
#define SERVER_TRIES      2
#define CLASS_IN          1
#define TYPE_SRV          33

struct resolver {
    struct loop *loop;
    ares_channel channel; /* NULL if c-ares could not start */
    int start_error;
    struct timer timer;  /* when c-ares wants to look at its questions again */
    struct list sockets; /* of struct watched */
};

struct watched {
    struct list link;
    struct resolver *resolver;
    ev_io io;
};

struct lookup {
    int port;
    resolved_fn *resolved;
    void *ctx;
};

static void set_timer(struct resolver *r)
{
    struct timeval tv;
    if (ares_timeout(r->channel, NULL, &tv))
        timers_arm(loop_timers(r->loop), &r->timer, loop_clock(r->loop)->mono + (usec)tv.tv_sec * USEC_S + tv.tv_usec);
    else
        timers_cancel(loop_timers(r->loop), &r->timer);
}

static void process(struct resolver *r, int readable, int writable)
{
    ares_process_fd(r->channel, readable, writable);
    set_timer(r);
}

static void on_timer(void *ctx)
{
    process(ctx, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

/* w may be gone after process. */
static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev;
    struct watched *watched = w->data;
    process(watched->resolver, revents & EV_READ ? w->fd : ARES_SOCKET_BAD,
            revents & EV_WRITE ? w->fd : ARES_SOCKET_BAD);
}

static struct watched *find(struct resolver *r, int fd)
{
    LIST_FOREACH_SAFE(it, tmp, &r->sockets)
    {
        struct watched *w = CONTAINER_OF(it, struct watched, link);
        if (w->io.fd == fd)
            return w;
    }
    struct watched *w = MEM_NEW(struct watched);
    w->resolver = r;
    ev_io_init(&w->io, on_io, fd, 0);
    w->io.data = w;
    list_append(&r->sockets, &w->link);
    return w;
}

/* c-ares tells what it wants of a socket; nothing at all just before it closes it. */
static void on_socket_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = ctx;
    struct watched *w = find(r, fd);
    ev_io_stop(loop_ev(r->loop), &w->io);
    if (readable || writable) {
        ev_io_set(&w->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
        ev_io_start(loop_ev(r->loop), &w->io);
    } else {
        list_remove(&w->link);
        free(w);
    }
}

struct resolver *resolver_new(struct loop *l)
{
    struct resolver *r = MEM_NEW(struct resolver);
    struct ares_options options = {
        .timeout = SERVER_TIMEOUT_MS,
        .tries = SERVER_TRIES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = r,
    };
    r->loop = l;
    r->timer.fire = on_timer;
    r->timer.ctx = r;
    list_init(&r->sockets);
    r->start_error =
        ares_init_options(&r->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (r->start_error != ARES_SUCCESS)
        r->channel = NULL;
    return r;
}

void resolver_free(struct resolver *r)
{
    if (r->channel)
        ares_destroy(r->channel);
    timers_cancel(loop_timers(r->loop), &r->timer);
    free(r);
}

bool resolver_set_servers(struct resolver *r, const char *servers)
{
    return r->channel && ares_set_servers_ports_csv(r->channel, servers) == ARES_SUCCESS;
}

static enum resolve_result result_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return RESOLVE_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
        return RESOLVE_NOT_FOUND;
    case ARES_ETIMEOUT:
        return RESOLVE_TIMEOUT;
    default:
        return RESOLVE_FAILED;
    }
}

static void on_answer(void *ctx, int status, int timeouts, struct ares_addrinfo *answer)
{
    (void)timeouts;
    struct lookup *lookup = ctx;
    struct address *addresses = NULL;
    size_t n = 0;
    unsigned ttl = UINT_MAX;
    for (struct ares_addrinfo_node *it = answer ? answer->nodes : NULL; it; it = it->ai_next) {
        addresses = mem_realloc(addresses, (n + 1) * sizeof *addresses);
        if (address_copy(&addresses[n], it->ai_addr, (socklen_t)it->ai_addrlen))
            address_set_port(&addresses[n++], lookup->port);
        if (it->ai_ttl >= 0 && (unsigned)it->ai_ttl < ttl)
            ttl = (unsigned)it->ai_ttl;
    }
    if (answer)
        ares_freeaddrinfo(answer);
    enum resolve_result result = n || status != ARES_SUCCESS ? result_of(status) : RESOLVE_NOT_FOUND;
    lookup->resolved(lookup->ctx, result, addresses, result == RESOLVE_OK ? n : 0, n ? ttl : 0, ares_strerror(status));
    free(addresses);
    free(lookup);
}

void resolver_lookup(struct resolver *r, const char *host, int port, resolved_fn *resolved, void *ctx)
{
    if (!r->channel) {
        resolved(ctx, RESOLVE_FAILED, NULL, 0, 0, ares_strerror(r->start_error));
        return;
    }
    struct lookup *lookup = MEM_NEW(struct lookup);
    *lookup = (struct lookup){port, resolved, ctx};
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(r->channel, host, NULL, &hints, on_answer, lookup);
    set_timer(r);
}

struct srv_lookup {
    srv_resolved_fn *resolved;
    void *ctx;
};

static void on_srv_answer(void *ctx, int status, int timeouts, unsigned char *bytes, int n)
{
    (void)timeouts;
    struct srv_lookup *lookup = ctx;
    struct srv_answer answer = {0};
    enum resolve_result result = result_of(status);
    const char *text = ares_strerror(status);
    if (result == RESOLVE_OK && !srv_answer_parse(bytes, n, &answer)) {
        result = RESOLVE_FAILED;
        text = "the answer is damaged";
    } else if (result == RESOLVE_OK && !answer.n) {
        result = RESOLVE_NOT_FOUND;
    }
    lookup->resolved(lookup->ctx, result, answer.records, answer.n, answer.ttl, text);
    srv_answer_free(&answer);
    free(lookup);
}

void resolver_lookup_srv(struct resolver *r, const char *name, srv_resolved_fn *resolved, void *ctx)
{
    if (!r->channel) {
        resolved(ctx, RESOLVE_FAILED, NULL, 0, 0, ares_strerror(r->start_error));
        return;
    }
    struct srv_lookup *lookup = MEM_NEW(struct srv_lookup);
    *lookup = (struct srv_lookup){resolved, ctx};
    ares_query(r->channel, name, CLASS_IN, TYPE_SRV, on_srv_answer, lookup);
    set_timer(r);
}
