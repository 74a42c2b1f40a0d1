/* Looking for a session and taking it over. Neither is repeated: who asks knows whether it still matters. */
#include "base/log.h"
#include "base/mem.h"
#include "redis_impl.h"
#include <stdio.h>

/* ---- look ---- */

struct look {
    struct job job;
    char sid[SID_SIZE];
    kept_place_fn *done;
    void *ctx;
    /* what the session's keys have told, until its owner's life sign is read */
    struct kept_place place;
    char *owner, *account, *proof, *peer;
};

static void answer_look(struct look *l, const struct kept_place *p)
{
    if (l->done)
        l->done(l->ctx, p);
    l->done = NULL;
}

static void release_look(struct job *j)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    answer_look(l, NULL);
    free(l->owner);
    free(l->account);
    free(l->proof);
    free(l->peer);
    free(l);
}

static void on_sign(void *ctx, enum sign sign, struct slice peer)
{
    struct look *l = ctx;
    l->place.alive = sign == SIGN_LIVES;
    if (peer.n)
        l->place.peer = l->peer = mem_dup(peer);
    answer_look(l, &l->place);
    job_done(&l->job);
}

static void take_place(struct look *l, const struct redisReply *reply)
{
    const struct redis_store *s = l->job.s;
    struct buf account = {0}, proof = {0};
    struct slice sealed_proof = reply_text(reply_at(reply, 5));
    bool readable = store_open(s, l->sid, reply_text(reply_at(reply, 4)), &account) == OPENED &&
                    store_open(s, l->sid, sealed_proof, &proof) == OPENED;
    if (!readable)
        LOG(LOG_ERROR, "session in redis cannot be read here", LF("sid", l->sid));
    l->owner = mem_dup(reply_text(reply_at(reply, 1)));
    l->account = buf_steal(&account);
    l->proof = buf_steal(&proof);
    bool stale = reply_number(reply_at(reply, 8)) != 0;
    l->place = (struct kept_place){
        .found = readable,
        .version = {reply_number(reply_at(reply, 0)), reply_number(reply_at(reply, 7))},
        .mine = strcmp(l->owner, s->owner) == 0,
        .released = reply_is(reply_at(reply, 2), "r"),
        .high_water = reply_number(reply_at(reply, 3)),
        .acked = reply_number(reply_at(reply, 6)),
        .stale = stale,
        .unsettled = (stale && now_mono(s) < store_calm_at(s, l->job.slot)) || reply_number(reply_at(reply, 9)) > 0,
        .account = l->account,
        .proof = sealed_proof.n ? l->proof : NULL,
    };
    l->place.boot = owner_split(l->owner);
    l->place.node = l->owner;
}

static void on_look(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct look *l = ctx;
    if (a != REDIS_DONE) {
        job_done(&l->job); /* NULL: it was not answered */
        return;
    }
    if (reply_count(reply) > 0) {
        take_place(l, reply);
        sign_ask(l->job.s, l->place.node, l->place.boot, on_sign, l);
        return;
    }
    answer_look(l, &l->place);
    job_done(&l->job);
}

static void send_look(struct job *j)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    struct args a;
    args_begin(&a);
    args_session_keys(&a, l->sid, KEY_DOWN + 1);
    args_str(&a, j->s->o.waits ? "1" : "0");
    store_eval(j->s, j->slot, SCRIPT_LOOK, KEY_DOWN + 1, &a, on_look, l);
}

void claim_look(struct store *store, const char *sid, kept_place_fn *done, void *ctx)
{
    struct look *l = MEM_NEW(struct look);
    l->job = (struct job){.send = send_look, .release = release_look, .slot = slot_of_tag(sid), .cost = sizeof *l};
    snprintf(l->sid, sizeof l->sid, "%s", sid);
    l->done = done;
    l->ctx = ctx;
    job_start(redis_store_self(store), &l->job);
}

/* ---- claim ---- */

/* What a claim has read of a queue so far. */
struct reading {
    struct entry *first, **end;
    struct era *eras;
    size_t era_count, length; /* entries in Redis when it was claimed */
    size_t got;
    struct stream_id upto; /* where the next page begins */
    uint64_t last;         /* last number ever appended */
    uint64_t released;     /* up to it nothing is the new owner's */
    bool broken;           /* numbers are missing: Redis holds something else than what the queue is to be */
    uint64_t good;         /* then: up to where it is the same */
};

