/* Nodes that share a real Redis, and sessions that they keep there. Time is set by hand, but for that of Redis. */
#ifndef HOLDFAST_TESTS_REDIS_SCENE_H
#define HOLDFAST_TESTS_REDIS_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "redis_adapter.h"
#include "store/redis.h"
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_R "aaaaaaaaaaaaaaaaaaaaaaaa" /* of romeo@example.org */
#define REST  "0123456789abcdef01234567"
#define SID   TAG_R REST
#define ROMEO "romeo@example.org"
#define MAX   (600 * USEC_S)

struct place {
    struct redis_store *rs;
    struct store *s;
    struct redis *r;
    struct counters *counters;
    _Atomic int64_t memory;
    char released[SID_SIZE]; /* the last session that was told to be released */
    unsigned hints;          /* that there is mail for romeo */
    bool waits;              /* for replicas */
    unsigned opens;          /* so many sealed texts it has the key of yet */
};

struct scene {
    struct redis_server server;
    struct clock clock;
    struct timers *timers;
    struct place a, b;
};

/* A session's owner: what the session's side does with what it is told. */
struct owner {
    struct place *node;
    struct kept *k;
    struct queue q[2];
    uint64_t committed[2], reserved, fenced_upto;
    usec silent_at;
    int fenced, records, asked, let_go, attached;
    const char *record;
    bool claimed_none, claim_away, claim_unreadable;
    unsigned claim_told;
    char *claimed_record;
    struct kept_claim claim; /* without what was valid during the call alone */
};

static inline void scene_tag(void *ctx, struct slice account, char tag[TAG_SIZE])
{
    (void)ctx;
    memset(tag, account.n && account.p[0] == 'r' ? 'a' : 'b', TAG_SIZE - 1);
    tag[TAG_SIZE - 1] = '\0';
}

/* Not secret, but nothing of it can be read by chance. */
static inline void scene_seal(void *ctx, struct slice tag, struct slice plain, struct buf *out)
{
    (void)ctx;
    buf_printf(out, "sealed for %.*s:", SLICE_ARG(tag));
    for (size_t i = 0; i < plain.n; i++) {
        char c = (char)(plain.p[i] ^ 0x55);
        buf_append(out, &c, 1);
    }
}

static inline enum redis_opened scene_open(void *ctx, struct slice tag, struct slice sealed, struct buf *out)
{
    char head[64];
    struct place *node = ctx;
    int n = snprintf(head, sizeof head, "sealed for %.*s:", SLICE_ARG(tag));
    if (!slice_starts(sealed, slice_of(head, (size_t)n)))
        return OPENED_DAMAGED;
    if (node->opens == 0)
        return OPENED_LOCKED;
    node->opens--;
    for (size_t i = (size_t)n; i < sealed.n; i++) {
        char c = (char)(sealed.p[i] ^ 0x55);
        buf_append(out, &c, 1);
    }
    return OPENED;
}

static inline void scene_released(void *ctx, const char *sid)
{
    snprintf(((struct place *)ctx)->released, SID_SIZE, "%s", sid);
}

static inline void scene_mail(void *ctx, const char *tag)
{
    ((struct place *)ctx)->hints += strcmp(tag, TAG_R) == 0;
}

static inline void place_start(struct scene *f, struct place *n, const char *name)
{
    n->counters = counters_new();
    n->opens = UINT_MAX;
    struct redis_store_options o = {
        .node = name,
        .boot = "boot1",
        .peer = "127.0.0.1:1",
        .timers = f->timers,
        .clock = &f->clock,
        .counters = n->counters,
        .memory = &n->memory,
        .tag_of = scene_tag,
        .seal = scene_seal,
        .open = scene_open,
        .released = scene_released,
        .mail = scene_mail,
        .ctx = n,
        .max = MAX,
        .mailbox_ttl = 3600 * USEC_S,
        .tombstone_ttl = 1800 * USEC_S,
        .settle = 30 * USEC_S,
        .waits = n->waits,
        .heartbeat = true,
        .reapers = 1,
    };
    n->rs = redis_store_new(&o);
    n->s = redis_store_get(n->rs);
    n->r = adapter_new(&f->server, redis_store_events(), n->rs);
    redis_store_connect(n->rs, n->r);
    adapter_back(n->r, false);
}

