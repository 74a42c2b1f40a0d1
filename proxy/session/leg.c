#include "session/leg.h"
#include "base/mem.h"
#include "session/upstream_leg.h"
#include "xmpp/framing.h"
#include "xmpp/stanza.h"
#include <stdlib.h>

void leg_init(struct leg *leg, enum slab_life life, struct context *cx, struct transport *t,
              const struct stream_limits *limits, const struct stream_events *events, void *ctx)
{
    leg->cx = cx;
    leg->transport = t;
    leg->stream = stream_new(life, cx->parsers, limits, events, ctx);
    if (transport_is_framed(t))
        stream_set_framed(leg->stream);
    leg->last_input = leg->last_output = cx->clock->mono;
}

static void update_reading(struct leg *leg)
{
    bool want = leg->transport && !leg->stopped && !leg->held;
    if (!leg->transport || want == leg->reading)
        return;
    leg->reading = want;
    if (want)
        transport_read_start(leg->transport);
    else
        transport_read_stop(leg->transport);
}

/* Returns how many bytes the stream took. It stops early when an upcall stopped or closed the leg. */
static size_t feed(struct leg *leg, const char *p, size_t n)
{
    size_t used = 0;
    leg->feeding = true;
    while (used < n && leg->transport && !leg->stopped) {
        size_t took = stream_feed(leg->stream, p + used, n - used);
        used += took;
        if (took == 0)
            break;
    }
    leg->feeding = false;
    return used;
}

static void hold(struct leg *leg, const char *p, size_t n)
{
    if (!leg->held)
        leg->held = MEM_NEW(struct buf);
    buf_append(leg->held, p, n);
}

static void drop_held(struct leg *leg)
{
    if (leg->held)
        buf_free(leg->held);
    free(leg->held);
    leg->held = NULL;
}

static void feed_held(struct leg *leg)
{
    while (leg->held && leg->transport && !leg->stopped) {
        struct buf *held = leg->held; /* upcalls may add to it only by leg_input, which they never call */
        size_t used = feed(leg, held->data + held->off, held->n);
        buf_consume(held, used);
        if (!held->n || !leg->transport)
            drop_held(leg);
        else if (used == 0)
            break;
    }
}

void leg_input(struct leg *leg, const char *p, size_t n)
{
    leg->last_input = leg->cx->clock->mono;
    leg->bytes_in += n;
    size_t used = 0;
    if (!leg->stopped && !leg->held)
        used = feed(leg, p, n);
    if (leg->transport && used < n) {
        hold(leg, p + used, n - used);
        feed_held(leg); /* an upcall may have stopped and started the leg again */
    }
    update_reading(leg);
}

void leg_stop(struct leg *leg, enum leg_stop why)
{
    leg->stopped |= why;
    if (!leg->feeding)
        update_reading(leg);
}

void leg_go(struct leg *leg, unsigned why)
{
    if (!(leg->stopped & why))
        return;
    leg->stopped &= ~why;
    if (leg->feeding || leg->stopped)
        return;                                              /* the feed on the stack goes on by itself */
    leg->last_input = leg->listening = leg->cx->clock->mono; /* it could not be heard until now */
    feed_held(leg);
    update_reading(leg);
}

void leg_hear_out(struct leg *leg)
{
    for (size_t before = 0; leg->transport && leg->held && leg->held->n != before;) {
        before = leg->held->n;
        leg->stopped = 0;
        feed_held(leg);
    }
}

static void note_output(struct leg *leg, size_t n)
{
    leg->last_output = leg->cx->clock->mono;
    leg->bytes_out += n;
}

static void write_message(struct leg *leg, struct slice s)
{
    struct slice parts[FRAMING_PARTS];
    size_t n = framing_message(s, parts);
    leg->transport->ops->write_message(leg->transport, parts, n);
}

void leg_write(struct leg *leg, struct slice s)
{
    if (!leg->transport || !s.n)
        return;
    note_output(leg, s.n);
    if (transport_is_framed(leg->transport))
        write_message(leg, s);
    else
        transport_write(leg->transport, s);
}

