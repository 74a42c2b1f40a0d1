#include "session/client_leg.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/slab.h"
#include "cluster/peer.h"
#include "login.h"
#include "rate.h"
#include "relay.h"
#include "resent.h"
#include "session/session.h"
#include "xmpp/jid.h"
#include <stdlib.h>

/* A client that asks and does not read: more than this is not answered. Far above what a session keeps in the
 * transport, since one that only writes for a while must still be read. */
#define OUTPUT_LIMIT (16 * TRANSPORT_HIGH_WATER)

const char *client_phase_name(enum client_phase phase)
{
    static const char *const name[CLIENT_PHASES] = {
        "accepted",    "opening",    "starttls",  "handshake",     "queued",  "dialing",
        "negotiating", "restarting", "reopening", "authenticated", "binding", "proving",
        "resuming",    "bound",      "relayed",   "ending",        "closed"};
    return name[phase];
}

void client_set_phase(struct client_leg *c, enum client_phase phase)
{
    LOG(LOG_DEBUG, "client leg", LF_INT("leg", c->number), LF("sid", c->sid), LF("from", client_phase_name(c->phase)),
        LF("to", client_phase_name(phase)));
    if (phase == CLIENT_BOUND || phase == CLIENT_RELAYED) {
        count_add(c->leg.cx->counters, METRIC_connections_logging_in, -1);
        transport_yield(c->leg.transport, false);
    }
    c->phase = phase;
}

void client_write_str(struct client_leg *c, const char *text)
{
    leg_write_str(&c->leg, text);
}

void login_free(struct login **l_r, enum close_reason upstream_reason)
{
    struct login *l = *l_r;
    *l_r = NULL;
    if (!l)
        return;
    upstream_leg_close(&l->up, upstream_reason, true);
    sasl_reset(&l->identity);
    free(l->domain);
    free(l->pending_id);
    free(l->pending_username);
    free(l->pending_resource);
    free(l->header);
    free(l->bound_jid);
    free(l->tried);
    free(l->wished);
    free(l->resume_ns);
    free(l->resume_account);
    awaited_free(l->awaited);
    free(l);
}

/* ---- the end ---- */

static void bury(struct grave *g)
{
    struct client_leg *c = CONTAINER_OF(g, struct client_leg, grave);
    leg_clear(&c->leg);
    free(c->relay_node);
    slab_free(c);
}

static const struct {
    enum metric open, opened;
} by_kind[] = {[TRANSPORT_TCP] = {METRIC_connections_tcp, METRIC_connections_opened_tcp},
               [TRANSPORT_KIND_TLS] = {METRIC_connections_tls, METRIC_connections_opened_tls},
               [TRANSPORT_WS] = {METRIC_connections_ws, METRIC_connections_opened_ws},
               [TRANSPORT_WSS] = {METRIC_connections_wss, METRIC_connections_opened_wss},
               [TRANSPORT_RELAY] = {METRIC_connections_relay, METRIC_connections_opened_relay},
               [TRANSPORT_MEMORY] = {METRIC_connections_tcp, METRIC_connections_opened_tcp}};

static void count_connection(struct client_leg *c, int n)
{
    count_add(c->leg.cx->counters, by_kind[c->counted_as].open, n);
}

/* A connection that went from clear to TLS changes its gauge. */
static void recount_connection(struct client_leg *c)
{
    if (c->presented)
        count_connection(c, -1);
    c->counted_as = c->leg.transport->kind;
    c->presented = true;
    count_connection(c, 1);
}

/* It has not said a word, and is gone: a load balancer that looks whether we are there does so every few seconds. */
static bool is_probe(const struct client_leg *c, enum close_reason reason)
{
    return !c->leg.bytes_in && c->phase <= CLIENT_OPENING && (reason == CLOSE_PEER_FIN || reason == CLOSE_PEER_RESET);
}

