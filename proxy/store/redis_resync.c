/* Making a session in Redis, and finding out what Redis holds of it. Both are one script call a session; the turn's
 * budget spreads them when all sessions are concerned. */
#include "base/log.h"
#include "redis_impl.h"

/* ---- making ---- */

/* Above it everything is written anew. */
static uint64_t keep_upto(const struct kept *k, const struct side *d)
{
    return k->cut_all || d->committed < d->released ? d->released : d->committed;
}

static void begin_side(struct kept *k, struct side *d, const struct queue *q)
{
    if (!k->made) {
        uint64_t before = q->first ? q->first->number - 1 : q->last_number;
        d->released = d->committed = d->trimmed = before;
    }
    d->sent = d->committed = keep_upto(k, d);
    side_find_next(d, q);
}

/* The id up to which the stream is kept (empty: nothing is), and the number that it goes on from. */
static void add_side(struct kept *k, struct side *d, struct args *a)
{
    if (d->sent > d->released)
        args_id(a, side_epoch_of(d, k->epoch, d->sent), d->sent);
    else
        args_str(a, "");
    args_number(a, (int64_t)d->sent);
}

/* The eras of what is kept, now that it is known which epoch follows. */
static void set_eras(struct kept *k, struct side *d, uint64_t kept_to)
{
    if (kept_to <= d->released) {
        d->era_count = 0;
        return;
    }
    side_cut_eras(d, kept_to);
    side_add_era(d, k->epoch, kept_to);
}

static bool has_what_it_should(const struct side *d, const struct redisReply *length)
{
    return reply_number(length) == (d->sent > d->trimmed ? d->sent - d->trimmed : 0);
}

static void on_made(struct kept *k, const struct redisReply *reply)
{
    struct side *down = &k->side[KEPT_DOWN], *up = &k->side[KEPT_UP];
    if (reply_is(reply_at(reply, 0), "fenced")) {
        kept_tell_fenced(k, reply_at(reply, 1));
        return;
    }
    if (k->made) {
        count(k->s->o.counters, METRIC_store_resyncs_rewritten);
        LOG(LOG_INFO, "session written to redis anew", LF("sid", k->sid), LF_INT("down_from", down->sent + 1),
            LF_INT("up_from", up->sent + 1));
    }
    set_eras(k, down, down->sent);
    set_eras(k, up, up->sent);
    k->epoch = reply_number(reply_at(reply, 1));
    k->made = true;
    bool whole = has_what_it_should(down, reply_at(reply, 2)) && has_what_it_should(up, reply_at(reply, 3));
    if (!whole && !k->cut_all) { /* what was to be kept is not there: everything from memory, then */
        k->cut_all = true;
        kept_set_dirty(k);
        return;
    }
    k->cut_all = false;
    kept_tell_lease(k);
    store_set_deadline(k->s, k->sid, kept_left(k));
    kept_set_live(k);
    /* What the server has confirmed meanwhile has left its queue and is never appended: no other answer tells. */
    kept_tell_made(k, KEPT_DOWN);
    if (!k->gone)
        kept_tell_made(k, KEPT_UP);
}

static void on_made_answer(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct kept *k = ctx;
    k->asked = false;
    if (a == REDIS_DONE && reply_is(reply_at(reply, 0), "check"))
        k->state = KEPT_STALLED; /* it is less there than when this was decided */
    bool answered = a == REDIS_DONE && (reply_is(reply_at(reply, 0), "ok") || reply_is(reply_at(reply, 0), "fenced"));
    if (!k->gone && answered)
        on_made(k, reply);
    else
        kept_stall(k, false);
    kept_drop_due(k);
}

static void trim(struct kept *k, enum session_key key, struct side *d)
{
    struct stream_id oldest = side_oldest_id(d, k->epoch);
    struct args a;
    args_begin(&a);
    args_str(&a, "XTRIM");
    args_session_key(&a, k->sid, key);
    args_str(&a, "MINID");
    args_id(&a, oldest.epoch, oldest.number);
    d->trimmed = d->released;
    store_send(k->s, k->slot, &a, NULL, NULL);
}