struct claim {
    struct job job;
    char sid[SID_SIZE], mark[MARK_SIZE];
    const struct queue *queue[2];
    const struct kept_events *events;
    void *owner_ctx;
    struct kept_version seen;
    uint64_t h;
    kept_claim_fn *done;
    void *ctx;
    /* of the answer */
    uint64_t epoch, high_water, acked;
    usec deadline_left;
    usec sent, left; /* its deadline from then on */
    bool lent;
    bool unreadable; /* what nobody can go on without, or what others may be able to read: it is given back */
    struct buf record;
    struct queue told;
    char *account, *proof;
    struct reading reading[2];
};

static const enum session_key queue_key[] = {[KEPT_DOWN] = KEY_DOWN, [KEPT_UP] = KEY_UP};

static void answer_claim(struct claim *c, struct kept_claim *told)
{
    if (c->done)
        c->done(c->ctx, told);
    c->done = NULL;
}

static void free_entries(struct reading *r)
{
    for (struct entry *e = r->first, *next; e; e = next) {
        next = e->next;
        entry_free(e);
    }
    r->first = NULL;
    r->end = &r->first;
}

static void release_claim(struct job *j)
{
    struct claim *c = CONTAINER_OF(j, struct claim, job);
    answer_claim(c, NULL);
    for (int which = 0; which < 2; which++) {
        free_entries(&c->reading[which]);
        free(c->reading[which].eras);
    }
    buf_free(&c->record);
    queue_free(&c->told);
    free(c->account);
    free(c->proof);
    free(c);
}

static void note_era(struct reading *r, struct stream_id id)
{
    if (!r->era_count || r->eras[r->era_count - 1].epoch != id.epoch) {
        r->eras = mem_realloc(r->eras, (r->era_count + 1) * sizeof *r->eras);
        r->eras[r->era_count++].epoch = id.epoch;
    }
    r->eras[r->era_count - 1].upto = id.number;
}

static void append(struct reading *r, struct entry *e)
{
    e->next = NULL;
    *r->end = e;
    r->end = &e->next;
}

/* Its stanza was released before it was written, and so was all ahead of it. */
static bool is_mere_number(const struct redisReply *entry)
{
    return slice_eq_str(reply_stanza(entry).class, "-");
}

/* One that is damaged must not stop the rest. Uplink: it keeps its number, as one that is never written; downlink: its
 * number is missing, and those behind it move up. */
static void take_page(struct claim *c, enum kept_queue which, const struct redisReply *page)
{
    struct reading *r = &c->reading[which];
    for (size_t i = 0; i < reply_count(page) && !c->unreadable; i++) {
        const struct redisReply *one = page->element[i];
        r->upto = reply_id(reply_at(one, 0));
        r->got++;
        note_era(r, r->upto);
        if (is_mere_number(one)) {
            free_entries(r);
            r->released = r->upto.number;
            continue;
        }
        struct entry *e;
        enum redis_opened opened = entry_read(c->job.s, c->sid, one, &e);
        c->unreadable = opened == OPENED_LOCKED;
        if (opened == OPENED_DAMAGED)
            LOG(LOG_ERROR, "stanza in redis is damaged", LF("sid", c->sid), LF_INT("number", r->upto.number));
        if (opened == OPENED_DAMAGED && which == KEPT_UP) {
            e = entry_copy(SLICE_NONE, 0);
            e->number = r->upto.number;
        }
        if (e)
            append(r, e);
    }
}

/* A new owner wants to know what was in it; that is not worth to fail for. */
static void take_told(struct claim *c, const struct redisReply *page)
{
    struct entry *e;
    for (size_t i = 0; i < reply_count(page) && !c->unreadable; i++) {
        const struct redisReply *one = page->element[i];
        if (is_mere_number(one) || entry_read(c->job.s, c->sid, one, &e) != OPENED || !e)
            continue;
        queue_move(&c->told, e);
    }
}

/* Behind what is damaged downlink stanzas move up: a client counts what it gets. */
static void close_gaps(struct claim *c)
{
    struct reading *down = &c->reading[KEPT_DOWN], *up = &c->reading[KEPT_UP];
    if (down->released < c->acked)
        down->released = c->acked;
    if (!up->released)
        up->released = up->first ? up->first->number - 1 : up->last;
    uint64_t number = down->released;
    for (struct entry *e = down->first; e; e = e->next) {
        if (e->number != ++number && !down->broken) {
            down->broken = true;
            down->good = number - 1;
        }
        e->number = number;
    }
    if (down->last > number && !down->broken) {
        down->broken = true;
        down->good = number;
    }
    if (down->broken)
        down->last = number;
}

