#include "session/upstream_leg.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/slab.h"
#include "xmpp/stream_error.h"
#include "xmpp/xml.h"
#include <stdlib.h>

struct upstream_opening {
    char *domain;
    char *header; /* the stream header to send, in canonical form; NULL: not known yet */
};

static const char *sid_of(const struct upstream_leg *up)
{
    return up->sid ? up->sid : "";
}

/* UPSTREAM_DIALING --ready--> [UPSTREAM_STARTTLS --proceed--> UPSTREAM_HANDSHAKE --ready-->] UPSTREAM_OPENING
 *   --server's header--> UPSTREAM_OPEN --restart--> UPSTREAM_OPENING; any --end--> UPSTREAM_CLOSED */
static void set_phase(struct upstream_leg *up, enum upstream_phase phase)
{
    static const char *const name[] = {"dialing", "starttls", "handshake", "opening", "open", "closed"};
    LOG(LOG_DEBUG, "upstream leg", LF_INT("leg", up->number), LF("sid", sid_of(up)), LF("from", name[up->phase]),
        LF("to", name[phase]));
    up->phase = phase;
}

char *stream_header_canonical(const struct stream_header *h)
{
    struct buf out = {0};
    BUF_LIT(&out, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" NS_STREAMS "'");
    xml_attr(&out, "id", h->id);
    xml_attr(&out, "from", h->from);
    xml_attr(&out, "to", h->to);
    xml_attr(&out, "version", h->version);
    xml_attr(&out, "xml:lang", h->lang);
    BUF_LIT(&out, ">");
    return buf_steal(&out);
}

static struct upstream_opening *opening_of(struct upstream_leg *up)
{
    if (!up->opening)
        up->opening = MEM_NEW(struct upstream_opening);
    return up->opening;
}

static void forget_opening(struct upstream_leg *up)
{
    if (up->opening) {
        free(up->opening->domain);
        free(up->opening->header);
    }
    free(up->opening);
    up->opening = NULL;
}

static void bury(struct grave *g)
{
    struct upstream_leg *up = CONTAINER_OF(g, struct upstream_leg, grave);
    leg_clear(&up->leg);
    forget_opening(up);
    slab_free(up);
}

const char *upstream_leg_server(const struct upstream_leg *up)
{
    return up->facts->name ? up->facts->name : up->leg.cx->settings->upstream;
}

static void note(struct upstream_leg *up, enum upstream_note what, const char *detail)
{
    up->leg.cx->ops->upstream_noted(up->leg.cx, up->facts, what, detail);
}

/* Not before its transport has told something: until then a dial may go on to another server. */
static void learn_server(struct upstream_leg *up)
{
    struct upstream_facts *facts = up->leg.transport->server;
    if (facts)
        up->facts = facts;
}

void upstream_leg_close(struct upstream_leg **up_r, enum close_reason reason, bool end_stream)
{
    struct upstream_leg *up = *up_r;
    *up_r = NULL;
    if (!up || up->phase == UPSTREAM_CLOSED)
        return;
    struct context *cx = up->leg.cx;
    if (end_stream && up->phase == UPSTREAM_OPEN)
        leg_write_end(&up->leg, FAREWELL_DONE);
    set_phase(up, UPSTREAM_CLOSED);
    leg_close(&up->leg, true);
    if (!up->is_check)
        count(cx->counters, metric_close_upstream(reason));
    LOG(LOG_DEBUG, "upstream leg closed", LF_INT("leg", up->number), LF("sid", sid_of(up)),
        LF("upstream", upstream_leg_server(up)), LF("reason", close_reason_name(reason)));
    context_bury(cx, &up->grave, bury);
}

static void ended(struct upstream_leg *up, enum close_reason reason, const char *detail)
{
    if (up->phase == UPSTREAM_CLOSED)
        return;
    up->events->ended(up->ctx, reason, detail); /* the owner drops its pointer */
    upstream_leg_close(&up, reason, false);
}

static void unreachable_now(struct upstream_leg *up, const char *detail)
{
    if (!up->is_check)
        count(up->leg.cx->counters, METRIC_upstream_dials_failed);
    note(up, UPSTREAM_FAILED, detail);
}

static void send_header(struct upstream_leg *up)
{
    if (!up->opening || !up->opening->header)
        return;
    stream_restart(up->leg.stream);
    set_phase(up, UPSTREAM_OPENING);
    leg_write_str(&up->leg, up->opening->header);
    forget_opening(up);
    leg_go(&up->leg, STOP_TURN);
}

static void starttls_failed(struct upstream_leg *up, const char *why)
{
    unreachable_now(up, why);
    ended(up, CLOSE_UPSTREAM_UNREACHABLE, why);
}

/* ---- the transport ---- */

static void on_ready(void *ctx)
{
    struct upstream_leg *up = ctx;
    learn_server(up);
    if (up->phase == UPSTREAM_DIALING && up->leg.cx->settings->upstream_tls == UPSTREAM_TLS_STARTTLS) {
        struct stream_header h = {.to = slice_str(up->opening->domain), .version = SLICE_LIT("1.0")};
        char *header = stream_header_canonical(&h);
        set_phase(up, UPSTREAM_STARTTLS);
        leg_write_str(&up->leg, header);
        free(header);
        leg_go(&up->leg, STOP_TURN);
        return;
    }
    if (up->phase == UPSTREAM_HANDSHAKE && (up->leg.held || stream_pending(up->leg.stream))) {
        /* read in clear, from whoever sits on the line, and not to be taken for what TLS protects */
        starttls_failed(up, "bytes in clear behind <proceed/>");
        return;
    }
    if (!up->is_check)
        count(up->leg.cx->counters, METRIC_upstream_dials_ok);
    send_header(up);
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct upstream_leg *up = ctx;
    leg_input(&up->leg, p, n);
}

static void on_drained(void *ctx)
{
    struct upstream_leg *up = ctx;
    if (up->phase != UPSTREAM_CLOSED)
        up->events->drained(up->ctx);
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct upstream_leg *up = ctx;
    bool unreachable = up->phase < UPSTREAM_OPENING;
    learn_server(up);
    if (unreachable)
        unreachable_now(up, detail);
    else
        leg_hear_out(&up->leg);
    if (up->phase != UPSTREAM_CLOSED && !unreachable && !up->reached)
        note(up, UPSTREAM_FAILED, detail);
    ended(up, unreachable ? CLOSE_UPSTREAM_UNREACHABLE : leg_reason(end), detail);
}

static const struct transport_events transport_events = {on_ready, on_bytes, on_drained, on_closed};

/* ---- the stream ---- */

/* RFC 6120 5.4 as the initiating side. */
static void starttls_element(struct upstream_leg *up, const struct element *e)
{
    if (element_is(e, NS_STREAMS, "features")) {
        if (node_child(e->tree, NS_TLS, "starttls"))
            leg_write_str(&up->leg, "<starttls xmlns='" NS_TLS "'/>");
        else
            starttls_failed(up, "the server does not offer STARTTLS (proxy.upstream_tls = starttls)");
    } else if (element_is(e, NS_TLS, "proceed")) {
        set_phase(up, UPSTREAM_HANDSHAKE);
        leg_stop(&up->leg, STOP_TURN);
        stream_restart(up->leg.stream);
        up->leg.cx->ops->starttls_upstream(up->leg.cx, up->leg.transport, up->opening->domain);
    } else {
        starttls_failed(up, "the server refused STARTTLS");
    }
}

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    struct upstream_leg *up = ctx;
    if (up->phase == UPSTREAM_OPENING) {
        set_phase(up, UPSTREAM_OPEN);
        if (!up->reached)
            note(up, UPSTREAM_REACHED, NULL);
        up->reached = true;
        up->events->header(up->ctx, h);
    }
    return leg_next(&up->leg);
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct upstream_leg *up = ctx;
    if (up->phase == UPSTREAM_STARTTLS)
        starttls_element(up, e);
    else if (up->phase == UPSTREAM_OPEN)
        up->events->element(up->ctx, e);
    return leg_next(&up->leg);
}

