/* From features to bind, with the server doing the work: what may come when, what is relayed, what the proxy answers
 * itself.
 *
 * The client is heard in turns: after each element that the server must answer before it is clear what the next one
 * means, the client's further bytes are held. So a client may send everything in one packet (XEP-0305), also to a
 * server that cannot take that. */
#include "base/log.h"
#include "base/mem.h"
#include "login.h"
#include "session/session.h"
#include "xmpp/features.h"
#include "xmpp/jid.h"
#include "xmpp/stream_error.h"
#include "xmpp/xml.h"
#include <inttypes.h>
#include <stdlib.h>

#define TOO_MANY "Too many logins have failed; try again later."

static void to_upstream(struct client_leg *c, const struct element *e)
{
    struct leg *up = &c->login->up->leg;
    leg_write(up, leg_outside(&c->leg, e, &c->leg.cx->scratch));
    if (transport_buffered(up->transport) > TRANSPORT_HIGH_WATER)
        leg_stop(&c->leg, STOP_SLOW);
}

static void to_client(struct client_leg *c, const struct element *e)
{
    struct leg *up = &c->login->up->leg;
    leg_write(&c->leg, leg_outside(up, e, &c->leg.cx->scratch));
    if (transport_buffered(c->leg.transport) > TRANSPORT_HIGH_WATER)
        leg_stop(up, STOP_SLOW);
}

static void expect_answer(struct client_leg *c, struct slice id)
{
    free(c->login->pending_id);
    c->login->pending_id = mem_dup(id);
    client_wait(c);
}

void write_failed(struct client_leg *c, const char *ns, const char *condition, const uint64_t *h)
{
    struct buf out = {0};
    buf_printf(&out, "<failed xmlns='%s'", ns);
    if (h)
        buf_printf(&out, " h='%" PRIu32 "'", sm_wire(*h));
    buf_printf(&out, "><%s xmlns='" NS_STANZA_ERRORS "'/></failed>", condition);
    leg_write(&c->leg, buf_slice(&out));
    buf_free(&out);
}

/* ---- what the client may say, and when ---- */

static void pass(struct client_leg *c, const struct element *e)
{
    to_upstream(c, e);
}

static void refuse_starttls(struct client_leg *c, const struct element *e)
{
    (void)e;
    client_write_str(c, "<failure xmlns='" NS_TLS "'/>");
    client_leg_close(c, CLOSE_BAD_STREAM, GOODBYE_END);
}

/* RFC 6120 5.4.2. <proceed/> follows when the stream is off the stack, and it is known that nothing came behind this.
 */
static void starttls(struct client_leg *c, const struct element *e)
{
    if (!transport_may_starttls(c->leg.transport) || !c->leg.cx->settings->tls_available) {
        refuse_starttls(c, e);
        return;
    }
    sasl_reset(&c->login->identity); /* nothing said in clear counts inside (RFC 6120 5.3.2) */
    if (c->login->up)
        upstream_leg_close(&c->login->up, CLOSE_STARTTLS, true); /* a fresh one is opened inside TLS */
    client_set_phase(c, CLIENT_HANDSHAKE);
    client_wait(c);
    client_defer(c, -1);
}

/* The first words of the client tell who logs in, if anything does. With some mechanisms the server speaks first. */
static void sasl_words(struct client_leg *c, const struct element *e)
{
    struct login *l = c->login;
    bool first = !l->tried && e->tree->text.n;
    sasl_feed(&l->identity, e->tree->text);
    client_wait(c);
    if (!first) {
        to_upstream(c, e);
    } else if (!login_try(c, e, l->identity.authcid)) {
        client_write_str(c, "<failure xmlns='" NS_SASL "'><temporary-auth-failure/><text xml:lang='en'>" TOO_MANY
                            "</text></failure>");
        client_leg_close(c, CLOSE_LIMIT, GOODBYE_END);
    }
}

static void sasl_auth(struct client_leg *c, const struct element *e)
{
    sasl_begin(&c->login->identity, node_attr(e->tree, "mechanism"));
    sasl_words(c, e);
}

static void sasl_abort(struct client_leg *c, const struct element *e)
{
    sasl_reset(&c->login->identity);
    to_upstream(c, e);
    client_wait(c);
}

static void sasl_needs_tls(struct client_leg *c, const struct element *e)
{
    (void)e;
    client_write_str(c, "<failure xmlns='" NS_SASL "'><encryption-required/></failure>");
    client_leg_close(c, CLOSE_BAD_STREAM, GOODBYE_END); /* its password went over the line: no second one shall */
}