/* The last trim of the dead owner may not have come: it is repeated. */
static void fill_side(struct kept *k, struct side *d, struct reading *r)
{
    d->released = r->released;
    d->committed = r->broken ? r->good : r->last > r->released ? r->last : r->released;
    d->sent = d->committed;
    d->told = r->last > d->committed ? r->last : d->committed;
    d->eras = r->eras;
    d->era_count = r->era_count;
    r->eras = NULL;
    if (r->broken)
        k->state = KEPT_MAKING; /* what follows is written anew, out of the queue */
}

static struct kept *make_handle(struct claim *c)
{
    struct redis_store *s = c->job.s;
    struct kept_origin o = {.sid = c->sid,
                            .account = c->account,
                            .proof = c->proof,
                            .queue = {c->queue[0], c->queue[1]},
                            .events = c->events,
                            .ctx = c->owner_ctx};
    struct kept *k = kept_new(s, &o);
    memcpy(k->mark, c->mark, MARK_SIZE);
    k->made = true;
    k->epoch = c->epoch;
    k->high_water = k->high_water_asked = c->high_water;
    k->state = KEPT_LIVE;
    fill_side(k, &k->side[KEPT_DOWN], &c->reading[KEPT_DOWN]);
    fill_side(k, &k->side[KEPT_UP], &c->reading[KEPT_UP]);
    k->rewind = k->noting = k->resealing = true;
    kept_ask_lease(k, c->sent, c->left);
    store_set_deadline(s, k->sid, kept_left(k));
    kept_set_dirty(k);
    return k;
}

static void finish(struct claim *c)
{
    struct redis_store *s = c->job.s;
    struct reading *down = &c->reading[KEPT_DOWN], *up = &c->reading[KEPT_UP];
    close_gaps(c);
    if (c->lent)
        box_relend(s, c->sid, down->first);
    struct kept_claim told = {.kept = make_handle(c),
                              .record = buf_slice(&c->record),
                              .told = c->told.first,
                              .first = {[KEPT_DOWN] = down->first, [KEPT_UP] = up->first},
                              .last = {[KEPT_DOWN] = down->last, [KEPT_UP] = up->last},
                              .high_water = c->high_water,
                              .deadline_left = c->deadline_left};
    told.silent_at = told.kept->silent_asked;
    count(s->o.counters, METRIC_store_claims_won);
    down->first = up->first = NULL;
    answer_claim(c, &told);
    job_done(&c->job);
}

/* ---- given back: as it was found, with the rest of its time, for another node or for the end ---- */

static void on_given_back(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct claim *c = ctx;
    struct kept_claim told = {.unreadable = true};
    (void)a; /* without it the session waits longer for its end */
    (void)reply;
    answer_claim(c, &told);
    job_done(&c->job);
}

static void give_back(struct claim *c)
{
    struct redis_store *s = c->job.s;
    struct args a;
    count(s->o.counters, METRIC_store_claims_unreadable);
    args_begin(&a);
    args_session_keys(&a, c->sid, KEY_ACCOUNT + 1);
    args_number(&a, (int64_t)c->epoch);
    args_number(&a, 1); /* the first word of this owner, and its last */
    args_number(&a, ttl_with_jitter(c->deadline_left + s->o.mailbox_ttl));
    args_number(&a, to_ms(c->deadline_left));
    args_str(&a, "r");
    args_number(&a, to_ms(s->o.clock->wall));
    args_number(&a, to_ms(s->o.max));
    args_number(&a, (int64_t)c->high_water);
    args_str(&a, c->sid);
    args_str(&a, ""); /* as it is sealed */
    args_str(&a, "");
    args_str(&a, "0");
    args_str(&a, "0");
    args_str(&a, "0");
    store_eval(s, c->job.slot, SCRIPT_NOTE, KEY_ACCOUNT + 1, &a, on_given_back, c);
    store_set_deadline(s, c->sid, c->deadline_left);
}

/* ---- reading the queues ---- */

static void read_on(struct claim *c);

static void on_page(struct claim *c, enum kept_queue which, enum redis_answer a, const struct redisReply *reply)
{
    if (a != REDIS_DONE) { /* it is ours, but nobody can use it now; who looks again claims it again */
        job_done(&c->job);
        return;
    }
    take_page(c, which, reply);
    if (reply_count(reply) == 0)
        c->reading[which].length = c->reading[which].got;
    read_on(c);
}

static void on_page_down(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    on_page(ctx, KEPT_DOWN, a, reply);
}

static void on_page_up(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    on_page(ctx, KEPT_UP, a, reply);
}

