#include "net/dialer.h"
#include "base/mem.h"
#include "base/proxy_header.h"
#include "net/address.h"
#include "net/resolver.h"
#include "tcp_private.h"
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct dialer {
    struct loop *loop;
    struct resolver *resolver;
    struct address *sources;
    size_t source_count, next_source;
};

/* One dial: resolve, then one route after the other, until a socket is connected and handed to the transport.
 * It outlives a transport that was freed early while the resolver still owes its answer. */
struct dial {
    struct dialer *dialer;
    struct transport *transport; /* NULL: abandoned */
    char *host, *tls_name;       /* host: NULL for routes */
    struct tls_context *tls;
    int proxy_header; /* version, 0 = none */
    struct endpoints client;
    bool resolving;

    struct dial_route *routes;
    size_t n, next; /* next: the route that is tried after the present one */
    const struct dial_events *events;
    void *server; /* entered, and not failed nor left yet */
    int fd;       /* of the present attempt, -1 = none */
    ev_io io;

    usec deadline;
    struct timer timer;     /* the end of it all, or of the present attempt's share */
    enum transport_end end; /* how the last attempt failed, and in words */
    char *detail;
};

struct dialer *dialer_new(struct loop *l)
{
    struct dialer *d = MEM_NEW(struct dialer);
    d->loop = l;
    d->resolver = resolver_new(l);
    return d;
}

void dialer_free(struct dialer *d)
{
    if (d) {
        resolver_free(d->resolver);
        free(d->sources);
        free(d);
    }
}

bool dialer_set_servers(struct dialer *d, const char *servers)
{
    return resolver_set_servers(d->resolver, servers);
}

bool dialer_set_sources(struct dialer *d, char *const *sources)
{
    size_t n = 0;
    while (sources[n])
        n++;
    struct address *list = mem_zalloc((n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        if (!address_parse(&list[i], sources[i], 0)) {
            free(list);
            return false;
        }
    }
    free(d->sources);
    d->sources = list;
    d->source_count = n;
    d->next_source = 0;
    return true;
}

static void drop_attempt(struct dial *dial)
{
    if (dial->fd >= 0) {
        ev_io_stop(loop_ev(dial->dialer->loop), &dial->io);
        close(dial->fd);
        dial->fd = -1;
    }
}

static void dial_free(struct dial *dial)
{
    drop_attempt(dial);
    timers_cancel(loop_timers(dial->dialer->loop), &dial->timer);
    tls_free(dial->tls);
    free(dial->host);
    free(dial->tls_name);
    free(dial->routes);
    free(dial->detail);
    free(dial);
}

static void note_failure(struct dial *dial, enum transport_end end, char *detail)
{
    free(dial->detail);
    dial->end = end;
    dial->detail = detail;
}

/* Of the present server, if there is one, all addresses have failed, the last one as noted. */
static void server_failed(struct dial *dial)
{
    if (dial->server)
        dial->events->failed(dial->server, dial->end, dial->detail);
    dial->server = NULL;
}

static void enter_server(struct dial *dial, void *server)
{
    if (server == dial->server)
        return;
    server_failed(dial);
    dial->server = server;
    if (server)
        dial->events->entered(server);
}

/* Tells the owner how the last attempt failed. */
static void give_up(struct dial *dial)
{
    server_failed(dial);
    tcp_dial_failed(dial->transport, dial->end, dial->detail);
    dial->detail = NULL;
    dial->transport = NULL;
    if (dial->resolving)
        timers_cancel(loop_timers(dial->dialer->loop), &dial->timer);
    else
        dial_free(dial);
}

static void on_abandoned(void *ctx)
{
    struct dial *dial = ctx;
    dial->transport = NULL;
    if (dial->server)
        dial->events->left(dial->server);
    dial->server = NULL;
    if (dial->resolving)
        timers_cancel(loop_timers(dial->dialer->loop), &dial->timer);
    else
        dial_free(dial);
}

/* --- Connecting --- */

static void note_connect_failure(struct dial *dial, const struct address *a, int error)
{
    char text[ADDRESS_TEXT];
    address_text(a, text);
    if (error == ETIMEDOUT)
        note_failure(dial, TRANSPORT_TIMEOUT, mem_printf("connect %s: timed out", text));
    else
        note_failure(dial, TRANSPORT_REFUSED, mem_printf("connect %s: %s", text, strerror(error)));
}

/* Dialling a port of this machine that nobody listens on can connect the socket to itself, when the kernel happens to
 * choose that port as the source. */
static bool is_connected_to_itself(int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t here_n = sizeof here, there_n = sizeof there;
    return getsockname(fd, (struct sockaddr *)&here, &here_n) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_n) == 0 && here_n == there_n &&
           memcmp(&here, &there, here_n) == 0;
}

