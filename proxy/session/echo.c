#include "echo.h"
#include "base/mem.h"
#include "session_impl.h"
#include <stdlib.h>

/* How long an echo is waited for: so many times what the last one took, and a little. A ping behind it would take as long
 * as the echo does. */
#define PATIENCE     3
#define PATIENCE_MIN (5 * USEC_MS)
#define PATIENCE_MAX USEC_S

struct sent {
    uint64_t key, number;
    uint64_t to; /* a mark of its recipient, never 0 */
};

struct echo {
    struct sent expected; /* number 0: nothing is */
    struct sent last;     /* the last message that went to the server */
    uint64_t heard;       /* highest number that was, 0: it was taken */
    uint64_t near;        /* the recipient whose echo came last, 0: it did not come in time */
    usec since, took;     /* when the one that is expected was written; how long the last one took */
    usec wait_until;      /* 0: nobody waits */
};

/* Tells addresses apart, fast and without a secret: who makes two collide gets pings for it. Never 0. */
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

/* Clients that count their messages use the same ids. */
static uint64_t key_of(uint64_t id, struct slice from)
{
    return id ^ mark_of(from);
}

static struct echo_slot *slot_of(struct context *cx, uint64_t key)
{
    return &cx->echoes[key % ECHO_SLOTS];
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
    unexpect(s);
    echo->expected = *sent;
    echo->since = s->cx->clock->mono;
    *slot_of(s->cx, sent->key) = (struct echo_slot){sent->key, s};
}

static bool is_expected(struct session *s)
{
    const struct sent *sent = &s->echo->expected;
    return sent->number && slot_of(s->cx, sent->key)->session == s;
}

/* What is held back has a number and has not gone: nothing behind it proves anything. */
void echo_expect(struct session *s, const struct element *e, const struct entry *kept)
{
    if (e->kind != ELEMENT_MESSAGE || !e->to.n || !kept->id || s->held || slice_eq_str(e->type, "groupchat") ||
        slice_eq_str(e->type, "error"))
        return;
    if (!s->echo)
        s->echo = MEM_NEW(struct echo);
    uint64_t key = key_of(kept->id, slice_str(s->jid));
    bool again = key == s->echo->last.key;
    s->echo->last = (struct sent){key, again ? 0 : kept->number, mark_of(e->to)};
    if (!again && !is_expected(s))
        expect(s, &s->echo->last);
}

void echo_hear(struct context *cx, const struct element *e, uint64_t id)
{
    if (!id || e->kind != ELEMENT_MESSAGE || !e->from.n)
        return;
    uint64_t key = key_of(id, e->from);
    struct session *s = slot_of(cx, key)->session;
    if (!s || slot_of(cx, key)->key != key || !slice_eq_str(e->from, s->jid))
        return;
    struct echo *echo = s->echo;
    count(cx->counters, METRIC_echoes_heard);
    echo->heard = echo->expected.number;
    echo->near = echo->expected.to;
    echo->took = cx->clock->mono - echo->since;
    unexpect(s);
    echo->wait_until = 0;
    if (s->in.asked || s->in.owed)
        session_dirty(s);
}

uint64_t echo_take(struct session *s)
{
    uint64_t heard = s->echo ? s->echo->heard : 0;
    if (heard)
        s->echo->heard = 0;
    return heard;
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
    echo->wait_until = s->cx->clock->mono + patience(echo);
    return true;
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