static void refuse_compression(struct client_leg *c, const struct element *e)
{
    (void)e;
    client_write_str(c, "<failure xmlns='" NS_COMPRESS "'><setup-failed/></failure>");
}

static void refuse_sm(struct client_leg *c, const struct element *e)
{
    char *ns = mem_dup(e->ns);
    write_failed(c, ns, "unexpected-request", NULL);
    free(ns);
}

static void resume(struct client_leg *c, const struct element *e)
{
    resumption_begin(c, e);
}

static struct slice new_id(struct slice id)
{
    return id.p ? id : SLICE_LIT("");
}

/* After a resumption that failed the server has bound a resource already: the client gets that one. */
static void answer_bind(struct client_leg *c, const struct element *e)
{
    struct buf out = {0};
    char *jid = c->login->bound_jid;
    c->login->bound_jid = NULL;
    BUF_LIT(&out, "<iq type='result'");
    xml_attr(&out, "id", new_id(e->id));
    BUF_LIT(&out, "><bind xmlns='" NS_BIND "'><jid>");
    xml_escape(&out, slice_str(jid));
    BUF_LIT(&out, "</jid></bind></iq>");
    leg_write(&c->leg, buf_slice(&out));
    buf_free(&out);
    negotiation_bound(c, slice_str(jid));
    free(jid);
}

static void iq_authenticated(struct client_leg *c, const struct element *e)
{
    if (!(e->facts & FACT_BIND) || !slice_eq_str(e->type, "set")) {
        to_upstream(c, e);
        return;
    }
    if (c->login->bound_jid) {
        answer_bind(c, e);
        return;
    }
    to_upstream(c, e);
    expect_answer(c, e->id);
    client_set_phase(c, CLIENT_BINDING);
}

static char *query_text(const struct element *e, const char *name)
{
    const struct node *query = node_child(e->tree, NS_IQ_AUTH, "query");
    const struct node *field = node_child(query, NS_IQ_AUTH, name);
    return field ? mem_dup(field->text) : NULL;
}

static void refuse_legacy_login(struct client_leg *c, const struct element *e)
{
    struct buf out = {0};
    BUF_LIT(&out, "<iq type='error'");
    xml_attr(&out, "id", new_id(e->id));
    BUF_LIT(&out, "><error code='500' type='wait'><resource-constraint xmlns='" NS_STANZA_ERRORS
                  "'/><text xmlns='" NS_STANZA_ERRORS "' xml:lang='en'>" TOO_MANY "</text></error></iq>");
    leg_write(&c->leg, buf_slice(&out));
    buf_free(&out);
    client_leg_close(c, CLOSE_LIMIT, GOODBYE_END);
}

/* XEP-0078: the set is login and bind in one. */
static void iq_before_login(struct client_leg *c, const struct element *e)
{
    if (!(e->facts & FACT_IQ_AUTH) || !slice_eq_str(e->type, "set")) {
        to_upstream(c, e);
        return;
    }
    free(c->login->pending_username);
    free(c->login->pending_resource);
    c->login->pending_username = query_text(e, "username");
    c->login->pending_resource = query_text(e, "resource");
    if (!login_try(c, e, c->login->pending_username)) {
        refuse_legacy_login(c, e);
        return;
    }
    c->login->xep0078 = true;
    expect_answer(c, e->id);
    client_set_phase(c, CLIENT_BINDING);
}

static void before_tls(struct client_leg *c, const struct element *e)
{
    (void)e;
    client_leg_fail(c, CLOSE_BAD_STREAM, STREAM_NOT_AUTHORIZED, "TLS is required first", NULL);
}

#define PHASE(p)   (1u << CLIENT_##p)
#define ANY_PHASE  (~0u)
#define OPEN_PHASE (PHASE(NEGOTIATING) | PHASE(AUTHENTICATED))

