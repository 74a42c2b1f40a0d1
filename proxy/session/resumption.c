/* <resume/> on a fresh leg: find the session, prove that it is of the same account, bring the leg to its worker, ask
 * it. A wrong account, an unknown previd and an expired session look the same from outside, but for the last h, which
 * only its owner is told. */
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "cluster/peer.h"
#include "login.h"
#include "resent.h"
#include "session/session.h"
#include "xmpp/jid.h"
#include "xmpp/sm.h"
#include "xmpp/xml.h"
#include <stdlib.h>

/* Back to where a bind may come (XEP-0198 5). */
static void fail(struct client_leg *c, const char *condition, const uint64_t *h)
{
    struct login *l = c->login;
    write_failed(c, l->resume_ns, condition, h);
    count_observe(c->leg.cx->counters, METRIC_resume_time, c->leg.cx->clock->mono - l->resume_since);
    c->session = NULL;
    if (!l->up) {
        client_leg_close(c, CLOSE_UPSTREAM_LOST, GOODBYE_CUT);
        return;
    }
    timers_arm(c->leg.cx->timers, &c->timer, c->leg.cx->clock->mono + c->leg.cx->settings->limits.login_timeout);
    client_set_phase(c, CLIENT_AUTHENTICATED);
    client_turn(c);
}

/* The node that relays the client looks again, and says what is to be said. */
static void refuse_relayed(struct client_leg *c)
{
    struct buf out = {0};
    LOG(LOG_INFO, "client of another node refused", LF_INT("leg", c->number), LF("sid", c->login->resume_sid));
    count(c->leg.cx->counters, METRIC_peer_refused_session);
    peer_refusal_write(&out, "session");
    leg_write(&c->leg, buf_slice(&out));
    buf_free(&out);
    c->session = NULL;
    client_leg_close(c, CLOSE_SESSION_END, GOODBYE_CUT);
}

static void on_tombstone(void *ctx, const struct tombstone *t)
{
    struct store_ask *ask = ctx;
    struct client_leg *c = ask->leg;
    free(ask);
    if (!c)
        return;
    c->ask = NULL;
    count(c->leg.cx->counters, t ? METRIC_resumes_expired : METRIC_resumes_unknown);
    if (t && c->leg.cx->settings->sm.recognize_resent) {
        awaited_free(c->login->awaited);
        c->login->awaited = awaited_new(&c->login->resume_key, t->resent);
    }
    LOG(LOG_INFO, "resume failed", LF_INT("leg", c->number), LF("sid", c->login->resume_sid),
        LF("reason", t ? t->reason : "unknown"));
    fail(c, "item-not-found", t ? &t->h : NULL);
}

/* There is no such session; if there was one of this account, its last h is told. */
void resumption_not_found(struct client_leg *c)
{
    struct context *cx = c->leg.cx;
    if (c->relay_node) {
        refuse_relayed(c);
        return;
    }
    char *proof = negotiation_proof(c);
    if (!proof && !c->login->resume_account) { /* only the server knows whose login this is */
        resumption_prove(c, NULL);
        return;
    }
    struct store_ask *ask = MEM_NEW(struct store_ask);
    ask->leg = c;
    c->ask = ask;
    cx->store->ops->tombstone_get(cx->store, c->login->resume_sid, c->login->resume_account, proof, on_tombstone, ask);
    free(proof);
}

void resumption_refused(struct client_leg *c)
{
    if (c->relay_node) {
        refuse_relayed(c);
        return;
    }
    count(c->leg.cx->counters, METRIC_resumes_refused);
    LOG(LOG_INFO, "resume refused", LF_INT("leg", c->number), LF("sid", c->login->resume_sid));
    fail(c, "item-not-found", NULL);
}

void resumption_here(struct client_leg *c)
{
    struct session *s = registry_find(c->leg.cx->registry, c->login->resume_sid);
    if (!s) {
        resumption_not_found(c);
        return;
    }
    if (session_is_releasing(s)) {
        if (c->relay_node)
            refuse_relayed(c);
        else
            takeover_wait(c);
        return;
    }
    client_set_phase(c, CLIENT_RESUMING);
    timers_cancel(c->leg.cx->timers, &c->timer); /* the session has its own deadlines */
    c->session = s;
    if (!session_resume(s, c, c->login->resume_h)) {
        c->session = NULL;
        resumption_refused(c);
    }
}

static void go(struct client_leg *c, const struct owner_place *place)
{
    struct context *cx = c->leg.cx;
    if (c->relay_node && place->resource) { /* it can only be rebuilt, on an upstream leg of the client's login */
        refuse_relayed(c);
        return;
    }
    client_set_phase(c, CLIENT_RESUMING);
    if (place->worker == cx->worker) {
        resumption_here(c);
        return;
    }
    client_defer(c, place->worker);
}

/* Nothing but the server can tell whose login this is: a resource is bound for that. resource: the one that the session
 * needs, if it needs one. */
