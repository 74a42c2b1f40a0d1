#include "echo.h"
#include "base/mem.h"
#include "session/echoes.h"
#include "session_impl.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* How long an echo is waited for: so many times what the last one took, and a little. A ping behind it would take as
 * long as the echo does. */
#define PATIENCE     3
#define PATIENCE_MIN (5 * USEC_MS)
#define PATIENCE_MAX (5 * USEC_S)

/* One that was confirmed otherwise makes room for the next: its recipient may be anywhere. */
#define FORGOTTEN_AFTER (100 * USEC_MS)

#define PLACES 8192

/* What another worker may see for us: by keys alone, which nobody can make who does not know the secret. A session that
 * waits sets `wanted` and then looks at `heard`, who hears does it the other way round: so one of them finds out. */
struct place {
    _Atomic uint64_t key; /* what a session of that worker expects */
    _Atomic int worker;
    _Atomic uint64_t heard;  /* the key that was heard last */
    _Atomic uint64_t wanted; /* the key whose session is to be told at once */
};

struct echoes {
    struct place places[PLACES];
    struct hash_key secret;
};

struct sent {
    uint64_t key, number;
    uint64_t to; /* a mark of its recipient, never 0 */
};

struct echo {
    uint64_t own;         /* hash of the session's JID */
    struct sent expected; /* number 0: nothing is */
    struct sent last;     /* the last message that went to the server */
    uint64_t heard;       /* highest number that was */
    uint64_t near;        /* the recipient whose echo came last, 0: it did not come in time */
    usec since, took;     /* when the one that is expected was written; how long the last one took at most */
    usec wait_until;      /* 0: nobody waits */
};

struct echoes *echoes_new(void)
{
    struct echoes *all = MEM_NEW(struct echoes);
    all->secret = hash_key_new();
    return all;
}

void echoes_free(struct echoes *all)
{
    free(all);
}

/* Tells recipients apart, fast and without a secret: two with the same mark cost a needless wait. Never 0. */
static uint64_t mark_of(struct slice jid)
{
    uint64_t mark = jid.n;
    for (size_t i = 0; i < jid.n; i += sizeof mark) {
        uint64_t word = 0;
        memcpy(&word, jid.p + i, jid.n - i < sizeof word ? jid.n - i : sizeof word);
        mark = (mark ^ word) * 0x9e3779b97f4a7c15u;
        mark ^= mark >> 32;
    }
    return mark | 1;
}

static struct echo_slot *slot_of(struct context *cx, uint64_t key)
{
    return &cx->expected[key % ECHO_SLOTS];
}

/* NULL where there are no other workers. */
static struct place *place_of(struct context *cx, uint64_t key)
{
    return cx->workers > 1 ? &cx->echoes->places[key % PLACES] : NULL;
}

static void unexpect(struct session *s)
{
    struct echo_slot *slot = slot_of(s->cx, s->echo->expected.key);
    if (slot->session == s)
        slot->session = NULL;
    s->echo->expected.number = 0;
}

/* A slot that another session has is taken from it: that one will send a ping. */
static void expect(struct session *s, const struct sent *sent)
{
    struct echo *echo = s->echo;
    struct place *place = place_of(s->cx, sent->key);
    unexpect(s);
    echo->expected = *sent;
    echo->since = s->cx->clock->mono;
    *slot_of(s->cx, sent->key) = (struct echo_slot){sent->key, s};
    if (place) {
        atomic_store(&place->worker, s->cx->worker);
        atomic_store(&place->key, sent->key);
    }
}

static bool is_expected(const struct session *s)
{
    const struct sent *sent = &s->echo->expected;
    return sent->number && slot_of(s->cx, sent->key)->session == s;
}

static void heard(struct session *s)
{
    struct echo *echo = s->echo;
    count(s->cx->counters, METRIC_echoes_heard);
    echo->heard = echo->expected.number;
    echo->near = echo->expected.to;
    echo->took = s->cx->clock->mono - echo->since;
    echo->wait_until = 0;
    unexpect(s);
    if (!s->client || s->client->sm.in.asked || s->client->sm.in.owed)
        session_dirty(s);
}

/* By another worker, which has not told: nobody waited. */
static bool heard_elsewhere(struct session *s)
{
    uint64_t key = s->echo->expected.key;
    struct place *place = place_of(s->cx, key);
    if (!place || !is_expected(s) || atomic_load(&place->heard) != key)
        return false;
    heard(s);
    return true;
}