static inline void place_stop(struct place *n)
{
    if (!n->rs)
        return;
    redis_free(n->r);
    redis_store_free(n->rs);
    counters_free(n->counters);
    n->rs = NULL;
    assert_int_equal(n->memory, 0);
}

static inline int64_t counted(const struct place *n, enum metric m)
{
    return counters_sum((struct counters *const[]){n->counters}, 1, m);
}

/* Turns until nothing is left to send. */
static inline void run(struct scene *f)
{
    for (int i = 0; i < 200; i++) {
        if (f->a.rs)
            f->a.s->turn(f->a.s);
        if (f->b.rs)
            f->b.s->turn(f->b.s);
        if (timers_next(f->timers) >= 0 && timers_next(f->timers) <= f->clock.mono) /* a turn that was not enough */
            timers_run(f->timers, f->clock.mono, 1000);
        else if (i > 3 && !(f->a.rs && adapter_pending(f->a.r)) && !(f->b.rs && adapter_pending(f->b.r)))
            return;
    }
    fail_msg("the stores do not come to rest");
}

static inline void run_for(struct scene *f, usec time)
{
    for (usec end = f->clock.mono + time; f->clock.mono < end;) {
        usec step = end - f->clock.mono < USEC_S ? end - f->clock.mono : USEC_S;
        f->clock.mono += step;
        f->clock.wall += step;
        timers_run(f->timers, f->clock.mono, 1000);
        run(f);
    }
}

/* ---- what an owner does ---- */

static inline void on_committed(void *ctx, enum kept_queue which, uint64_t upto)
{
    struct owner *o = ctx;
    assert_true(upto > o->committed[which]);
    o->committed[which] = upto;
}

static inline void on_reserved(void *ctx, uint64_t high_water)
{
    struct owner *o = ctx;
    assert_true(high_water > o->reserved);
    o->reserved = high_water;
}

static inline void on_record(void *ctx, struct buf *out)
{
    struct owner *o = ctx;
    o->records++;
    buf_add_str(out, o->record ? o->record : "record");
}

static inline void on_fenced(void *ctx, uint64_t upto)
{
    struct owner *o = ctx;
    o->fenced++;
    o->fenced_upto = upto;
}

static inline void on_leased(void *ctx, usec silent_at)
{
    ((struct owner *)ctx)->silent_at = silent_at;
}

static inline void on_attached(void *ctx)
{
    ((struct owner *)ctx)->attached++;
}

static inline void on_asked(void *ctx)
{
    ((struct owner *)ctx)->asked++;
}

static inline void on_let_go(void *ctx)
{
    struct owner *o = ctx;
    o->let_go++;
    o->k = NULL;
}

static const struct kept_events owner_events = {.committed = on_committed,
                                                .reserved = on_reserved,
                                                .leased = on_leased,
                                                .attached = on_attached,
                                                .record = on_record,
                                                .fenced = on_fenced,
                                                .asked_to_release = on_asked};

static inline struct kept_origin origin_of(struct owner *o, const char *sid)
{
    return (struct kept_origin){.sid = sid,
                                .account = ROMEO "/balcony",
                                .proof = "proof",
                                .queue = {&o->q[0], &o->q[1]},
                                .events = &owner_events,
                                .ctx = o};
}

static inline void owner_open_as(struct owner *o, struct place *n, const char *sid)
{
    struct kept_origin origin = origin_of(o, sid);
    o->node = n;
    o->k = n->s->kept->open(n->s, &origin);
}

static inline void owner_open(struct owner *o, struct place *n)
{
    owner_open_as(o, n, SID);
}

static inline struct entry *stanza(const char *text, enum stanza_class class, const char *origin)
{
    struct entry *e = entry_copy(slice_str(text), 1234567);
    e->name_end = 2;
    e->open_end = 3;
    e->close_at = 4;
    e->class = (uint8_t) class;
    e->delayed = true;
    e->origin = mem_strdup(origin);
    return e;
}