/* A connection of our own is told as what it is: LOCAL and UNKNOWN would be the words for it, but ejabberd closes on
 * them, and the specification advises against the latter. */
static struct buf make_head(const struct dial *dial)
{
    struct buf head = {0};
    if (!dial->proxy_header)
        return head;
    struct endpoints here = address_ends(dial->fd), own = {here.destination, here.source};
    bool told = dial->client.source.family && dial->client.destination.family;
    proxy_header_write(&head, dial->proxy_header, told ? &dial->client : &own);
    return head;
}

static void connected(struct dial *dial)
{
    int fd = dial->fd;
    struct buf head = make_head(dial);
    ev_io_stop(loop_ev(dial->dialer->loop), &dial->io);
    dial->fd = -1;
    if (dial->server)
        tcp_set_server(dial->transport, dial->server, dial->events->left);
    tcp_dialled(dial->transport, fd, buf_slice(&head), dial->tls, dial->tls_name, dial->deadline);
    buf_free(&head);
    dial_free(dial);
}

/* Each attempt may take its share of the time that is left; the last one all of it. */
static usec attempt_deadline(const struct dial *dial)
{
    usec now = loop_clock(dial->dialer->loop)->mono;
    return now + (dial->deadline - now) / (usec)(dial->n - dial->next + 1);
}

/* A socket towards a, from that source if any: 0 = connected, EINPROGRESS = on its way, else why not. */
static int connect_from(struct dial *dial, const struct address *source, const struct address *a)
{
    const int on = 1;
    dial->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0)
        return errno;
    /* The port is chosen at the connect, when the target is known: it need not be free towards all others. */
    if (source && (setsockopt(dial->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0 ||
                   bind(dial->fd, &source->sa, source->n) < 0))
        return errno;
    if (connect(dial->fd, &a->sa, a->n) == 0)
        return is_connected_to_itself(dial->fd) ? ECONNREFUSED : 0;
    return errno;
}

/* Their turn goes round. NULL: there is none of that family. */
static const struct address *next_source(struct dialer *d, int family)
{
    for (size_t i = 0; i < d->source_count; i++) {
        const struct address *source = &d->sources[d->next_source++ % d->source_count];
        if (source->sa.sa_family == family)
            return source;
    }
    return NULL;
}

/* Starts the attempt at addresses[next - 1], as connect_from. A source that is not there, or whose ports are used up
 * towards this target (EADDRNOTAVAIL both), leaves the others. */
static int try_connect(struct dial *dial, const struct address *a)
{
    struct dialer *d = dial->dialer;
    int error = EADDRNOTAVAIL;
    for (size_t i = 0; error == EADDRNOTAVAIL && (i == 0 || i < d->source_count); i++) {
        const struct address *source = next_source(d, a->sa.sa_family);
        drop_attempt(dial);
        error = connect_from(dial, source, a);
        if (!source)
            break;
    }
    return error;
}

static void try_next(struct dial *dial)
{
    struct loop *l = dial->dialer->loop;
    while (dial->next < dial->n) {
        const struct address *a = &dial->routes[dial->next].address;
        enter_server(dial, dial->routes[dial->next++].server);
        int error = try_connect(dial, a);
        if (error == 0) {
            connected(dial);
            return;
        }
        if (error == EINPROGRESS) {
            ev_io_set(&dial->io, dial->fd, EV_WRITE);
            ev_io_start(loop_ev(l), &dial->io);
            timers_arm(loop_timers(l), &dial->timer, attempt_deadline(dial));
            return;
        }
        note_connect_failure(dial, a, error);
        drop_attempt(dial);
    }
    give_up(dial);
}

