#include "net/web.h"
#include "base/mem.h"
#include "net/tcp.h"
#include "net/websocket.h"
#include <stdlib.h>
#include <string.h>

struct web {
    struct loop *loop;
    struct list held;
};

/* One connection. */
struct held {
    struct list link;
    struct web *all;
    struct transport *transport;
    struct timer timer;
    usec timeout;
    bool secure;
    struct buf read;
    const struct web_events *events;
    void *ctx;
};

struct web *web_new(struct loop *l)
{
    struct web *w = MEM_NEW(struct web);
    w->loop = l;
    list_init(&w->held);
    return w;
}

void web_free(struct web *w)
{
    free(w);
}

/* --- Responses --- */

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 426:
        return "Upgrade Required";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return "Service Unavailable";
    }
}

void web_respond(struct buf *out, struct slice method, unsigned status, const char *more, const char *type,
                 struct slice body)
{
    buf_printf(out, "HTTP/1.1 %u %s\r\n%sConnection: close\r\n", status, reason_of(status), more);
    if (status == 426)
        BUF_LIT(out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    if (status != 204)
        buf_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body.n);
    BUF_LIT(out, "\r\n");
    if (!slice_eq_str(method, "HEAD"))
        buf_add(out, body);
}

/* --- The end of a connection --- */

/* It is off the list, its transport the caller's. */
static struct transport *forget(struct held *h)
{
    struct transport *t = h->transport;
    timers_cancel(loop_timers(h->all->loop), &h->timer);
    list_remove(&h->link);
    buf_free(&h->read);
    free(h);
    return t;
}

static void finish(struct held *h, enum web_end end, const char *detail)
{
    const struct web_events *events = h->events;
    void *ctx = h->ctx;
    struct transport *t = forget(h);
    events->over(ctx, end, detail);
    transport_free(&t, true);
}

static void refuse(struct held *h, unsigned status, enum web_end end, const char *why)
{
    struct buf out = {0};
    buf_printf(&out, "%s\n", why);
    char *body = buf_steal(&out);
    web_respond(&out, SLICE_NONE, status, "", "text/plain; charset=utf-8", slice_str(body));
    transport_write(h->transport, buf_slice(&out));
    buf_free(&out);
    free(body);
    finish(h, end, why);
}

/* --- Requests --- */

static void upgrade(struct held *h, const struct http_request *r, const struct endpoints *client)
{
    const struct web_events *events = h->events;
    void *ctx = h->ctx;
    h->transport->client->ends = *client;
    endpoint_text(&client->source, h->transport->client->peer);
    struct transport *websocket = websocket_new(h->all->loop, h->transport, slice_skip(buf_slice(&h->read), r->size));
    forget(h);
    events->upgraded(ctx, websocket);
}

static void answer(struct held *h, const struct http_request *r)
{
    struct buf out = {0};
    struct endpoints client = *transport_ends(h->transport);
    bool upgraded = h->events->request(h->ctx, r, h->secure, &client, &out);
    transport_write(h->transport, buf_slice(&out));
    buf_free(&out);
    if (upgraded)
        upgrade(h, r, &client);
    else
        finish(h, WEB_ANSWERED, "");
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct held *h = ctx;
    struct http_request r;
    buf_append(&h->read, p, n);
    if (!memchr(p, '\n', n) && h->read.n < HTTP_HEAD_MAX)
        return; /* no line has ended: it is not looked at byte by byte */
    switch (http_request_parse(buf_slice(&h->read), &r)) {
    case HTTP_MORE:
        break;
    case HTTP_DONE:
        answer(h, &r);
        break;
    case HTTP_BAD:
        refuse(h, 400, WEB_REFUSED, r.fault);
        break;
    case HTTP_TOO_LARGE:
        refuse(h, 431, WEB_REFUSED, "the head of the request is too large");
        break;
    }
}

static void arm(struct held *h)
{
    struct loop *l = h->all->loop;
    timers_arm(loop_timers(l), &h->timer, loop_clock(l)->mono + h->timeout);
}

static void on_ready(void *ctx)
{
    struct held *h = ctx;
    h->secure = h->transport->kind == TRANSPORT_KIND_TLS;
    if (h->secure)
        h->events->secured(h->ctx);
    arm(h);
    transport_read_start(h->transport);
}

static void on_drained(void *ctx)
{
    (void)ctx; /* nothing waits for that */
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct held *h = ctx;
    bool quiet = end == TRANSPORT_FIN || end == TRANSPORT_RESET;
    if (!h->secure && !quiet)
        finish(h, WEB_TLS_FAILED, detail);
    else
        finish(h, h->read.n ? WEB_GONE : WEB_PROBE, detail);
}

static const struct transport_events events_below = {on_ready, on_bytes, on_drained, on_closed};

static void on_timer(void *ctx)
{
    refuse(ctx, 408, WEB_LATE, "no request came within the time");
}

void web_hold(struct web *w, int fd, struct tls_context *tls, usec timeout, const struct endpoints *told,
              const struct web_events *events, void *ctx)
{
    struct held *h = MEM_NEW(struct held);
    h->all = w;
    h->events = events;
    h->ctx = ctx;
    h->timeout = timeout;
    h->timer = (struct timer){.fire = on_timer, .ctx = h};
    h->transport = tcp_accept_web(w->loop, fd, tls, timeout, told);
    transport_set_events(h->transport, &events_below, h);
    transport_yield(h->transport, true);
    list_append(&w->held, &h->link);
}

void web_drop(struct web *w)
{
    LIST_FOREACH_SAFE(it, next, &w->held)
    finish(CONTAINER_OF(it, struct held, link), WEB_PROBE, "the proxy stops");
}