/* The first row that fits decides. NULL fits any namespace or name. */
static const struct rule {
    unsigned phases;
    const char *ns, *name;
    void (*handle)(struct client_leg *c, const struct element *e);
} rules[] = {
    {PHASE(STARTTLS) | PHASE(NEGOTIATING), NS_TLS, "starttls", starttls},
    {PHASE(AUTHENTICATED), NS_TLS, "starttls", refuse_starttls},
    {PHASE(STARTTLS), NS_SASL, "auth", sasl_needs_tls},
    {PHASE(STARTTLS), NULL, NULL, before_tls},
    {PHASE(NEGOTIATING), NS_SASL, "auth", sasl_auth},
    {PHASE(NEGOTIATING), NS_SASL, "response", sasl_words},
    {PHASE(NEGOTIATING), NS_SASL, "abort", sasl_abort},
    {OPEN_PHASE, NS_COMPRESS, "compress", refuse_compression},
    {PHASE(AUTHENTICATED), NS_SM3, "resume", resume},
    {PHASE(AUTHENTICATED), NS_SM2, "resume", resume},
    {OPEN_PHASE, NS_SM3, NULL, refuse_sm},
    {OPEN_PHASE, NS_SM2, NULL, refuse_sm},
    {PHASE(NEGOTIATING), NS_CLIENT, "iq", iq_before_login},
    {PHASE(AUTHENTICATED), NS_CLIENT, "iq", iq_authenticated},
    {OPEN_PHASE, NULL, NULL, pass},
};

void negotiation_from_client(struct client_leg *c, const struct element *e)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        if ((r->phases & (1u << c->phase)) && (!r->ns || slice_eq_str(e->ns, r->ns)) &&
            (!r->name || slice_eq_str(e->name, r->name))) {
            r->handle(c, e);
            return;
        }
    }
}

/* ---- what the server says ---- */

void negotiation_header_from_upstream(struct client_leg *c, const struct stream_header *h)
{
    leg_write_header(&c->leg, h);
    c->header_sent = true;
    if (h->has_version)
        return; /* features follow */
    client_set_phase(c, CLIENT_NEGOTIATING);
    client_turn(c);
}

static void report_fault(struct client_leg *c, const char *what)
{
    const struct upstream_leg *up = c->login->up;
    if (!atomic_exchange(&up->facts->reported, true))
        LOG(LOG_ERROR, what, LF("upstream", upstream_leg_server(up)));
}

static void features(struct client_leg *c, const struct element *e)
{
    const struct settings *set = c->leg.cx->settings;
    struct features_offer offer;
    if (e->tree_cut) { /* what is beyond could not be cut out */
        client_leg_fail(c, CLOSE_BAD_STREAM, STREAM_REMOTE_CONNECTION_FAILED, "the server's features have no end",
                        NULL);
        return;
    }
    c->login->offers_session = node_child(e->tree, NS_SESSION, "session") != NULL;
    struct buf out = {0};
    struct features_change change = {
        .add_starttls = set->tls_available && transport_may_starttls(c->leg.transport) && !c->login->authenticated,
        .add_sm = c->login->authenticated,
        .extra_ns = stream_extra_ns(c->login->up->leg.stream),
    };
    features_rewrite(&out, e, &change, &offer);
    leg_write(&c->leg, buf_slice(&out));
    buf_free(&out);
    if (offer.plus_offered)
        report_fault(c,
                     "the server offers channel binding (-PLUS mechanisms): it will refuse clients that support it, as "
                     "TLS ends in this proxy; turn TLS or channel binding off on its port for the proxy");
    client_set_phase(c, c->login->authenticated ? CLIENT_AUTHENTICATED : CLIENT_NEGOTIATING);
    client_turn(c);
}

static void challenge(struct client_leg *c, const struct element *e)
{
    sasl_feed_challenge(&c->login->identity, e->tree->text);
    if (c->login->identity.downgrade_hash)
        report_fault(
            c, "the server sends a SCRAM downgrade hash (XEP-0474): clients that check it will refuse what passes "
               "through this proxy; turn it off there");
    to_client(c, e);
    client_turn(c);
}

static void failure(struct client_leg *c, const struct element *e)
{
    sasl_reset(&c->login->identity);
    login_failed(c, e->tree);
    to_client(c, e);
    client_turn(c);
}

/* RFC 6120 6.3.2: both sides begin a new stream. */
static void success(struct client_leg *c, const struct element *e)
{
    c->login->authenticated = true;
    login_succeeded(c);
    to_client(c, e);
    client_set_phase(c, CLIENT_RESTARTING);
    stream_restart(c->leg.stream);
    c->header_sent = false;
    timers_arm(c->leg.cx->timers, &c->timer, c->leg.cx->clock->mono + c->leg.cx->settings->limits.login_timeout);
    client_turn(c);
}

