#include "relay.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/peer.h"
#include "login.h"
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_TIME (2 * USEC_S)  /* of the owner: then the session is taken from it */
#define ENDING_TIME (15 * USEC_S) /* of the owner, for its goodbye to a client that has said its own */
/* A client that takes long over one stanza is alive: the owner, which sees whole ones only, hears so. */
#define SIGN_EVERY (10 * USEC_S)

struct relay {
    struct grave grave;
    struct leg leg; /* to the owner */
    char *address;
    struct client_leg *client;
    const struct relay_events *events; /* NULL once told */
    void *ctx;
    struct timer timer; /* until the owner must have answered, or said goodbye */
    usec begun;
    bool taken;
    unsigned long long seen_in, seen_out; /* leg.bytes_* as counted so far */
};

static void bury(struct grave *g)
{
    struct relay *r = CONTAINER_OF(g, struct relay, grave);
    leg_clear(&r->leg);
    free(r->address);
    free(r);
}

static void count_bytes(struct relay *r)
{
    struct counters *counters = r->leg.cx->counters;
    count_add(counters, METRIC_relay_bytes_up, (int64_t)(r->leg.bytes_out - r->seen_out));
    count_add(counters, METRIC_relay_bytes_down, (int64_t)(r->leg.bytes_in - r->seen_in));
    r->seen_out = r->leg.bytes_out;
    r->seen_in = r->leg.bytes_in;
}

/* Off the client, and gone. */
static void drop(struct relay *r)
{
    struct context *cx = r->leg.cx;
    r->client->relay = NULL;
    timers_cancel(cx->timers, &r->timer);
    count_bytes(r);
    if (r->taken)
        count_add(cx->counters, METRIC_relays, -1);
    leg_close(&r->leg, true);
    context_bury(cx, &r->grave, bury);
}

/* ---- until the owner has answered ---- */

static void tell_failure(const struct relay *r, enum relay_failure why, const char *detail)
{
    static const struct {
        enum metric metric;
        const char *word;
    } failure[] = {
        [RELAY_UNREACHABLE] = {METRIC_relay_failures_unreachable, "unreachable"},
        [RELAY_SILENT] = {METRIC_relay_failures_silent, "silent"},
        [RELAY_REFUSED] = {METRIC_relay_failures_refused, "refused"},
        [RELAY_BROKEN] = {METRIC_relay_failures_broken, "broken"},
    };
    count(r->leg.cx->counters, failure[why].metric);
    LOG(LOG_WARN, "client not passed on", LF_INT("leg", r->client->number), LF("sid", r->client->login->resume_sid),
        LF("peer", r->address), LF("reason", failure[why].word), LF("detail", detail));
}

static void fail(struct relay *r, enum relay_failure why, const char *detail)
{
    const struct relay_events *events = r->events;
    if (!events)
        return;
    r->events = NULL;
    if (why != RELAY_CLIENT_GONE)
        tell_failure(r, why, detail);
    drop(r);
    events->failed(r->ctx, why);
}

static void to_client(struct relay *r, const struct element *e)
{
    struct client_leg *c = r->client;
    leg_write(&c->leg, leg_outside(&r->leg, e, &r->leg.cx->scratch));
    if (transport_buffered(c->leg.transport) > TRANSPORT_HIGH_WATER) {
        count(r->leg.cx->counters, METRIC_backpressure_upstream);
        leg_stop(&r->leg, STOP_SLOW);
    }
}

static void take(struct relay *r, const struct element *resumed)
{
    struct context *cx = r->leg.cx;
    const struct relay_events *events = r->events;
    r->events = NULL;
    r->taken = true;
    timers_cancel(cx->timers, &r->timer);
    count(cx->counters, METRIC_relays);
    count_observe(cx->counters, METRIC_relay_ask_time, cx->clock->mono - r->begun);
    LOG(LOG_INFO, "client passed on", LF_INT("leg", r->client->number), LF("sid", r->client->login->resume_sid),
        LF("client", transport_peer(r->client->leg.transport)), LF("peer", r->address));
    to_client(r, resumed);
    events->taken(r->ctx);
    client_leg_passed_on(r->client);
}

static bool is_error(const struct element *e)
{
    return element_is(e, NS_STREAMS, "error");
}

static bool is_resumed(const struct element *e)
{
    return element_is(e, NS_SM3, "resumed") || element_is(e, NS_SM2, "resumed");
}

static void pass_error(struct relay *r, const struct element *e)
{
    struct buf *scratch = &r->leg.cx->scratch;
    buf_clear(scratch);
    stream_error_relay(scratch, e);
    leg_write(&r->client->leg, buf_slice(scratch));
}

/* A stream error is the owner's last word on this client: another connection was faster. */
static void answered(struct relay *r, const struct element *e)
{
    if (is_resumed(e)) {
        take(r, e);
        return;
    }
    if (is_error(e)) {
        pass_error(r, e);
        client_leg_close(r->client, CLOSE_REPLACED, GOODBYE_END);
        return;
    }
    char *reason = mem_dup(node_attr(e->tree, "reason"));
    fail(r, RELAY_REFUSED, reason);
    free(reason);
}

static void on_timer(void *ctx)
{
    struct relay *r = ctx;
    if (r->taken)
        client_leg_close(r->client, CLOSE_CLIENT_END, GOODBYE_END);
    else
        fail(r, RELAY_SILENT, "no answer in time");
}