static void on_stream_closed(void *ctx)
{
    ended(ctx, CLOSE_SERVER_END, "the server ended the stream");
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    struct upstream_leg *up = ctx;
    if (error == STREAM_POLICY_VIOLATION)
        count(up->leg.cx->counters, METRIC_limit_server_stanza);
    LOG(LOG_WARN, "the server sent what is not XMPP", LF_INT("leg", up->number), LF("sid", sid_of(up)),
        LF("error", stream_error_name(error)), LF("detail", text));
    ended(up, CLOSE_BAD_STREAM, text);
}

static const struct stream_events stream_events = {on_opened, on_element, on_stream_closed, on_failed};

struct upstream_leg *upstream_leg_open(struct context *cx, struct slice domain, const struct endpoints *client,
                                       uint64_t number, const struct upstream_events *events, void *ctx)
{
    char *name = mem_dup(domain);
    struct upstream_leg *up = upstream_leg_open_on(cx, cx->ops->dial(cx, name, client), domain, number, events, ctx);
    free(name);
    return up;
}

struct upstream_leg *upstream_leg_open_on(struct context *cx, struct transport *t, struct slice domain, uint64_t number,
                                          const struct upstream_events *events, void *ctx)
{
    struct upstream_leg *up = SLAB_NEW(SLAB_SESSION, struct upstream_leg);
    up->number = number;
    opening_of(up)->domain = mem_dup(domain);
    up->facts = cx->upstream;
    upstream_leg_set_events(up, events, ctx);
    leg_init(&up->leg, SLAB_SESSION, cx, t, &cx->settings->limits.server, &stream_events, up);
    transport_set_events(up->leg.transport, &transport_events, up);
    transport_yield(up->leg.transport, true); /* until a session has it */
    leg_stop(&up->leg, STOP_TURN);            /* nothing is expected before we have spoken */
    return up;
}

void upstream_leg_set_events(struct upstream_leg *up, const struct upstream_events *events, void *ctx)
{
    up->events = events;
    up->ctx = ctx;
}

void upstream_leg_header(struct upstream_leg *up, char *header)
{
    free(opening_of(up)->header);
    up->opening->header = header;
    if (up->phase >= UPSTREAM_OPENING)
        send_header(up);
}

void upstream_leg_leave(struct upstream_leg *up)
{
    leg_leave(&up->leg);
}

void upstream_leg_arrive(struct upstream_leg *up, struct context *cx)
{
    leg_arrive(&up->leg, cx);
}