static void send_page(struct claim *c, enum kept_queue which)
{
    static redis_done_fn *const done[] = {[KEPT_DOWN] = on_page_down, [KEPT_UP] = on_page_up};
    struct args a;
    char from[48];
    args_begin(&a);
    args_str(&a, "XRANGE");
    args_session_key(&a, c->sid, queue_key[which]);
    snprintf(from, sizeof from, "(%llu-%llu", (unsigned long long)c->reading[which].upto.epoch,
             (unsigned long long)c->reading[which].upto.number);
    args_str(&a, from);
    args_str(&a, "+");
    args_str(&a, "COUNT");
    args_number(&a, PAGE);
    store_send(c->job.s, c->job.slot, &a, done[which], c);
}

static void read_on(struct claim *c)
{
    if (c->unreadable) {
        give_back(c);
        return;
    }
    for (int which = 0; which < 2; which++)
        if (c->reading[which].got < c->reading[which].length) {
            send_page(c, (enum kept_queue)which);
            return;
        }
    finish(c);
}

static void take_claim(struct claim *c, const struct redisReply *reply)
{
    const struct redis_store *s = c->job.s;
    struct reading *down = &c->reading[KEPT_DOWN], *up = &c->reading[KEPT_UP];
    struct buf account = {0}, proof = {0};
    c->epoch = reply_number(reply_at(reply, 1));
    c->high_water = reply_number(reply_at(reply, 2));
    c->deadline_left = (usec)reply_number(reply_at(reply, 3)) * USEC_MS;
    c->acked = reply_number(reply_at(reply, 4));
    down->last = reply_number(reply_at(reply, 5));
    up->last = reply_number(reply_at(reply, 6));
    c->lent = reply_is(reply_at(reply, 7), "1");
    c->unreadable = store_open(s, c->sid, reply_text(reply_at(reply, 8)), &c->record) != OPENED ||
                    store_open(s, c->sid, reply_text(reply_at(reply, 13)), &account) != OPENED ||
                    store_open(s, c->sid, reply_text(reply_at(reply, 14)), &proof) != OPENED;
    c->account = buf_steal(&account);
    if (proof.n)
        c->proof = buf_steal(&proof);
    down->length = reply_number(reply_at(reply, 9));
    take_page(c, KEPT_DOWN, reply_at(reply, 10));
    up->length = reply_number(reply_at(reply, 11));
    take_page(c, KEPT_UP, reply_at(reply, 12));
    take_told(c, reply_at(reply, 15));
    buf_free(&proof);
}

static void on_claim(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct claim *c = ctx;
    struct kept_claim lost = {0};
    if (a != REDIS_DONE || reply_count(reply) == 0) {
        job_done(&c->job); /* answers NULL */
    } else if (reply_is(reply_at(reply, 0), "ok")) {
        take_claim(c, reply);
        read_on(c);
    } else {
        count(c->job.s->o.counters, METRIC_store_claims_lost);
        answer_claim(c, &lost);
        job_done(&c->job);
    }
}

static void send_claim(struct job *j)
{
    struct claim *c = CONTAINER_OF(j, struct claim, job);
    struct redis_store *s = j->s;
    usec left = kept_left_attached(s->o.max);
    c->sent = now_mono(s);
    c->left = left;
    struct args a;
    args_begin(&a);
    args_session_keys(&a, c->sid, KEY_MAIL_INDEX + 1);
    args_number(&a, (int64_t)c->seen.epoch);
    args_number(&a, (int64_t)c->seen.words);
    args_number(&a, (int64_t)c->h);
    args_str(&a, c->mark);
    args_str(&a, s->owner);
    args_number(&a, ttl_with_jitter(left + s->o.mailbox_ttl));
    args_number(&a, to_ms(left));
    args_str(&a, c->sid);
    args_number(&a, PAGE);
    args_str(&a, s->o.waits ? "1" : "0");
    box_add_limits(s, &a);
    store_eval(s, j->slot, SCRIPT_CLAIM, KEY_MAIL_INDEX + 1, &a, on_claim, c);
}

void claim_begin(struct store *store, const struct kept_origin *o, struct kept_version seen, uint64_t h,
                 kept_claim_fn *done, void *ctx)
{
    struct claim *c = MEM_NEW(struct claim);
    c->job = (struct job){.send = send_claim, .release = release_claim, .slot = slot_of_tag(o->sid), .cost = sizeof *c};
    snprintf(c->sid, sizeof c->sid, "%s", o->sid);
    mark_new(c->mark);
    c->queue[KEPT_DOWN] = o->queue[KEPT_DOWN];
    c->queue[KEPT_UP] = o->queue[KEPT_UP];
    c->events = o->events;
    c->owner_ctx = o->ctx;
    c->seen = seen;
    c->h = h;
    c->done = done;
    c->ctx = ctx;
    for (int which = 0; which < 2; which++)
        c->reading[which].end = &c->reading[which].first;
    job_start(redis_store_self(store), &c->job);
}
