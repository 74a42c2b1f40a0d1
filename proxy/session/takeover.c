/* A client resumes a session that another node had: it is looked for in the store. Where its owner lives and has a peer
 * port, the client is passed on to there (relay.c). Else the owner is asked to let it go, and then it is claimed. What
 * comes of a claim is a stranded session of this worker, and an ordinary resumption of it. */
#include "base/log.h"
#include "base/mem.h"
#include "login.h"
#include "relay.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include <stdlib.h>

/* An owner that is asked to let go has this long, then the session is taken from it. */
#define RELEASE_TIME (2 * USEC_S)
#define LOOK_AGAIN   (50 * USEC_MS) /* if nobody has told meanwhile that it is released */
/* A client waits so long for owners to come back to a store that has begun anew; then it is to come again. */
#define SETTLE_TIME (10 * USEC_S)
/* Claims that others were faster with, before the client is to come again. */
#define CLAIMS_TRIED 5

struct takeover {
    struct list link;     /* in the context */
    struct store_ask ask; /* leg: NULL when it is gone; what was begun is then finished without it */
    struct context *cx;
    struct session *blank; /* while it is being claimed */
    struct timer timer;    /* until the owner is looked at again */
    usec settle_by;        /* waits for owners to come back: the latest time; 0 = not */
    usec claim_at;         /* then it is claimed, released or not; 0 = not decided */
    bool relayed, asked;   /* the owner was asked to take the client; to let the session go */
    unsigned lost;
    struct kept_version seen;
    uint64_t acked;
    char sid[SID_SIZE];
};

static void look(struct takeover *t);

static void finish(struct takeover *t)
{
    timers_cancel(t->cx->timers, &t->timer);
    list_remove(&t->link);
    if (t->ask.leg)
        t->ask.leg->ask = NULL;
    free(t);
}

/* Nobody can say what became of the session: the client is to ask again, and must not be told that it is gone. */
static void come_again(struct takeover *t, const char *why)
{
    struct client_leg *c = t->ask.leg;
    LOG(LOG_WARN, "resume put off", LF("sid", t->sid), LF("reason", why));
    finish(t);
    if (c)
        client_leg_close(c, CLOSE_STORE_AWAY, GOODBYE_CUT);
}

/* It stays in the store until its time is up; then its messages are for the account. The client does not wait for that:
 * to come again would not help it. */
static void unreadable(struct takeover *t)
{
    struct client_leg *c = t->ask.leg;
    LOG(LOG_ERROR, "what is kept of the session cannot be read", LF("sid", t->sid));
    finish(t);
    if (c)
        resumption_not_found(c);
}

/* Its owner is gone, and what the store holds of it may be older than what the client was told: it cannot go on. Its
 * messages are for the account, when its time is up. */
static void stale(struct takeover *t)
{
    struct client_leg *c = t->ask.leg;
    LOG(LOG_WARN, "the store has begun anew since the owner of the session died", LF("sid", t->sid));
    count(t->cx->counters, METRIC_store_claims_stale);
    finish(t);
    resumption_not_found(c);
}

/* The client's h as a number of the session, or that it cannot be one. */
static bool counts_as(const struct kept_place *p, uint32_t h, uint64_t *acked_r)
{
    struct sm_out out = {.acked = p->acked, .written = p->high_water};
    return sm_out_check(&out, h, acked_r) != SM_ACK_TOO_HIGH;
}

/* ---- the claim ---- */

/* Without its client, which has left meanwhile, it is a session of this node all the same: it waits here. Only a client
 * that resumes it brings an upstream leg; whoever had it goes on with the old one until it finds itself fenced. */
static void claimed(struct takeover *t, struct kept_claim *claim)
{
    struct session *s = t->blank;
    struct client_leg *c = t->ask.leg;
    if (claim->last[KEPT_DOWN] < t->acked) /* what the client has had was not committed, and its number is taken */
        claim->last[KEPT_DOWN] = t->acked;
    if (!keeping_adopt(s, claim)) {
        t->cx->store->kept->free(claim->kept);
        s->kept = NULL;
        session_drop_blank(s);
        unreadable(t);
        return;
    }
    LOG(LOG_INFO, "session taken over", LF("sid", t->sid), LF_INT("unacked", s->out.queue.count),
        LF_INT("unconfirmed", s->unconfirmed.count));
    finish(t);
    if (c)
        resumption_here(c);
}

static void on_claim(void *ctx, struct kept_claim *claim)
{
    struct takeover *t = ctx;
    struct context *cx = t->cx;
    char sid[SID_SIZE];
    memcpy(sid, t->sid, SID_SIZE);
    if (claim && claim->kept) {
        claimed(t, claim);
        owner_end_claim(cx->owner, sid);
        return;
    }
    owner_end_claim(cx->owner, sid);
    session_drop_blank(t->blank);
    t->blank = NULL;
    if (!claim)
        come_again(t, "the store is away");
    else if (claim->unreadable)
        unreadable(t);
    else if (!t->ask.leg)
        finish(t);
    else if (++t->lost >= CLAIMS_TRIED)
        come_again(t, "other nodes claim it too");
    else
        look(t);
}

static void claim(struct takeover *t)
{
    if (!owner_begin_claim(t->cx->owner, t->sid)) { /* for a client that has left, say: that one's answer comes first */
        timers_arm(t->cx->timers, &t->timer, t->cx->clock->mono + LOOK_AGAIN);
        return;
    }
    t->blank = session_blank(t->cx);
    memcpy(t->blank->sid, t->sid, SID_SIZE);
    struct kept_origin origin = keeping_origin(t->blank, NULL);
    t->cx->store->kept->claim(t->cx->store, &origin, t->seen, t->acked, on_claim, t);
}