/* ---- the owner's side ---- */

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    (void)ctx, (void)h; /* our own */
    return STREAM_GO;
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct relay *r = ctx;
    if (!r->taken) {
        answered(r, e);
    } else if (is_error(e)) { /* its end tag follows */
        pass_error(r, e);
    } else {
        if (element_is_stanza(e))
            context_relayed(r->leg.cx, METRIC_relay_down, 0);
        to_client(r, e);
    }
    return leg_next(&r->leg);
}

static void on_stream_closed(void *ctx)
{
    struct relay *r = ctx;
    if (r->taken)
        client_leg_close(r->client, CLOSE_SESSION_END, GOODBYE_END);
    else
        fail(r, RELAY_REFUSED, "the session ended");
}

/* The client comes again, to whoever has the session by then. */
static void lose(struct relay *r, const char *detail)
{
    LOG(LOG_INFO, "the node that runs the session is lost", LF_INT("leg", r->client->number), LF("sid", r->client->sid),
        LF("peer", r->address), LF("detail", detail));
    client_leg_close(r->client, CLOSE_OWNER_LOST, GOODBYE_CUT);
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    struct relay *r = ctx;
    (void)error;
    if (r->taken)
        lose(r, text);
    else
        fail(r, RELAY_BROKEN, text);
}

static const struct stream_events stream_events = {on_opened, on_element, on_stream_closed, on_failed};

static void on_ready(void *ctx)
{
    struct relay *r = ctx;
    leg_go(&r->leg, STOP_TURN);
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct relay *r = ctx;
    leg_input(&r->leg, p, n);
    if (leg_is_open(&r->leg))
        count_bytes(r);
}

static void on_drained(void *ctx)
{
    struct relay *r = ctx;
    leg_go(&r->client->leg, STOP_SLOW);
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct relay *r = ctx;
    leg_hear_out(&r->leg);
    if (!leg_is_open(&r->leg))
        return;
    if (r->taken)
        lose(r, detail);
    else
        fail(r, end == TRANSPORT_REFUSED ? RELAY_UNREACHABLE : RELAY_BROKEN, detail);
}

static const struct transport_events transport_events = {on_ready, on_bytes, on_drained, on_closed};

/* ---- the beginning ---- */

static void greet(struct relay *r)
{
    const struct client_leg *c = r->client;
    struct buf line = {0};
    struct peer_hello hello = {.hops = 1, .h = c->login->resume_h, .account = c->login->resume_account};
    memcpy(hello.sid, c->login->resume_sid, SID_SIZE);
    snprintf(hello.client, sizeof hello.client, "%s", transport_peer(c->leg.transport));
    hello.node = mem_strdup(c->leg.cx->node);
    peer_hello_write(&line, &hello);
    leg_write(&r->leg, buf_slice(&line));
    buf_free(&line);
    free(hello.node);
}

/* Neither side sends a header: what follows is read as if that one had come. */
void relay_open_stream(struct stream *stream)
{
    static const char header[] = "<stream:stream xmlns='" NS_CLIENT "' xmlns:stream='" NS_STREAMS "' version='1.0'>";
    stream_feed(stream, header, sizeof header - 1);
}

bool relay_begin(struct client_leg *c, const char *address, const struct relay_events *events, void *ctx)
{
    struct context *cx = c->leg.cx;
    struct transport *t = cx->ops->dial_peer(cx, address);
    if (!t)
        return false;
    struct relay *r = MEM_NEW(struct relay);
    r->client = c;
    r->address = mem_strdup(address);
    r->events = events;
    r->ctx = ctx;
    r->begun = cx->clock->mono;
    r->timer = (struct timer){.fire = on_timer, .ctx = r};
    leg_init(&r->leg, SLAB_CONNECTION, cx, t, &cx->settings->limits.server, &stream_events, r);
    transport_set_events(t, &transport_events, r);
    relay_open_stream(r->leg.stream);
    leg_stop(&r->leg, STOP_TURN);
    greet(r);
    timers_arm(cx->timers, &r->timer, r->begun + ANSWER_TIME);
    c->relay = r;
    return true;
}

/* ---- the client's side ---- */

void relay_from_client(struct relay *r, const struct element *e)
{
    struct client_leg *c = r->client;
    if (element_is_stanza(e))
        context_relayed(c->leg.cx, METRIC_relay_up, 0);
    leg_write(&r->leg, leg_outside(&c->leg, e, &c->leg.cx->scratch));
    count_bytes(r);
    if (transport_buffered(r->leg.transport) > TRANSPORT_HIGH_WATER) {
        count(c->leg.cx->counters, METRIC_backpressure_client);
        leg_stop(&c->leg, STOP_SLOW);
    }
}

void relay_client_heard(struct relay *r)
{
    if (r->taken && r->leg.cx->clock->mono - r->leg.last_output >= SIGN_EVERY)
        leg_keep_alive(&r->leg);
}

void relay_client_drained(struct relay *r)
{
    leg_go(&r->leg, STOP_SLOW);
}

void relay_client_ended(struct relay *r)
{
    leg_write_end(&r->leg, FAREWELL_DONE);
    timers_arm(r->leg.cx->timers, &r->timer, r->leg.cx->clock->mono + ENDING_TIME);
}

void relay_close(struct client_leg *c, enum client_goodbye goodbye)
{
    struct relay *r = c->relay;
    if (!r)
        return;
    if (!r->taken) {
        fail(r, RELAY_CLIENT_GONE, NULL);
        return;
    }
    if (goodbye == GOODBYE_END)
        leg_write_end(&r->leg, FAREWELL_DONE);
    drop(r);
}