static enum transport_farewell farewell_of(const struct client_leg *c, enum close_reason reason)
{
    switch (reason) {
    case CLOSE_LIMIT:
        return c->sent_too_large ? FAREWELL_TOO_LARGE : FAREWELL_POLICY;
    case CLOSE_DRAIN:
    case CLOSE_SHUTDOWN:
        return FAREWELL_AWAY;
    case CLOSE_INTERNAL:
    case CLOSE_UPSTREAM_UNREACHABLE:
    case CLOSE_UPSTREAM_LOST:
        return FAREWELL_FAULT;
    default:
        return FAREWELL_DONE;
    }
}

void client_leg_close(struct client_leg *c, enum close_reason reason, enum client_goodbye goodbye)
{
    if (c->phase == CLIENT_CLOSED)
        return;
    struct context *cx = c->leg.cx;
    struct session *s = c->session;
    bool asking = c->phase == CLIENT_RESUMING;
    /* over WebSocket a stream that was not opened can be closed all the same (RFC 7395 3.4) */
    if (goodbye == GOODBYE_END && (c->header_sent || transport_is_framed(c->leg.transport)))
        leg_write_end(&c->leg, c->farewell ? c->farewell : farewell_of(c, reason));
    enum log_level level = is_probe(c, reason) ? LOG_DEBUG : LOG_INFO;
    if (c->sid[0] || level == LOG_DEBUG || context_may_tell(cx))
        LOG(level, "client leg closed", LF_INT("leg", c->number), LF("sid", c->sid),
            LF("peer", transport_peer(c->leg.transport)), LF("phase", client_phase_name(c->phase)),
            LF("reason", close_reason_name(reason)), LF_INT("age_ms", (cx->clock->mono - c->born) / USEC_MS));
    if (c->phase < CLIENT_BOUND)
        count_add(cx->counters, METRIC_connections_logging_in, -1);
    client_set_phase(c, CLIENT_CLOSED);
    count_connection(c, -c->presented);
    count(cx->counters, metric_close_client(reason));
    timers_cancel(cx->timers, &c->timer);
    rate_leave(c);
    if (c->login)
        login_left(c, reason);
    cx->ops->client_left(cx, transport_peer(c->leg.transport));
    leg_close(&c->leg, true);
    list_remove(&c->in_clients);
    list_remove(&c->in_deferred);
    c->session = NULL;
    if (c->ask)
        c->ask->leg = NULL;
    c->ask = NULL;
    relay_close(c, goodbye);
    if (c->parting)
        parting_without_client(c->parting);
    c->parting = NULL;
    if (s && asking)
        session_resume_cancel(s, c);
    else if (s)
        session_client_lost(s, reason);
    login_free(&c->login, CLOSE_CLIENT_GONE);
    context_bury(cx, &c->grave, bury);
}

/* RFC 6120 4.9.1.2: an error before the header was answered comes behind a header of ours. */
static void write_own_header(struct client_leg *c, struct slice from)
{
    char id[33];
    random_hex(id, 16);
    struct stream_header h = {.id = slice_str(id), .from = from, .version = SLICE_LIT("1.0"), .lang = SLICE_LIT("en")};
    leg_write_header(&c->leg, &h);
    c->header_sent = true;
}

void client_leg_fail(struct client_leg *c, enum close_reason reason, enum stream_error error, const char *text,
                     const char *extra)
{
    if (c->phase == CLIENT_CLOSED)
        return;
    struct buf out = {0};
    struct session *s = c->session;
    c->farewell = farewell_of(c, reason);
    if (s && c->phase == CLIENT_BOUND)
        session_say_last(s);
    if (!c->header_sent)
        write_own_header(c, c->login ? slice_str(c->login->domain) : slice_str(c->leg.cx->settings->domains[0]));
    stream_error_write(&out, error, text, extra);
    leg_write(&c->leg, buf_slice(&out));
    buf_free(&out);
    if (c->sid[0] || context_may_tell(c->leg.cx))
        LOG(LOG_INFO, "stream error to the client", LF_INT("leg", c->number), LF("sid", c->sid),
            LF("error", stream_error_name(error)), LF("detail", text ? text : ""));
    if (s && c->phase == CLIENT_BOUND)
        session_end(s, reason, GOODBYE_END); /* closes this leg too: a stream error is final */
    client_leg_close(c, reason, GOODBYE_END);
}