static void server_error(struct client_leg *c, const struct element *e)
{
    struct buf *scratch = &c->leg.cx->scratch;
    LOG(LOG_INFO, "stream error from the server", LF_INT("leg", c->number),
        LF_SLICE("condition", stream_error_condition(e)));
    if (stream_error_is_failure(e) && client_is_to_retry(c)) {
        client_leg_close(c, CLOSE_UPSTREAM_LOST, GOODBYE_CUT);
        return;
    }
    buf_clear(scratch);
    stream_error_relay(scratch, e);
    leg_write(&c->leg, buf_slice(scratch));
    client_leg_close(c, CLOSE_SERVER_END, GOODBYE_END);
}

static bool is_pending(const struct client_leg *c, const struct element *e)
{
    return c->login->pending_id && slice_eq_str(new_id(e->id), c->login->pending_id) &&
           (slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error"));
}

static struct slice jid_of_bind(const struct element *e)
{
    const struct node *jid = node_child(node_child(e->tree, NS_BIND, "bind"), NS_BIND, "jid");
    return slice_eq_str(e->type, "result") && jid ? jid->text : SLICE_NONE;
}

static void legacy_login_answered(struct client_leg *c, const struct element *e)
{
    struct login *l = c->login;
    bool ok = slice_eq_str(e->type, "result");
    if (ok)
        login_succeeded(c);
    else
        login_failed(c, node_child(e->tree, NS_CLIENT, "error"));
    l->xep0078 = false;
    to_client(c, e);
    if (!ok) {
        client_set_phase(c, CLIENT_NEGOTIATING);
        client_turn(c);
        return;
    }
    char *jid = l->pending_username && l->pending_resource
                    ? mem_printf("%s@%s/%s", l->pending_username, l->domain, l->pending_resource)
                    : mem_strdup("");
    sasl_reset(&l->identity);
    negotiation_bound(c, slice_str(jid));
    free(jid);
}

static void bind_answered(struct client_leg *c, const struct element *e)
{
    struct slice jid = jid_of_bind(e);
    to_client(c, e);
    if (jid.n) {
        negotiation_bound(c, jid);
    } else {
        client_set_phase(c, CLIENT_AUTHENTICATED);
        client_turn(c);
    }
}

static void iq(struct client_leg *c, const struct element *e)
{
    if (!is_pending(c, e))
        to_client(c, e);
    else if (c->phase == CLIENT_PROVING)
        resumption_proved(c, jid_of_bind(e));
    else if (c->phase == CLIENT_BINDING && c->login->xep0078)
        legacy_login_answered(c, e);
    else if (c->phase == CLIENT_BINDING)
        bind_answered(c, e);
    else
        to_client(c, e);
}

void negotiation_from_upstream(struct client_leg *c, const struct element *e)
{
    if (element_is(e, NS_STREAMS, "features"))
        features(c, e);
    else if (element_is(e, NS_STREAMS, "error"))
        server_error(c, e);
    else if (element_is(e, NS_SASL, "challenge"))
        challenge(c, e);
    else if (element_is(e, NS_SASL, "success"))
        success(c, e);
    else if (element_is(e, NS_SASL, "failure"))
        failure(c, e);
    else if (e->kind == ELEMENT_IQ)
        iq(c, e);
    else
        to_client(c, e);
}

/* ---- the session ---- */

char *negotiation_proof(const struct client_leg *c)
{
    const struct login *l = c->login;
    const struct sasl_identity *id = &l->identity;
    if (!l->authenticated || !id->known || id->anonymous || id->authzid || !id->authcid)
        return NULL;
    return mem_printf("%s\n%s\n%s\n%s", l->domain, c->leg.cx->settings->upstream, id->realm ? id->realm : "",
                      id->authcid);
}

void negotiation_bound(struct client_leg *c, struct slice jid)
{
    struct login *l = c->login;
    struct upstream_leg *up = l->up;
    char *proof = negotiation_proof(c);
    struct session_origin origin = {
        .jid = jid,
        .domain = slice_str(l->domain),
        .proof = proof,
        .offered = l->authenticated,
        .resumable = l->authenticated && !l->identity.anonymous,
        .awaited = l->awaited,
    };
    l->awaited = NULL;
    l->up = NULL;
    timers_cancel(c->leg.cx->timers, &c->timer);
    client_set_phase(c, CLIENT_BOUND);
    c->session = session_new(c->leg.cx, c, up, &origin);
    memcpy(c->sid, session_sid(c->session), SID_SIZE);
    free(proof);
    login_free(&c->login, CLOSE_INTERNAL);
    client_turn(c);
}
