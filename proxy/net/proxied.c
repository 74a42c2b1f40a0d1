#include "net/proxied.h"
#include "base/mem.h"
#include "loop_work.h"
#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct proxied {
    struct loop *loop;
    struct list held;
};

/* One connection. The socket is peeked at, and only what belongs to the header is taken off it: what follows is read by
 * TLS or as XMPP. All that was peeked at is taken as long as the header is not complete, so that nobody turns in
 * circles over bytes that wait. */
struct held {
    struct list link;
    struct proxied *all;
    int fd;
    ev_io io;
    struct timer timer;
    struct buf read; /* of the header, until it is complete */
    bool local;      /* it is complete, LOCAL, and the next byte is awaited */
    const struct proxied_events *events;
    void *ctx;
};

struct proxied *proxied_new(struct loop *l)
{
    struct proxied *p = MEM_NEW(struct proxied);
    p->loop = l;
    list_init(&p->held);
    return p;
}

void proxied_free(struct proxied *p)
{
    free(p);
}

static void finish(struct held *h, enum proxied_result result, const struct endpoints *ends, const char *detail)
{
    struct loop *l = h->all->loop;
    int fd = h->fd;
    const struct proxied_events *events = h->events;
    void *ctx = h->ctx;
    ev_io_stop(loop_ev(l), &h->io);
    timers_cancel(loop_timers(l), &h->timer);
    list_remove(&h->link);
    buf_free(&h->read);
    free(h);
    bool open = result == PROXIED_TOLD || result == PROXIED_LOCAL;
    if (!open)
        close(fd);
    events->result(ctx, result, open ? fd : -1, ends, detail);
}

static const struct endpoints not_told;

/* The peer has closed, or its connection is broken. */
static void gone(struct held *h, const char *detail)
{
    finish(h, h->read.n ? PROXIED_CUT : PROXIED_PROBE, &not_told, detail);
}

/* Bytes that are there already are taken off the socket. */
static void take(struct held *h, char *scratch, size_t n)
{
    ssize_t took = n ? recv(h->fd, scratch, n, 0) : 0;
    (void)took; /* the next look would tell of an error */
}

static void header_done(struct held *h, const struct proxy_header *header)
{
    if (!header->local) {
        finish(h, PROXIED_TOLD, &header->ends, "");
        return;
    }
    h->local = true; /* the next turn looks for more: a health check has nothing */
    buf_free(&h->read);
}

static void look(struct held *h)
{
    char *p = loop_read_buffer(h->all->loop);
    ssize_t n = recv(h->fd, p, PROXY_HEADER_MAX, MSG_PEEK);
    struct proxy_header header;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) {
        gone(h, n < 0 ? strerror(errno) : "closed by the peer");
        return;
    }
    if (h->local) {
        finish(h, PROXIED_LOCAL, &not_told, "");
        return;
    }
    size_t before = h->read.n;
    buf_append(&h->read, p, (size_t)n);
    switch (proxy_header_parse(buf_slice(&h->read), &header)) {
    case PROXY_HEADER_MORE:
        take(h, p, (size_t)n);
        break;
    case PROXY_HEADER_DONE:
        take(h, p, header.size - before);
        header_done(h, &header);
        break;
    case PROXY_HEADER_BAD:
        finish(h, PROXIED_BAD, &not_told, header.fault);
        break;
    }
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev, (void)revents;
    look(w->data);
}

/* A connection of the load balancer's own that stays: whoever takes it has time limits of his own. */
static void on_timer(void *ctx)
{
    struct held *h = ctx;
    finish(h, h->local ? PROXIED_LOCAL : PROXIED_LATE, &not_told, "not within the time");
}

void proxied_hold(struct proxied *p, int fd, usec timeout, const struct proxied_events *events, void *ctx)
{
    struct held *h = MEM_NEW(struct held);
    h->all = p;
    h->fd = fd;
    h->events = events;
    h->ctx = ctx;
    h->timer = (struct timer){.fire = on_timer, .ctx = h};
    list_append(&p->held, &h->link);
    timers_arm(loop_timers(p->loop), &h->timer, loop_clock(p->loop)->mono + timeout);
    ev_io_init(&h->io, on_io, fd, EV_READ);
    h->io.data = h;
    ev_io_start(loop_ev(p->loop), &h->io);
}

void proxied_drop(struct proxied *p)
{
    LIST_FOREACH_SAFE(it, next, &p->held)
    finish(CONTAINER_OF(it, struct held, link), PROXIED_PROBE, &not_told, "the proxy stops");
}