/* ---- the client's headers ---- */

static bool serves(const struct settings *set, struct slice domain)
{
    for (char **d = set->domains; *d; d++)
        if (strcmp(*d, "*") == 0 || jid_domain_eq(slice_str(*d), domain))
            return true;
    return false;
}

/* RFC 6120 4.7.2: `to` should be there; with a single domain there is no doubt what is meant without it. */
static struct slice wanted_domain(const struct settings *set, const struct stream_header *h)
{
    if (h->to.n)
        return h->to;
    return set->domains[0] && !set->domains[1] ? slice_str(set->domains[0]) : SLICE_NONE;
}

static void on_upstream_header(void *ctx, const struct stream_header *h)
{
    negotiation_header_from_upstream(ctx, h);
}

static void on_upstream_element(void *ctx, const struct element *e)
{
    negotiation_from_upstream(ctx, e);
}

static void on_upstream_drained(void *ctx)
{
    struct client_leg *c = ctx;
    leg_go(&c->leg, STOP_SLOW);
}

static void on_upstream_ended(void *ctx, enum close_reason reason, const char *detail)
{
    struct client_leg *c = ctx;
    c->login->up = NULL;
    if (context_may_tell(c->leg.cx))
        LOG(LOG_INFO, "upstream leg ended", LF_INT("leg", c->number), LF("reason", close_reason_name(reason)),
            LF("detail", detail));
    if (c->phase == CLIENT_RESUMING)
        return; /* the session has an upstream leg of its own */
    if (client_is_to_retry(c))
        client_leg_close(c, CLOSE_UPSTREAM_LOST, GOODBYE_CUT);
    else if (reason == CLOSE_SERVER_END)
        client_leg_close(c, CLOSE_SERVER_END, GOODBYE_END);
    else
        client_leg_fail(c, reason == CLOSE_UPSTREAM_UNREACHABLE ? reason : CLOSE_UPSTREAM_LOST,
                        STREAM_REMOTE_CONNECTION_FAILED, "the server cannot be reached", NULL);
}

static const struct upstream_events upstream_events = {on_upstream_header, on_upstream_element, on_upstream_drained,
                                                       on_upstream_ended};

void client_leg_take_back(struct client_leg *c, struct upstream_leg *up, struct slice jid)
{
    c->login->up = up;
    c->login->bound_jid = jid.n ? mem_dup(jid) : NULL;
    up->sid = NULL;
    upstream_leg_set_events(up, &upstream_events, c);
}

static char *header_for_upstream(struct client_leg *c, const struct stream_header *h)
{
    struct stream_header up = {
        .to = slice_str(c->login->domain), .from = h->from, .version = h->version, .lang = h->lang};
    return stream_header_canonical(&up);
}

static void dial(struct client_leg *c, char *header)
{
    client_set_phase(c, CLIENT_DIALING);
    c->login->up = upstream_leg_open(c->leg.cx, slice_str(c->login->domain), transport_ends(c->leg.transport),
                                     c->number, &upstream_events, c);
    upstream_leg_header(c->login->up, header);
}

/* Logins are spread (proxy.login_rate): a server that has just come back meets no storm. */
static void open_upstream(struct client_leg *c, const struct stream_header *h)
{
    struct context *cx = c->leg.cx;
    const struct settings *set = cx->settings;
    usec now = cx->clock->mono, at = pace_claim(&cx->pacing->logins, now, set->login_rate, set->limits.login_timeout);
    client_wait(c);
    if (at != now)
        count(cx->counters, METRIC_limit_login_rate);
    if (at < 0) {
        client_leg_fail(c, CLOSE_LIMIT, STREAM_RESOURCE_CONSTRAINT, "too many logins wait already", NULL);
    } else if (at == now) {
        dial(c, header_for_upstream(c, h));
    } else {
        c->login->header = header_for_upstream(c, h);
        client_set_phase(c, CLIENT_QUEUED);
        timers_arm(cx->timers, &c->timer, at);
    }
}