static void attempt_failed(struct dial *dial, int error)
{
    note_connect_failure(dial, &dial->routes[dial->next - 1].address, error);
    drop_attempt(dial);
    try_next(dial);
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev, (void)revents;
    struct dial *dial = w->data;
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    if (!error && is_connected_to_itself(dial->fd))
        error = ECONNREFUSED;
    if (error)
        attempt_failed(dial, error);
    else
        connected(dial);
}

static void on_timer(void *ctx)
{
    struct dial *dial = ctx;
    if (dial->resolving) {
        note_failure(dial, TRANSPORT_TIMEOUT, mem_printf("resolve %s: timed out", dial->host));
        give_up(dial);
    } else {
        attempt_failed(dial, ETIMEDOUT);
    }
}

/* --- Resolving --- */

static void on_resolved(void *ctx, enum resolve_result result, const struct address *addresses, size_t n, unsigned ttl,
                        const char *text)
{
    (void)ttl;
    struct dial *dial = ctx;
    dial->resolving = false;
    if (!dial->transport) {
        dial_free(dial);
        return;
    }
    if (result == RESOLVE_OK) {
        dial->routes = mem_zalloc(n * sizeof *dial->routes);
        dial->n = n;
        for (size_t i = 0; i < n; i++)
            dial->routes[i].address = addresses[i];
        try_next(dial);
        return;
    }
    const char *why = result == RESOLVE_NOT_FOUND ? "not found" : result == RESOLVE_TIMEOUT ? "timed out" : text;
    note_failure(dial, result == RESOLVE_TIMEOUT ? TRANSPORT_TIMEOUT : TRANSPORT_REFUSED,
                 mem_printf("resolve %s: %s", dial->host, why));
    give_up(dial);
}

static void resolve(struct dial *dial, int port)
{
    struct dialer *d = dial->dialer;
    struct address literal;
    if (address_parse(&literal, dial->host, port)) {
        on_resolved(dial, RESOLVE_OK, &literal, 1, 0, NULL);
    } else {
        dial->resolving = true;
        timers_arm(loop_timers(d->loop), &dial->timer, dial->deadline);
        resolver_lookup(d->resolver, dial->host, port, on_resolved, dial);
    }
}

static void take_routes(struct dial *dial, const struct dial_target *target)
{
    if (!target->route_count) {
        note_failure(dial, TRANSPORT_REFUSED, mem_strdup(target->no_route));
        give_up(dial);
        return;
    }
    dial->n = target->route_count;
    dial->routes = mem_copy(target->routes, dial->n * sizeof *dial->routes);
    dial->events = target->events;
    try_next(dial);
}

/* Connected at once or not at all. */
static void dial_path(struct dial *dial, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int error = ENAMETOOLONG;
    if (strlen(path) < sizeof sa.sun_path) {
        memcpy(sa.sun_path, path, strlen(path));
        dial->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        error = dial->fd >= 0 && connect(dial->fd, (struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : errno;
    }
    if (!error) {
        connected(dial);
        return;
    }
    note_failure(dial, TRANSPORT_REFUSED, mem_printf("connect %s: %s", path, strerror(error)));
    give_up(dial);
}

struct transport *dialer_dial(struct dialer *d, const struct dial_target *target)
{
    struct dial *dial = MEM_NEW(struct dial);
    struct transport *t = tcp_dialling(d->loop, on_abandoned, dial);
    *dial = (struct dial){
        .dialer = d,
        .transport = t,
        .host = mem_strdup(target->host),
        .tls_name = mem_strdup(target->tls_name ? target->tls_name : target->host),
        .tls = tls_ref(target->tls),
        .proxy_header = target->proxy_header,
        .client = target->client,
        .fd = -1,
        .deadline = loop_clock(d->loop)->mono + target->timeout,
        .timer = {.fire = on_timer, .ctx = dial},
    };
    ev_init(&dial->io, on_io);
    dial->io.data = dial;
    if (target->host)
        resolve(dial, target->port);
    else if (target->path)
        dial_path(dial, target->path);
    else
        take_routes(dial, target);
    return t;
}