void resync_make(struct kept *k)
{
    struct redis_store *s = k->s;
    struct side *down = &k->side[KEPT_DOWN], *up = &k->side[KEPT_UP];
    struct buf account = {0}, proof = {0};
    begin_side(k, down, k->queue[KEPT_DOWN]);
    begin_side(k, up, k->queue[KEPT_UP]);
    k->rewind = false;
    if (k->made) { /* so that what is left can be counted */
        trim(k, KEY_DOWN, down);
        trim(k, KEY_UP, up);
    }
    if (k->high_water_asked < k->queue[KEPT_DOWN]->last_number + KEPT_BLOCK)
        k->high_water_asked = k->queue[KEPT_DOWN]->last_number + KEPT_BLOCK;
    store_seal(s, k->sid, slice_str(k->account), &account);
    store_seal(s, k->sid, slice_str(k->proof), &proof);
    usec left = kept_left(k);
    kept_ask_lease(k, now_mono(s), left);
    struct args a;
    args_begin(&a);
    args_session_keys(&a, k->sid, KEY_TOMBSTONE + 1);
    args_number(&a, (int64_t)k->epoch);
    args_str(&a, k->mark);
    args_str(&a, s->owner);
    add_side(k, down, &a);
    add_side(k, up, &a);
    args_number(&a, ttl_with_jitter(left + s->o.mailbox_ttl));
    args_number(&a, to_ms(left));
    args_str(&a, k->attached ? "a" : "d");
    args_number(&a, k->attached ? 0 : to_ms(k->detached_wall));
    args_number(&a, to_ms(k->max));
    args_number(&a, (int64_t)k->high_water_asked);
    args_add(&a, account.n ? buf_slice(&account) : SLICE_LIT(""));
    args_add(&a, proof.n ? buf_slice(&proof) : SLICE_LIT(""));
    args_str(&a, k->sid);
    args_number(&a, ++k->serial);
    args_str(&a, k->restore ? "1" : "0");
    k->asked = true;
    k->due++;
    store_eval(s, k->slot, SCRIPT_OPEN, KEY_TOMBSTONE + 1, &a, on_made_answer, k);
    buf_free(&account);
    buf_free(&proof);
}

/* ---- comparing ---- */

/* What the script told of a stream. */
struct there {
    struct stream_id last;
    uint64_t length, added;
};

static struct there take_there(const struct redisReply *reply, size_t i)
{
    return (struct there){reply_id(reply_at(reply, i)), reply_number(reply_at(reply, i + 1)),
                          reply_number(reply_at(reply, i + 2))};
}

/* All that was ever committed, without a gap, up to the last number? */
static bool is_whole(const struct kept *k, const struct side *d, const struct there *t)
{
    uint64_t last = t->last.number;
    if (t->last.epoch != k->epoch || last > d->sent)
        return false;
    return t->added == last && t->length == (last > d->trimmed ? last - d->trimmed : 0);
}

static void make_anew(struct kept *k, bool all, bool restore)
{
    k->state = KEPT_MAKING;
    k->cut_all = all;
    k->restore = restore;
    kept_set_dirty(k);
}

static void go_on_from(struct kept *k, enum kept_queue which, const struct there *t)
{
    struct side *d = &k->side[which];
    d->sent = t->last.number;
    if (d->committed > d->sent)
        d->committed = d->sent;
    side_find_next(d, k->queue[which]);
    kept_tell_committed(k, which, t->last.number);
}

static void compare(struct kept *k, const struct redisReply *reply)
{
    uint64_t epoch = reply_number(reply_at(reply, 1));
    struct there down = take_there(reply, 3), up = take_there(reply, 6);
    if (reply_is(reply_at(reply, 0), "gone")) {
        if (reply_number(reply_at(reply, 1))) /* a tombstone: it was ended, and nobody brings it back */
            kept_tell_fenced(k, reply_at(reply, 2));
        else
            make_anew(k, true, true);
    } else if (epoch > k->epoch) {
        kept_tell_fenced(k, reply_at(reply, 2));
    } else if (epoch < k->epoch) {
        make_anew(k, true, true); /* an older state of Redis */
    } else if (down.last.epoch != k->epoch || up.last.epoch != k->epoch) {
        make_anew(k, true, false);
    } else if (!is_whole(k, &k->side[KEPT_DOWN], &down) || !is_whole(k, &k->side[KEPT_UP], &up)) {
        make_anew(k, false, false); /* a gap: what was told as committed lies below it */
    } else {
        count(k->s->o.counters, METRIC_store_resyncs_same);
        kept_set_live(k);
        k->resealing = true; /* the note that was to bring it may be lost */
        go_on_from(k, KEPT_DOWN, &down);
        if (!k->gone)
            go_on_from(k, KEPT_UP, &up);
    }
}

static void on_check(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct kept *k = ctx;
    k->asked = false;
    if (k->gone)
        ;
    else if (a == REDIS_DONE && reply_count(reply) > 0)
        compare(k, reply);
    else
        kept_stall(k, false);
    kept_drop_due(k);
}

void resync_check(struct kept *k)
{
    struct stream_id oldest;
    struct args a;
    args_begin(&a);
    args_session_keys(&a, k->sid, KEY_TOMBSTONE + 1);
    for (int which = 0; which < 2; which++) {
        struct side *d = &k->side[which];
        oldest = side_oldest_id(d, k->epoch);
        args_id(&a, oldest.epoch, oldest.number);
        d->trimmed = d->released;
    }
    args_str(&a, k->mark);
    k->asked = true;
    k->due++;
    store_eval(k->s, k->slot, SCRIPT_CHECK, KEY_TOMBSTONE + 1, &a, on_check, k);
}