static void turn_has_come(struct client_leg *c)
{
    char *header = c->login->header;
    c->login->header = NULL;
    timers_arm(c->leg.cx->timers, &c->timer, c->leg.cx->clock->mono + c->leg.cx->settings->limits.login_timeout);
    dial(c, header);
}

/* tls.required speaks of those who can be asked for it: what comes over WebSocket has its TLS below, or at the load
 * balancer. */
static bool needs_starttls(const struct client_leg *c)
{
    return c->leg.cx->settings->tls_required && transport_may_starttls(c->leg.transport);
}

/* The operator wants TLS first: this header is answered by us, and nothing of it reaches the server. */
static void offer_starttls(struct client_leg *c)
{
    write_own_header(c, slice_str(c->login->domain));
    client_write_str(c, "<stream:features><starttls xmlns='" NS_TLS "'><required/></starttls></stream:features>");
    client_set_phase(c, CLIENT_STARTTLS);
}

static void first_header(struct client_leg *c, const struct stream_header *h)
{
    const struct settings *set = c->leg.cx->settings;
    struct slice domain = wanted_domain(set, h);
    if (!domain.n || !serves(set, domain)) {
        client_leg_fail(c, CLOSE_BAD_STREAM, STREAM_HOST_UNKNOWN, "this domain is not served here", NULL);
        return;
    }
    free(c->login->domain);
    c->login->domain = mem_dup(domain);
    if (needs_starttls(c) && !h->has_version)
        client_leg_fail(c, CLOSE_BAD_STREAM, STREAM_POLICY_VIOLATION, "TLS is required, and needs version='1.0'", NULL);
    else if (needs_starttls(c))
        offer_starttls(c);
    else
        open_upstream(c, h);
}

static void later_header(struct client_leg *c, const struct stream_header *h)
{
    if (h->to.n && !jid_domain_eq(h->to, slice_str(c->login->domain))) {
        client_leg_fail(c, CLOSE_BAD_STREAM, STREAM_HOST_UNKNOWN, "another domain than before", NULL);
        return;
    }
    client_set_phase(c, CLIENT_REOPENING);
    client_wait(c);
    upstream_leg_header(c->login->up, header_for_upstream(c, h));
}

/* ---- the client's stream ---- */

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    struct client_leg *c = ctx;
    if (h->default_ns.n && !slice_eq_str(h->default_ns, NS_CLIENT))
        client_leg_fail(c, CLOSE_BAD_STREAM, STREAM_INVALID_NAMESPACE, "the default namespace must be jabber:client",
                        NULL);
    else if (c->phase == CLIENT_OPENING)
        first_header(c, h);
    else if (c->phase == CLIENT_RESTARTING)
        later_header(c, h);
    return leg_next(&c->leg);
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct client_leg *c = ctx;
    if (c->phase == CLIENT_BOUND)
        session_from_client(c->session, e);
    else if (c->phase == CLIENT_RELAYED)
        relay_from_client(c->relay, e);
    else if (c->phase < CLIENT_BOUND)
        negotiation_from_client(c, e);
    rate_element(c, e);
    if (c->leg.transport && transport_buffered(c->leg.transport) > OUTPUT_LIMIT)
        leg_stop(&c->leg, STOP_OUTPUT);
    return leg_next(&c->leg);
}

static void on_stream_closed(void *ctx)
{
    struct client_leg *c = ctx;
    client_wait(c); /* nothing that follows is looked at */
    if (c->phase == CLIENT_BOUND)
        session_client_ended(c->session);
    else if (c->phase == CLIENT_RELAYED)
        relay_client_ended(c->relay);
    else
        client_leg_close(c, CLOSE_CLIENT_END, GOODBYE_END);
}

static void count_limit(struct client_leg *c, const char *text)
{
    static const struct {
        const char *word;
        enum metric limit;
    } limits[] = {{"deep", METRIC_limit_stanza_depth},
                  {"attributes", METRIC_limit_attributes},
                  {"tag", METRIC_limit_tag_bytes},
                  {"namespace", METRIC_limit_tag_bytes},
                  {"", METRIC_limit_stanza_bytes}};
    size_t i = 0;
    while (!strstr(text, limits[i].word))
        i++;
    count(c->leg.cx->counters, limits[i].limit);
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    struct client_leg *c = ctx;
    client_wait(c);
    if (error == STREAM_POLICY_VIOLATION)
        count_limit(c, text);
    c->sent_too_large = error == STREAM_POLICY_VIOLATION;
    client_leg_fail(c, error == STREAM_POLICY_VIOLATION ? CLOSE_LIMIT : CLOSE_BAD_STREAM, error, text, NULL);
}