/* What stands alone as it is. */
static void write_own(struct leg *leg, const char *text)
{
    if (!leg->transport)
        return;
    note_output(leg, strlen(text));
    transport_write(leg->transport, slice_str(text));
}

void leg_write_header(struct leg *leg, const struct stream_header *h)
{
    bool framed = leg->transport && transport_is_framed(leg->transport);
    char *header = framed ? framing_open(h) : stream_header_canonical(h);
    write_own(leg, header);
    free(header);
}

void leg_write_end(struct leg *leg, enum transport_farewell farewell)
{
    bool framed = leg->transport && transport_is_framed(leg->transport);
    write_own(leg, framed ? FRAMING_CLOSE : "</stream:stream>");
    if (framed)
        leg->transport->ops->finish(leg->transport, farewell);
}

void leg_keep_alive(struct leg *leg)
{
    bool framed = leg->transport && transport_is_framed(leg->transport);
    if (!framed) {
        write_own(leg, " ");
        return;
    }
    note_output(leg, 0);
    leg->transport->ops->ping(leg->transport);
}

void leg_write_str(struct leg *leg, const char *text)
{
    leg_write(leg, slice_str(text));
}

void leg_close(struct leg *leg, bool graceful)
{
    transport_free(&leg->transport, graceful);
    leg->reading = false;
}

void leg_clear(struct leg *leg)
{
    stream_free(leg->stream);
    leg->stream = NULL;
    drop_held(leg);
}

void leg_leave(struct leg *leg)
{
    leg->transport->ops->detach(leg->transport);
    leg->reading = false;
    leg->cx = NULL;
}

void leg_arrive(struct leg *leg, struct context *cx)
{
    leg->cx = cx;
    stream_set_pool(leg->stream, cx->parsers);
    leg->transport->ops->attach(leg->transport, cx->loop);
    update_reading(leg);
}

enum close_reason leg_reason(enum transport_end end)
{
    switch (end) {
    case TRANSPORT_FIN:
        return CLOSE_PEER_FIN;
    case TRANSPORT_RESET:
        return CLOSE_PEER_RESET;
    case TRANSPORT_TIMEOUT:
        return CLOSE_PEER_TIMEOUT;
    case TRANSPORT_TLS:
        return CLOSE_TLS_FAILED;
    case TRANSPORT_REFUSED:
        return CLOSE_UPSTREAM_UNREACHABLE;
    case TRANSPORT_BROKEN:
        return CLOSE_BAD_STREAM;
    }
    return CLOSE_INTERNAL;
}

static bool has_with_colon(struct slice bytes, struct slice prefix)
{
    const char *at = bytes.p, *end = bytes.p + bytes.n;
    while ((at = memmem(at, (size_t)(end - at), prefix.p, prefix.n)) != NULL) {
        at += prefix.n;
        if (at < end && *at == ':')
            return true;
    }
    return false;
}

/* Whether `prefix:` occurs in the element, for a prefix of the declarations (" xmlns:prefix='…'"). A match inside text
 * is harmless: a declaration too many changes no meaning, and stanza_write_declared leaves out what the root declares
 * itself. */
static bool uses_prefix(const struct element *e, struct slice declarations)
{
    static const char mark[] = "xmlns:";
    const char *at = declarations.p, *end = declarations.p + declarations.n;
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)) != NULL) {
        at += sizeof mark - 1;
        const char *stop = memchr(at, '=', (size_t)(end - at));
        if (!stop)
            return false;
        if (has_with_colon(e->bytes, slice_of(at, (size_t)(stop - at))))
            return true;
        at = stop;
    }
    return false;
}

struct slice leg_extra_ns(const struct leg *leg, const struct element *e)
{
    struct slice extra = stream_extra_ns(leg->stream);
    return extra.n && uses_prefix(e, extra) ? extra : SLICE_NONE;
}

struct slice leg_outside(const struct leg *leg, const struct element *e, struct buf *scratch)
{
    struct slice extra = leg_extra_ns(leg, e);
    if (!extra.n)
        return e->bytes;
    struct stanza_bytes bytes = stanza_bytes_of(e);
    buf_clear(scratch);
    stanza_write_declared(scratch, &bytes, extra);
    return buf_slice(scratch);
}