/* The message that is expected will hardly come any more. */
static bool is_forgotten(const struct session *s)
{
    const struct echo *echo = s->echo;
    return echo->expected.number < s->unconfirmed.first->number && s->cx->clock->mono - echo->since >= FORGOTTEN_AFTER;
}

/* What is held back has a number and has not gone: nothing behind it proves anything. */
void echo_expect(struct session *s, const struct element *e, const struct entry *kept)
{
    if (e->kind != ELEMENT_MESSAGE || !e->to.n || !kept->id || s->held || slice_eq_str(e->type, "groupchat") ||
        slice_eq_str(e->type, "error"))
        return;
    if (!s->echo) {
        s->echo = MEM_NEW(struct echo);
        s->echo->own = hash_of(&s->cx->echoes->secret, slice_str(s->jid));
    }
    uint64_t key = kept->id ^ s->echo->own; /* clients that count their messages use the same ids */
    bool again = key == s->echo->last.key;
    s->echo->last = (struct sent){key, again ? 0 : kept->number, mark_of(e->to)};
    if (!again && (heard_elsewhere(s) || !is_expected(s) || is_forgotten(s)))
        expect(s, &s->echo->last);
}

static void hear_for_others(struct context *cx, uint64_t key)
{
    struct place *place = place_of(cx, key);
    if (!place || atomic_load_explicit(&place->key, memory_order_relaxed) != key)
        return;
    atomic_store(&place->heard, key);
    if (atomic_load(&place->wanted) == key && atomic_exchange(&place->wanted, 0) == key)
        cx->ops->post_echo(cx, key, atomic_load(&place->worker));
}

/* By a session of this worker. */
static bool hear_here(struct context *cx, uint64_t key)
{
    struct echo_slot *slot = slot_of(cx, key);
    if (!slot->session || slot->key != key)
        return false;
    heard(slot->session);
    return true;
}

void echo_hear(struct context *cx, const struct element *e, uint64_t id)
{
    if (!id || e->kind != ELEMENT_MESSAGE || !e->from.n || (e->facts & FACT_DELAY))
        return;
    uint64_t key = id ^ hash_of(&cx->echoes->secret, e->from);
    if (!hear_here(cx, key))
        hear_for_others(cx, key);
}

void echo_told(struct context *cx, uint64_t key)
{
    hear_here(cx, key);
}

uint64_t echo_heard(struct session *s)
{
    if (!s->echo)
        return 0;
    heard_elsewhere(s);
    return s->echo->heard;
}

static usec patience(const struct echo *echo)
{
    usec wait = PATIENCE * echo->took + PATIENCE_MIN;
    return wait < PATIENCE_MAX ? wait : PATIENCE_MAX;
}

bool echo_is_near(struct session *s, uint64_t upto)
{
    struct echo *echo = s->echo;
    if (!echo)
        return false;
    if (echo->wait_until) /* perhaps for one before that: the next will be waited for then */
        return true;
    if (echo->near != echo->last.to || echo->last.number < upto)
        return false;
    if (!is_expected(s) || echo->expected.number < upto)
        expect(s, &echo->last);
    struct place *place = place_of(s->cx, echo->expected.key);
    if (place)
        atomic_store(&place->wanted, echo->expected.key);
    if (!heard_elsewhere(s))
        echo->wait_until = s->cx->clock->mono + patience(echo);
    return true;
}

usec echo_slack(const struct session *s)
{
    const struct echo *echo = s->echo;
    return echo && echo->near == echo->expected.to && is_expected(s) ? patience(echo) : 0;
}

void echo_turn(struct session *s)
{
    struct echo *echo = s->echo;
    if (!echo || !echo->wait_until || s->cx->clock->mono < echo->wait_until)
        return;
    count(s->cx->counters, METRIC_echoes_missed);
    echo->near = 0;
    echo->wait_until = 0;
}

void echo_rest(struct session *s)
{
    if (s->echo)
        s->echo->wait_until = 0;
}

usec echo_due_at(const struct session *s)
{
    return s->echo && s->echo->wait_until ? s->echo->wait_until : -1;
}

void echo_forget(struct session *s)
{
    if (s->echo)
        unexpect(s);
    free(s->echo);
    s->echo = NULL;
}