void resumption_prove(struct client_leg *c, const char *resource)
{
    char tag[17];
    random_hex(tag, 8);
    free(c->login->pending_id);
    c->login->pending_id = mem_printf("hfp-%s", tag);
    free(c->login->wished);
    c->login->wished = mem_strdup(resource);
    struct buf bind = {0};
    buf_printf(&bind, "<iq type='set' id='%s'><bind xmlns='" NS_BIND "'>", c->login->pending_id);
    if (resource) {
        BUF_LIT(&bind, "<resource>");
        xml_escape(&bind, slice_str(resource));
        BUF_LIT(&bind, "</resource>");
    }
    BUF_LIT(&bind, "</bind></iq>");
    client_set_phase(c, CLIENT_PROVING);
    leg_write(&c->login->up->leg, buf_slice(&bind));
    buf_free(&bind);
}

/* No worker of this node has it. */
static void elsewhere(struct client_leg *c)
{
    if (c->leg.cx->store->kept && !c->relay_node)
        takeover_begin(c);
    else
        resumption_not_found(c);
}

/* With the account proved: is there such a session, and is it this account's? */
static void decide(struct client_leg *c)
{
    struct login *l = c->login;
    struct owner_place place = {0};
    bool found = owner_find(c->leg.cx->owner, l->resume_sid, &place);
    if (found && strcmp(place.account, l->resume_account) == 0)
        go(c, &place);
    else if (found)
        resumption_refused(c);
    else
        elsewhere(c);
    owner_place_clear(&place);
}

void resumption_look(struct client_leg *c)
{
    struct login *l = c->login;
    struct context *cx = c->leg.cx;
    struct owner_place place = {0};
    if (l->resume_account) {
        decide(c);
        return;
    }
    bool found = owner_find(cx->owner, l->resume_sid, &place);
    char *proof = negotiation_proof(c);
    if (found && proof && place.proof && strcmp(proof, place.proof) == 0) {
        l->resume_account = mem_strdup(place.account);
        go(c, &place);
    } else if (found) {
        resumption_prove(c, place.resource); /* names may be spelled in more than one way: the server knows */
    } else {
        elsewhere(c);
    }
    free(proof);
    owner_place_clear(&place);
}

/* Each asks the directory and the store; who tries that many on one stream guesses, or is broken. */
#define RESUMES_TRIED 10

void resumption_begin(struct client_leg *c, const struct element *e)
{
    struct login *l = c->login;
    struct context *cx = c->leg.cx;
    struct slice previd = node_attr(e->tree, "previd");
    if (l->resumes_tried++ >= RESUMES_TRIED) {
        client_leg_fail(c, CLOSE_LIMIT, STREAM_POLICY_VIOLATION, "too many resumptions were tried", NULL);
        return;
    }
    free(l->resume_ns);
    l->resume_ns = mem_dup(e->ns);
    l->resume_since = cx->clock->mono;
    client_wait(c);
    if (!previd.p || !sm_parse_h(node_attr(e->tree, "h"), &l->resume_h)) {
        count(cx->counters, METRIC_resumes_refused);
        fail(c, "bad-request", NULL);
        return;
    }
    cx->ops->sid_of(cx, previd, l->resume_sid);
    l->resume_key = resent_key(previd);
    resumption_look(c);
}

void resumption_proved(struct client_leg *c, struct slice jid)
{
    struct login *l = c->login;
    if (!jid.n) {
        resumption_refused(c);
        return;
    }
    l->bound_jid = mem_dup(jid);
    l->resume_account = mem_dup(jid_bare(jid));
    decide(c);
}

/* ---- answers of the session ---- */

static void count_resumed(struct client_leg *c, enum metric how)
{
    struct context *cx = c->leg.cx;
    count(cx->counters, how);
    count_observe(cx->counters, METRIC_resume_time, cx->clock->mono - c->login->resume_since);
}

/* The negotiation is over. */
static void go_on(struct client_leg *c, enum client_phase phase)
{
    timers_cancel(c->leg.cx->timers, &c->timer);
    login_free(&c->login, CLOSE_RESUMED);
    client_set_phase(c, phase);
    client_turn(c);
}

void client_leg_resumed(struct client_leg *c, struct session *s, bool rebuilt)
{
    if (!c->relay_node) /* else the node of the client counts it */
        count_resumed(c, rebuilt           ? METRIC_resumes_rebuilt
                         : c->login->moved ? METRIC_resumes_moved
                                           : METRIC_resumes_local);
    c->session = s;
    memcpy(c->sid, session_sid(s), SID_SIZE);
    go_on(c, CLIENT_BOUND);
}

void client_leg_passed_on(struct client_leg *c)
{
    count_resumed(c, METRIC_resumes_relayed);
    memcpy(c->sid, c->login->resume_sid, SID_SIZE);
    go_on(c, CLIENT_RELAYED);
}

/* It is over, or another node has it. */
void client_leg_resume_failed(struct client_leg *c)
{
    c->session = NULL;
    resumption_look(c);
}