static inline void owner_add_entry(struct owner *o, enum kept_queue which, struct entry *e)
{
    queue_append(&o->q[which], e);
    if (o->k)
        o->node->s->kept->appended(o->k, which);
}

/* n messages "<which/NUMBER>" */
static inline void owner_add(struct owner *o, enum kept_queue which, int n)
{
    for (int i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "<%s/%" PRIu64 ">", which == KEPT_DOWN ? "down" : "up",
                 o->q[which].last_number + 1);
        owner_add_entry(o, which, stanza(text, CLASS_KEEP, NULL));
    }
}

static inline void owner_release(struct owner *o, enum kept_queue which, uint64_t upto)
{
    o->node->s->kept->releasing(o->k, which, upto);
    for (struct entry *e; (e = queue_take(&o->q[which], upto));)
        entry_free(e);
}

static inline struct entry *owner_chain(struct owner *o, enum kept_queue which)
{
    struct entry *first = NULL, **end = &first;
    for (struct entry *e; (e = queue_take(&o->q[which], UINT64_MAX));) {
        *end = e;
        end = &e->next;
    }
    return first;
}

static inline void owner_end(struct owner *o, bool with_up)
{
    struct tombstone t = {.account = ROMEO, .proof = "proof", .h = o->q[KEPT_UP].last_number, .reason = "client_end"};
    struct entry *mail = owner_chain(o, KEPT_DOWN), *out = with_up ? owner_chain(o, KEPT_UP) : NULL;
    o->node->s->kept->end(o->k, &t, mail, out);
    o->k = NULL;
}

/* As a fenced owner does. */
static inline void owner_spill(struct owner *o)
{
    for (struct entry *e; (e = queue_take(&o->q[KEPT_DOWN], o->fenced_upto));)
        entry_free(e);
    o->node->s->kept->spill(o->k, owner_chain(o, KEPT_DOWN));
    o->k = NULL;
}

static inline void owner_free(struct owner *o)
{
    if (o->k)
        o->node->s->kept->free(o->k);
    o->k = NULL;
    queue_free(&o->q[0]);
    queue_free(&o->q[1]);
    free(o->claimed_record);
    o->claimed_record = NULL;
}

/* ---- look and claim ---- */

struct seen {
    int answers;
    bool away, found, alive, mine, released, stale, unsettled;
    uint64_t epoch, words, acked, high_water;
    char node[64], boot[64], account[64], proof[64];
};

static inline void on_place(void *ctx, const struct kept_place *p)
{
    struct seen *seen = ctx;
    seen->answers++;
    seen->away = !p;
    if (!p || !p->found)
        return;
    seen->found = true;
    seen->alive = p->alive;
    seen->mine = p->mine;
    seen->released = p->released;
    seen->stale = p->stale;
    seen->unsettled = p->unsettled;
    seen->epoch = p->version.epoch;
    seen->words = p->version.words;
    seen->acked = p->acked;
    seen->high_water = p->high_water;
    snprintf(seen->node, sizeof seen->node, "%s", p->node);
    snprintf(seen->boot, sizeof seen->boot, "%s", p->boot);
    snprintf(seen->account, sizeof seen->account, "%s", p->account);
    snprintf(seen->proof, sizeof seen->proof, "%s", p->proof ? p->proof : "");
}

static inline struct seen look(struct scene *f, struct place *n)
{
    struct seen seen = {0};
    n->s->kept->look(n->s, SID, on_place, &seen);
    assert_int_equal(seen.answers, 0); /* never inside of the call */
    run(f);
    assert_int_equal(seen.answers, 1);
    return seen;
}