/* ---- whose is it ---- */

static void on_taken(void *ctx)
{
    finish(ctx);
}

/* An owner that does not answer at all is not waited for a second time. */
static void on_relay_failed(void *ctx, enum relay_failure why)
{
    struct takeover *t = ctx;
    if (why == RELAY_CLIENT_GONE) {
        finish(t);
        return;
    }
    if (why == RELAY_SILENT || why == RELAY_UNREACHABLE)
        t->claim_at = t->cx->clock->mono;
    look(t);
}

static bool may_relay(const struct takeover *t, const struct kept_place *p)
{
    return p->alive && p->peer && !p->mine && !p->released && !t->relayed && t->cx->has_peer_port;
}

static bool relay(struct takeover *t, const struct kept_place *p)
{
    static const struct relay_events events = {on_taken, on_relay_failed};
    if (!may_relay(t, p))
        return false;
    t->relayed = true;
    return relay_begin(t->ask.leg, p->peer, &events, t);
}

/* True: it is of the account that has logged in. */
static bool is_proved(struct takeover *t, const struct kept_place *p)
{
    struct client_leg *c = t->ask.leg;
    struct login *l = c->login;
    struct slice account = jid_bare(slice_str(p->account));
    if (l->resume_account)
        return slice_eq_str(account, l->resume_account);
    char *proof = negotiation_proof(c);
    bool same = proof && p->proof && strcmp(proof, p->proof) == 0;
    free(proof);
    if (same)
        l->resume_account = mem_dup(account);
    return same;
}

static void wait_for_owners(struct takeover *t)
{
    usec now = t->cx->clock->mono;
    if (!t->settle_by)
        t->settle_by = now + SETTLE_TIME;
    if (now >= t->settle_by)
        come_again(t, "the store has only just begun anew");
    else
        timers_arm(t->cx->timers, &t->timer, now + LOOK_AGAIN);
}

/* A node that lives is given time to let go (and to say that all is there); one that does not is not waited for. */
static void take(struct takeover *t, const struct kept_place *p)
{
    usec now = t->cx->clock->mono;
    if (relay(t, p))
        return;
    bool gone = p->released || !p->alive || p->mine;
    if (!gone && !t->asked) { /* also one that is not waited for: it may wake up, and is to find out */
        t->asked = true;
        t->cx->store->kept->ask_release(t->cx->store, t->sid, p->node);
    }
    if (!gone && !t->claim_at)
        t->claim_at = now + RELEASE_TIME;
    if (!gone && now < t->claim_at)
        timers_arm(t->cx->timers, &t->timer, now + LOOK_AGAIN);
    else if (!p->stale)
        claim(t);
    else if (gone)
        stale(t);
    else
        come_again(t, "its owner does not answer");
}

static void found(struct takeover *t, const struct kept_place *p)
{
    struct client_leg *c = t->ask.leg;
    bool asked = c->login->resume_account != NULL;
    if (p->unsettled) {
        wait_for_owners(t);
    } else if (is_proved(t, p) && counts_as(p, c->login->resume_h, &t->acked)) {
        t->seen = p->version;
        take(t, p);
    } else if (asked || c->login->resume_account) {
        finish(t);
        resumption_refused(c);
    } else { /* names may be spelled in more than one way: the server knows */
        struct slice jid = slice_str(p->account);
        /* one that is relayed keeps its upstream leg, which its resource must not be taken from */
        char *resource = may_relay(t, p) ? NULL : mem_dup(slice_skip(jid, jid_bare(jid).n + 1));
        finish(t);
        resumption_prove(c, resource);
        free(resource);
    }
}

static void on_place(void *ctx, const struct kept_place *p)
{
    struct takeover *t = ctx;
    struct client_leg *c = t->ask.leg;
    if (!c) {
        finish(t);
    } else if (!p) {
        come_again(t, "the store is away");
    } else if (!p->found) {
        finish(t);
        resumption_not_found(c);
    } else {
        found(t, p);
    }
}

static void look(struct takeover *t)
{
    struct owner_place place = {0};
    if (t->ask.leg && owner_find(t->cx->owner, t->sid, &place)) { /* another worker of this node was faster */
        struct client_leg *c = t->ask.leg;
        owner_place_clear(&place);
        finish(t);
        resumption_look(c);
        return;
    }
    t->cx->store->kept->look(t->cx->store, t->sid, on_place, t);
}

static void on_timer(void *ctx)
{
    look(ctx);
}

static struct takeover *begin(struct client_leg *c)
{
    struct takeover *t = MEM_NEW(struct takeover);
    t->ask.leg = c;
    t->cx = c->leg.cx;
    t->timer = (struct timer){.fire = on_timer, .ctx = t};
    memcpy(t->sid, c->login->resume_sid, SID_SIZE);
    c->ask = &t->ask;
    list_append(&t->cx->takeovers, &t->link);
    return t;
}

void takeovers_released(struct context *cx, const char *sid)
{
    LIST_FOREACH_SAFE(it, next, &cx->takeovers)
    {
        struct takeover *t = CONTAINER_OF(it, struct takeover, link);
        if (timer_armed(&t->timer) && strcmp(t->sid, sid) == 0)
            timers_arm(cx->timers, &t->timer, cx->clock->mono);
    }
}

void takeover_begin(struct client_leg *c)
{
    look(begin(c));
}

void takeover_wait(struct client_leg *c)
{
    struct takeover *t = begin(c);
    timers_arm(t->cx->timers, &t->timer, t->cx->clock->mono + LOOK_AGAIN);
}