static const struct stream_events stream_events = {on_opened, on_element, on_stream_closed, on_failed};

/* ---- the transport ---- */

static void on_ready(void *ctx)
{
    struct client_leg *c = ctx;
    struct context *cx = c->leg.cx;
    if (c->leg.transport->kind == TRANSPORT_KIND_TLS) /* that of a WebSocket was counted where its request came */
        count(cx->counters, METRIC_tls_handshakes_ok);
    recount_connection(c);
    if (c->phase == CLIENT_ACCEPTED)
        count(cx->counters, by_kind[c->counted_as].opened);
    client_set_phase(c, CLIENT_OPENING);
    c->header_sent = false;
    client_turn(c);
}

static bool within_login_bytes(struct client_leg *c)
{
    return c->phase >= CLIENT_AUTHENTICATED || c->leg.bytes_in <= c->leg.cx->settings->limits.login_bytes;
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct client_leg *c = ctx;
    leg_input(&c->leg, p, n);
    if (c->phase != CLIENT_CLOSED && !within_login_bytes(c)) {
        count(c->leg.cx->counters, METRIC_limit_login_bytes);
        client_leg_fail(c, CLOSE_LIMIT, STREAM_POLICY_VIOLATION, "too many bytes before login", NULL);
    } else {
        rate_bytes(c, n);
    }
    if (c->relay)
        relay_client_heard(c->relay);
}

static void on_drained(void *ctx)
{
    struct client_leg *c = ctx;
    leg_go(&c->leg, STOP_OUTPUT);
    if (c->login && c->login->up)
        leg_go(&c->login->up->leg, STOP_SLOW);
    if (c->phase == CLIENT_BOUND)
        session_client_drained(c->session);
    if (c->relay)
        relay_client_drained(c->relay);
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct client_leg *c = ctx;
    bool shaking_hands = c->phase == CLIENT_ACCEPTED || c->phase == CLIENT_HANDSHAKE;
    if (shaking_hands && (end == TRANSPORT_TLS || end == TRANSPORT_TIMEOUT))
        count(c->leg.cx->counters, METRIC_tls_handshakes_failed);
    LOG(LOG_DEBUG, "client connection ended", LF_INT("leg", c->number), LF("sid", c->sid), LF("detail", detail));
    client_leg_close(c, leg_reason(end), GOODBYE_CUT);
}

static const struct transport_events transport_events = {on_ready, on_bytes, on_drained, on_closed};

static void on_timer(void *ctx)
{
    struct client_leg *c = ctx;
    if (c->phase == CLIENT_QUEUED) {
        turn_has_come(c);
        return;
    }
    count(c->leg.cx->counters, METRIC_limit_login_timeout);
    if (c->login->up && client_is_to_retry(c)) {
        client_leg_close(c, CLOSE_LOGIN_TIMEOUT, GOODBYE_CUT);
        return;
    }
    client_leg_fail(c, CLOSE_LOGIN_TIMEOUT, STREAM_CONNECTION_TIMEOUT, "login took too long", NULL);
}

struct client_leg *client_leg_new(struct context *cx, struct transport *t)
{
    struct client_leg *c = SLAB_NEW(SLAB_CONNECTION, struct client_leg);
    c->number = cx->last_leg++ * (cx->workers ? cx->workers : 1) + (unsigned)cx->worker + 1; /* unique in the node */
    c->born = cx->clock->mono;
    c->login = MEM_NEW(struct login);
    c->timer = (struct timer){.fire = on_timer, .ctx = c};
    rate_begin(c);
    leg_init(&c->leg, SLAB_CONNECTION, cx, t, &cx->settings->limits.login, &stream_events, c);
    transport_set_events(t, &transport_events, c);
    transport_yield(t, true);
    leg_stop(&c->leg, STOP_TURN);
    list_init(&c->in_deferred);
    list_append(&cx->clients, &c->in_clients);
    count(cx->counters, METRIC_connections_logging_in);
    timers_arm(cx->timers, &c->timer, c->born + cx->settings->limits.login_timeout);
    LOG(LOG_DEBUG, "client accepted", LF_INT("leg", c->number), LF("peer", transport_peer(t)));
    return c;
}