static inline void on_claimed(void *ctx, struct kept_claim *c)
{
    struct owner *o = ctx;
    o->claim_away = !c;
    o->claimed_none = c && !c->kept;
    o->claim_unreadable = c && c->unreadable;
    if (!c || !c->kept)
        return;
    o->k = c->kept;
    o->claim = *c;
    o->claim_told = 0;
    o->claimed_record = mem_dup(c->record);
    for (const struct entry *e = c->told; e; e = e->next, o->claim_told++)
        assert_true(!e->next || e->next->number > e->number);
    o->reserved = c->high_water;
    o->committed[KEPT_DOWN] = c->last[KEPT_DOWN];
    o->committed[KEPT_UP] = c->last[KEPT_UP];
    for (int which = 0; which < 2; which++) {
        struct queue *q = &o->q[which];
        q->last_number = c->first[which] ? c->first[which]->number - 1 : c->last[which];
        for (struct entry *e = c->first[which], *next; e; e = next) {
            uint64_t number = e->number;
            next = e->next;
            queue_append(q, e);
            assert_int_equal(e->number, number); /* no gaps */
        }
        assert_int_equal(q->last_number, c->last[which]);
    }
}

static inline void owner_claim(struct scene *f, struct owner *o, struct place *n, struct seen seen, uint64_t h)
{
    struct kept_origin origin = origin_of(o, SID);
    o->node = n;
    n->s->kept->claim(n->s, &origin, (struct kept_version){seen.epoch, seen.words}, h, on_claimed, o);
    run(f);
}

/* ---- boxes ---- */

struct taken {
    struct entry *first;
    size_t n, calls;
};

static inline void on_taken(void *ctx, struct entry *first, size_t n)
{
    struct taken *t = ctx;
    t->first = first;
    t->n = n;
    t->calls++;
}

static inline struct taken take(struct scene *f, struct place *n, enum store_box box, const char *sid)
{
    struct taken t = {0};
    n->s->ops->box_take(n->s, box, SLICE_LIT(ROMEO), sid, on_taken, &t);
    run(f);
    assert_int_equal(t.calls, 1);
    return t;
}

static inline void drop(struct taken *t)
{
    for (struct entry *e = t->first, *next; e; e = next) {
        next = e->next;
        entry_free(e);
    }
    t->first = NULL;
}

static inline void put(struct scene *f, struct place *n, enum store_box box, const char *text, const char *origin)
{
    n->s->ops->box_put(n->s, box, SLICE_LIT(ROMEO), stanza(text, CLASS_KEEP, origin));
    run(f);
}

/* Gone are all leases: what a session's owner would have is open for others. */
static inline void expire(struct scene *f, const char *sid)
{
    char command[256];
    snprintf(command, sizeof command, "HSET hf:{%.24s}:s:%s dl 1", sid, sid + 24);
    freeReplyObject(server_ask(&f->server, command));
    unsigned bucket = (unsigned)strtoul(sid + 46, NULL, 16) % 64;
    snprintf(command, sizeof command, "ZADD hf:exp:%u 1 %s", bucket, sid);
    freeReplyObject(server_ask(&f->server, command));
}

/* ---- set-up ---- */

static inline int group_setup(void **state)
{
    struct scene *f = MEM_NEW(struct scene);
    log_configure(LOG_ERROR, LOG_LOGFMT); /* faults are what most tests are about */
    server_make(&f->server);
    server_start(&f->server);
    *state = f;
    return 0;
}

static inline int group_teardown(void **state)
{
    struct scene *f = *state;
    server_remove(&f->server);
    free(f);
    return 0;
}

static inline int setup(void **state)
{
    struct scene *f = *state;
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
    clock_read(&f->clock);
    f->timers = timers_new();
    f->a.waits = f->b.waits = false;
    place_start(f, &f->a, "a");
    place_start(f, &f->b, "b");
    return 0;
}

/* Nothing may stay for ever, whatever happened. */
static inline void check_ttls(struct scene *f)
{
    redisReply *keys = server_ask(&f->server, "KEYS *");
    for (size_t i = 0; i < keys->elements; i++) {
        char command[256];
        snprintf(command, sizeof command, "PTTL %s", keys->element[i]->str);
        long long ttl = server_number(&f->server, command);
        if (ttl <= 0)
            fail_msg("%s has no time to live: %lld", keys->element[i]->str, ttl);
    }
    freeReplyObject(keys);
}

static inline int teardown(void **state)
{
    struct scene *f = *state;
    check_ttls(f);
    place_stop(&f->a);
    place_stop(&f->b);
    timers_free(f->timers);
    return 0;
}

#endif