void client_leg_relayed(struct context *cx, struct transport *t, const struct peer_hello *hello)
{
    struct client_leg *c = client_leg_new(cx, t);
    struct login *l = c->login;
    c->relay_node = mem_strdup(hello->node);
    c->header_sent = true; /* of a stream error that comes one day: only that */
    recount_connection(c);
    count(cx->counters, METRIC_connections_opened_relay);
    stream_set_limits(c->leg.stream, &cx->settings->limits.stream);
    relay_open_stream(c->leg.stream);
    memcpy(l->resume_sid, hello->sid, SID_SIZE);
    l->resume_h = hello->h;
    l->resume_account = mem_strdup(hello->account);
    l->resume_since = cx->clock->mono;
    LOG(LOG_INFO, "client of another node", LF_INT("leg", c->number), LF("sid", hello->sid), LF("node", hello->node),
        LF("peer", transport_peer(t)));
    resumption_look(c);
}

void client_leg_ending(struct client_leg *c, struct parting *p)
{
    c->session = NULL;
    c->parting = p;
    client_wait(c);
    client_set_phase(c, CLIENT_ENDING);
}

/* ---- STARTTLS, other workers ---- */

void client_defer(struct client_leg *c, int moving_to)
{
    c->moving_to = moving_to;
    if (!list_is_linked(&c->in_deferred))
        list_append(&c->leg.cx->deferred, &c->in_deferred);
}

struct client_leg *client_leg_of_deferred(struct list *link)
{
    return CONTAINER_OF(link, struct client_leg, in_deferred);
}

/* RFC 6120 5.4.2.3. What was read behind <starttls/> came in clear, from whoever sits on the line: an injection. What
 * the kernel still has will not parse as a handshake. */
static void begin_tls(struct client_leg *c)
{
    if (c->leg.held || stream_pending(c->leg.stream)) {
        if (context_may_tell(c->leg.cx))
            LOG(LOG_WARN, "bytes in clear behind <starttls/>", LF_INT("leg", c->number),
                LF("peer", transport_peer(c->leg.transport)));
        client_leg_close(c, CLOSE_BAD_STREAM, GOODBYE_CUT);
        return;
    }
    client_write_str(c, "<proceed xmlns='" NS_TLS "'/>");
    stream_restart(c->leg.stream);
    c->leg.cx->ops->starttls_client(c->leg.cx, c->leg.transport);
}

void client_leg_settle(struct client_leg *c)
{
    struct context *cx = c->leg.cx;
    if (c->moving_to < 0) {
        begin_tls(c);
        return;
    }
    client_leg_leave(c);
    cx->ops->move(cx, c, c->moving_to);
}

void client_leg_leave(struct client_leg *c)
{
    timers_cancel(c->leg.cx->timers, &c->timer);
    rate_leave(c);
    count_connection(c, -c->presented);
    count_add(c->leg.cx->counters, METRIC_connections_logging_in, -1);
    list_remove(&c->in_clients);
    if (c->login->up)
        upstream_leg_leave(c->login->up);
    leg_leave(&c->leg);
}

void client_leg_arrive(struct client_leg *c, struct context *cx)
{
    leg_arrive(&c->leg, cx);
    rate_arrive(c);
    if (c->login->up)
        upstream_leg_arrive(c->login->up, cx);
    list_append(&cx->clients, &c->in_clients);
    count_connection(c, c->presented);
    count(cx->counters, METRIC_connections_logging_in);
    c->login->moved = true;
    timers_arm(cx->timers, &c->timer, cx->clock->mono + cx->settings->limits.login_timeout);
    resumption_here(c);
}
