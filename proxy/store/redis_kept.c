/* A session that is kept in Redis. Its owner says what has changed; it is written in the turn, out of the queues, with
 * plain pipelined commands for stanzas and acks: XADD of EPOCH-NUMBER, XTRIM. Answers come in the order of the
 * commands, so the number in an answer is all that is needed of it. Whatever goes wrong ends in KEPT_STALLED: then
 * Redis is asked what it holds (redis_resync.c), and all goes on from there.
 *
 *   MAKING --made--> LIVE --refused, away, unknown, `back`--> STALLED --compared--> LIVE
 *     ^                                                          |
 *     +------- less there than there should be, or a gap -------+---- larger epoch ----> FENCED */
#include "base/log.h"
#include "base/mem.h"
#include "redis_impl.h"
#include <stdio.h>
#include <stdlib.h>

#define RECORD_DELAY (3 * USEC_S) /* how long a change of the record that is not urgent waits for others */
#define OWNER_FIRST  (5 * USEC_S) /* the owner itself ends a detached session that much earlier than others may */
#define LEASE_MIN    USEC_S
#define LEASE_MAX    (300 * USEC_S)

/* ---- sides ---- */

uint64_t side_epoch_of(const struct side *d, uint64_t epoch, uint64_t number)
{
    for (size_t i = 0; i < d->era_count; i++)
        if (number <= d->eras[i].upto)
            return d->eras[i].epoch;
    return epoch;
}

struct stream_id side_oldest_id(const struct side *d, uint64_t epoch)
{
    return (struct stream_id){side_epoch_of(d, epoch, d->released + 1), d->released + 1};
}

void side_add_era(struct side *d, uint64_t epoch, uint64_t upto)
{
    if (d->era_count && d->eras[d->era_count - 1].upto >= upto)
        return;
    if (d->era_count && d->eras[d->era_count - 1].epoch == epoch) {
        d->eras[d->era_count - 1].upto = upto;
        return;
    }
    d->eras = mem_realloc(d->eras, (d->era_count + 1) * sizeof *d->eras);
    d->eras[d->era_count++] = (struct era){epoch, upto};
}

void side_cut_eras(struct side *d, uint64_t upto)
{
    while (d->era_count > 1 && d->eras[d->era_count - 2].upto >= upto)
        d->era_count--;
    if (d->era_count && d->eras[d->era_count - 1].upto > upto)
        d->eras[d->era_count - 1].upto = upto;
}

static void forget_old_eras(struct side *d)
{
    size_t n = 0;
    while (n < d->era_count && d->eras[n].upto <= d->released)
        n++;
    if (n == 0)
        return;
    d->era_count -= n;
    memmove(d->eras, d->eras + n, d->era_count * sizeof *d->eras);
}

void side_find_next(struct side *d, const struct queue *q)
{
    d->next = q->first;
    while (d->next && d->next->number <= d->sent)
        d->next = d->next->next;
}

/* ---- life of the handle ---- */

struct kept *kept_new(struct redis_store *s, const struct kept_origin *o)
{
    struct kept *k = MEM_NEW(struct kept);
    k->s = s;
    snprintf(k->sid, sizeof k->sid, "%s", o->sid);
    mark_new(k->mark);
    k->slot = slot_of_tag(k->sid);
    k->queue[KEPT_DOWN] = o->queue[KEPT_DOWN];
    k->queue[KEPT_UP] = o->queue[KEPT_UP];
    k->events = o->events;
    k->ctx = o->ctx;
    k->account = mem_strdup(o->account);
    k->proof = mem_strdup(o->proof);
    k->attached = true;
    k->max = s->o.max;
    k->push_at = k->record_at = -1;
    list_init(&k->link);
    list_append(&s->idle, &k->link);
    map_put(s->kept, slice_str(k->sid), k);
    count_add(s->o.counters, METRIC_store_sessions, 1);
    return k;
}

static void destroy(struct kept *k)
{
    list_remove(&k->link);
    free(k->side[KEPT_DOWN].eras);
    free(k->side[KEPT_UP].eras);
    free(k->account);
    free(k->proof);
    free(k->asker);
    free(k);
}

static void on_timer(void *ctx);

void kept_set_dirty(struct kept *k)
{
    if (k->gone || k->state == KEPT_FENCED)
        return;
    list_remove(&k->link);
    list_append(&k->s->dirty, &k->link);
}

static void set_idle(struct kept *k)
{
    list_remove(&k->link);
    list_append(&k->s->idle, &k->link);
}

void kept_drop_due(struct kept *k)
{
    k->due--;
    if (k->gone && k->due == 0)
        destroy(k);
}

/* For its owner it is gone; it stays while answers are due. */
static void forget(struct kept *k)
{
    struct redis_store *s = k->s;
    k->gone = true;
    kept_count_uncommitted(k);
    count_add(s->o.counters, METRIC_store_sessions, -1);
    timers_cancel(s->o.timers, &k->timer);
    if (map_get(s->kept, slice_str(k->sid)) == k)
        map_remove(s->kept, slice_str(k->sid));
    set_idle(k);
    if (k->due == 0)
        destroy(k);
}

static void free_all_of(struct list *kept)
{
    for (struct list *it; (it = list_first(kept));) {
        struct kept *k = CONTAINER_OF(it, struct kept, link);
        k->due = 0; /* no answers come any more */
        if (k->gone)
            destroy(k);
        else
            forget(k);
    }
}

void kept_free_all(struct redis_store *s)
{
    free_all_of(&s->dirty);
    free_all_of(&s->stalled);
    free_all_of(&s->idle);
}

void kept_count_uncommitted(struct kept *k)
{
    size_t n = 0;
    for (int which = 0; which < 2 && !k->gone; which++) {
        const struct side *d = &k->side[which];
        uint64_t done = d->committed > d->released ? d->committed : d->released;
        if (k->queue[which]->last_number > done)
            n += k->queue[which]->last_number - done;
    }
    count_add(k->s->o.counters, METRIC_store_uncommitted, (int64_t)n - (int64_t)k->uncommitted);
    k->uncommitted = n;
}

/* ---- what its owner is told ---- */

void kept_tell_made(struct kept *k, enum kept_queue which)
{
    static const enum metric commits[] = {[KEPT_DOWN] = METRIC_store_commits_down, [KEPT_UP] = METRIC_store_commits_up};
    struct side *d = &k->side[which];
    if (d->committed <= d->told)
        return;
    count_add(k->s->o.counters, commits[which], (int64_t)(d->committed - d->told));
    d->told = d->committed;
    if (k->events->committed)
        k->events->committed(k->ctx, which, d->told);
}

void kept_tell_committed(struct kept *k, enum kept_queue which, uint64_t upto)
{
    struct side *d = &k->side[which];
    if (upto <= d->committed)
        return;
    d->committed = upto;
    if (d->mark && upto >= d->mark) {
        count_observe(k->s->o.counters, METRIC_store_commit_time, now_mono(k->s) - d->marked_at);
        d->mark = 0;
    }
    kept_count_uncommitted(k);
    if (k->releasing || k->confirming) /* it may have waited for that */
        kept_set_dirty(k);
    kept_tell_made(k, which);
}

void kept_tell_fenced(struct kept *k, const struct redisReply *record)
{
    uint64_t upto = reply_text(record).n ? reply_number(record) : k->side[KEPT_DOWN].committed;
    LOG(LOG_WARN, "session belongs to another node now", LF("sid", k->sid), LF_INT("epoch", k->epoch));
    count(k->s->o.counters, METRIC_store_fenced);
    k->state = KEPT_FENCED;
    timers_cancel(k->s->o.timers, &k->timer);
    set_idle(k);
    if (k->events->fenced)
        k->events->fenced(k->ctx, upto);
}

/* ---- trouble ---- */

void kept_stall(struct kept *k, bool at_once)
{
    if (k->gone || k->state == KEPT_FENCED)
        return;
    if (k->state == KEPT_LIVE)
        k->state = KEPT_STALLED;
    k->release_asked = false;
    k->side[KEPT_DOWN].mark = k->side[KEPT_UP].mark = 0;
    if (at_once) {
        kept_set_dirty(k);
        return;
    }
    list_remove(&k->link);
    list_append(&k->s->stalled, &k->link);
    store_retry_later(k->s);
}

void kept_set_live(struct kept *k)
{
    k->state = KEPT_LIVE;
    k->noting = k->recording = k->record_urgent = true; /* they may be gone, or old */
    k->confirming = true;
    kept_set_dirty(k);
}

/* What redis_resync.c finds out decides; a Redis that is away is asked when it is back. */
static bool answered_well(struct kept *k, enum redis_answer a, const struct redisReply *reply)
{
    if (k->gone || k->state != KEPT_LIVE)
        return false;
    bool refused = a == REDIS_ERROR && slice_starts(reply_text(reply), SLICE_LIT("ERR The ID specified"));
    if (a == REDIS_DONE && !reply_is_nil(reply) && !reply_is(reply_at(reply, 0), "check"))
        return true;
    if (a == REDIS_ERROR && !refused)
        LOG(LOG_WARN, "redis refuses a command", LF("sid", k->sid), LF_SLICE("error", reply_text(reply)));
    kept_stall(k, a == REDIS_DONE || refused);
    return false;
}

/* ---- stanzas and acks ---- */

static void on_append(struct kept *k, enum kept_queue which, enum redis_answer a, const struct redisReply *reply)
{
    if (answered_well(k, a, reply))
        kept_tell_committed(k, which, reply_id(reply).number);
    kept_drop_due(k);
}

static void on_append_down(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    on_append(ctx, KEPT_DOWN, a, reply);
}

static void on_append_up(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    on_append(ctx, KEPT_UP, a, reply);
}

static bool spend(struct budget *b, size_t bytes)
{
    if (b->commands == 0 || b->bytes == 0)
        return false;
    b->commands--;
    b->bytes -= bytes < b->bytes ? bytes : b->bytes;
    return true;
}

static const enum session_key queue_key[] = {[KEPT_DOWN] = KEY_DOWN, [KEPT_UP] = KEY_UP};

/* e NULL: only the number, whose stanza was released before it could be written. NOMKSTREAM: a late writer must not
 * bring back what has expired. */
static void send_append(struct kept *k, enum kept_queue which, uint64_t number, const struct entry *e)
{
    static redis_done_fn *const done[] = {[KEPT_DOWN] = on_append_down, [KEPT_UP] = on_append_up};
    struct side *d = &k->side[which];
    struct buf payload = {0};
    char class = e ? (char)('0' + e->class) : '-';
    struct args a;
    args_begin(&a);
    args_add(&a, SLICE_LIT("XADD"));
    args_session_key(&a, k->sid, queue_key[which]);
    args_add(&a, SLICE_LIT("NOMKSTREAM"));
    args_id(&a, k->epoch, number);
    args_add(&a, slice_of(&class, 1));
    if (e)
        entry_write(k->s, k->sid, e, &payload);
    args_add(&a, buf_slice(&payload));
    if (e && e->origin) {
        args_add(&a, SLICE_LIT("o"));
        args_str(&a, e->origin);
    }
    k->due++;
    d->sent = number;
    if (!d->mark) {
        d->mark = number;
        d->marked_at = now_mono(k->s);
    }
    store_send(k->s, k->slot, &a, done[which], k);
    buf_free(&payload);
}

static bool flush_appends(struct kept *k, enum kept_queue which, struct budget *b)
{
    struct side *d = &k->side[which];
    while (d->released > d->sent) { /* one by one, so that Redis can be asked whether one is missing */
        if (!spend(b, 0))
            return false;
        send_append(k, which, d->sent + 1, NULL);
        if (d->trimmed >= d->sent) /* it is to go, at once */
            d->trimmed = d->sent - 1;
    }
    for (; d->next && !d->next->secret; d->next = d->next->next) {
        if (!spend(b, d->next->n))
            return false;
        send_append(k, which, d->next->number, d->next);
    }
    return true;
}

static void on_trim(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct kept *k = ctx;
    answered_well(k, a, reply);
    kept_drop_due(k);
}

static bool flush_trim(struct kept *k, enum kept_queue which, struct budget *b)
{
    struct side *d = &k->side[which];
    if (d->released <= d->trimmed)
        return true;
    if (!spend(b, 0))
        return false;
    struct stream_id oldest = side_oldest_id(d, k->epoch);
    struct args a;
    args_begin(&a);
    args_add(&a, SLICE_LIT("XTRIM"));
    args_session_key(&a, k->sid, queue_key[which]);
    args_add(&a, SLICE_LIT("MINID"));
    args_id(&a, oldest.epoch, oldest.number);
    k->due++;
    d->trimmed = d->released;
    forget_old_eras(d);
    store_send(k->s, k->slot, &a, on_trim, k);
    return true;
}

/* ---- state, deadline, high-water mark ---- */

/* How much longer than its max the deadline of an attached session lies ahead; it is pushed when half of it is over. */
static usec lease(usec max)
{
    usec half = max / 2;
    return half < LEASE_MIN ? LEASE_MIN : half > LEASE_MAX ? LEASE_MAX : half;
}

usec kept_left_attached(usec max)
{
    return max + lease(max);
}

usec kept_left(const struct kept *k)
{
    if (k->attached)
        return kept_left_attached(k->max);
    usec left = k->left - (now_mono(k->s) - k->detached_at);
    return (left > 0 ? left : 0) + OWNER_FIRST;
}

/* A little ahead of the deadline, for clocks that do not go alike. */
void kept_ask_lease(struct kept *k, usec sent, usec left)
{
    k->silent_asked = sent + left - left / 16;
}

void kept_tell_lease(struct kept *k)
{
    if (!k->gone && k->events->leased)
        k->events->leased(k->ctx, k->silent_asked);
}

/* When the newest word on it is committed; if Redis has lost something, also when this node has vouched for it, and
 * whoever may have claimed the session before has had the time to come back. */
static void tell_attached(struct kept *k)
{
    if (!k->attached || k->attached_told || k->noting || k->notes_due || k->confirming || now_mono(k->s) < k->calm_at)
        return;
    k->attached_told = true;
    if (k->events->attached)
        k->events->attached(k->ctx);
}

static void on_note(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct kept *k = ctx;
    k->notes_due--;
    if (answered_well(k, a, reply)) {
        k->calm_at = now_mono(k->s) + (usec)reply_number(reply_at(reply, 2)) * USEC_MS;
        if (k->calm_at > now_mono(k->s)) /* for the timer */
            kept_set_dirty(k);
        if (!k->notes_due)
            kept_tell_lease(k);
        tell_attached(k);
        uint64_t reserved = reply_number(reply_at(reply, 1));
        if (!k->gone && reserved > k->high_water) {
            k->high_water = reserved;
            if (k->events->reserved)
                k->events->reserved(k->ctx, reserved);
        }
    }
    kept_drop_due(k);
}

/* Redis holds again all that its owner was ever told. */
static bool has_caught_up(const struct kept *k)
{
    for (int which = 0; which < 2; which++) {
        const struct side *d = &k->side[which];
        if (d->committed < d->told && d->released < d->told)
            return false;
    }
    return true;
}

static void send_note(struct kept *k, const char *state, redis_done_fn *done)
{
    bool confirm = has_caught_up(k);
    usec left = kept_left(k);
    struct buf account = {0}, proof = {0};
    struct args a;
    if (k->resealing) {
        store_seal(k->s, k->sid, slice_str(k->account), &account);
        store_seal(k->s, k->sid, slice_str(k->proof), &proof);
    }
    args_begin(&a);
    args_session_keys(&a, k->sid, KEY_ACCOUNT + 1);
    args_number(&a, (int64_t)k->epoch);
    args_number(&a, ++k->serial);
    args_number(&a, ttl_with_jitter(left + k->s->o.mailbox_ttl));
    args_number(&a, to_ms(left));
    args_str(&a, state);
    args_number(&a, k->attached ? 0 : to_ms(k->detached_wall));
    args_number(&a, to_ms(k->max));
    args_number(&a, (int64_t)k->high_water_asked);
    args_str(&a, k->sid);
    args_add(&a, account.n ? buf_slice(&account) : SLICE_LIT(""));
    args_add(&a, proof.n ? buf_slice(&proof) : SLICE_LIT(""));
    args_str(&a, confirm ? "1" : "0");
    args_str(&a, k->s->o.waits ? "1" : "0");
    args_number(&a, to_ms(k->s->o.settle));
    k->due++;
    k->notes_due++;
    k->noting = k->resealing = false;
    k->confirming &= !confirm;
    kept_ask_lease(k, now_mono(k->s), left);
    k->push_at = k->attached ? now_mono(k->s) + lease(k->max) / 2 : -1;
    store_eval(k->s, k->slot, SCRIPT_NOTE, KEY_ACCOUNT + 1, &a, done, k);
    store_set_deadline(k->s, k->sid, left);
    buf_free(&account);
    buf_free(&proof);
}

static bool flush_note(struct kept *k, struct budget *b)
{
    uint64_t last = k->queue[KEPT_DOWN]->last_number;
    if (k->high_water_asked < last + KEPT_BLOCK / 2) {
        k->high_water_asked = last + KEPT_BLOCK;
        k->noting = true;
    }
    k->noting |= k->confirming && has_caught_up(k);
    if (!k->noting)
        return true;
    if (!spend(b, 0))
        return false;
    send_note(k, k->attached ? "a" : "d", on_note);
    return true;
}

/* ---- the record ---- */

static void on_record(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct kept *k = ctx;
    answered_well(k, a, reply);
    kept_drop_due(k);
}

static bool flush_record(struct kept *k, struct budget *b)
{
    if (!k->recording || (!k->record_urgent && k->record_at > now_mono(k->s)))
        return true;
    struct buf plain = {0}, sealed = {0};
    if (k->events->record)
        k->events->record(k->ctx, &plain);
    if (!spend(b, plain.n)) {
        buf_free(&plain);
        return false;
    }
    store_seal(k->s, k->sid, buf_slice(&plain), &sealed);
    struct args a;
    args_begin(&a);
    args_session_keys(&a, k->sid, KEY_RECORD + 1);
    args_number(&a, (int64_t)k->epoch);
    args_number(&a, ++k->serial);
    args_add(&a, sealed.n ? buf_slice(&sealed) : SLICE_LIT(""));
    k->due++;
    k->recording = k->record_urgent = false;
    k->record_at = -1;
    store_eval(k->s, k->slot, SCRIPT_RECORD, KEY_RECORD + 1, &a, on_record, k);
    buf_free(&plain);
    buf_free(&sealed);
    return true;
}

/* ---- letting it go ---- */

static void publish(struct redis_store *s, const char *node, const char *word, const char *sid)
{
    char *channel = mem_printf("hf:n:%s", node);
    store_publish(s, channel, word, sid);
    free(channel);
}

static void on_released(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct kept *k = ctx;
    k->notes_due--;
    if (answered_well(k, a, reply)) {
        if (k->asker)
            publish(k->s, k->asker, "released", k->sid);
        void (*released)(void *) = k->released;
        void *released_ctx = k->released_ctx;
        forget(k); /* stays until the last lines: this answer is due */
        released(released_ctx);
    }
    kept_drop_due(k);
}

/* What is not, and never will be, begins with a stanza that is secret: the client sends it again. */
static bool all_committed(const struct kept *k)
{
    for (int which = 0; which < 2; which++) {
        const struct side *d = &k->side[which];
        if ((d->next && !d->next->secret) || d->committed < d->sent)
            return false;
    }
    return true;
}

static bool flush_release(struct kept *k, struct budget *b)
{
    if (!k->releasing || k->release_asked || k->recording || !all_committed(k))
        return true;
    if (!spend(b, 0))
        return false;
    k->release_asked = true;
    send_note(k, "r", on_released);
    return true;
}

/* ---- the turn ---- */

static void on_timer(void *ctx)
{
    struct kept *k = ctx;
    if (k->push_at >= 0 && k->push_at <= now_mono(k->s))
        k->noting = true;
    kept_set_dirty(k);
}

static void arm(struct kept *k)
{
    usec at = k->recording ? k->record_at : -1;
    if (k->push_at >= 0 && (at < 0 || k->push_at < at))
        at = k->push_at;
    if (k->attached && !k->attached_told && k->calm_at > now_mono(k->s) && (at < 0 || k->calm_at < at))
        at = k->calm_at;
    k->timer.fire = on_timer;
    k->timer.ctx = k;
    if (at >= 0)
        timers_arm(k->s->o.timers, &k->timer, at);
}

bool kept_flush(struct kept *k, struct budget *b)
{
    if (k->gone || k->asked)
        return true;
    if (k->state == KEPT_MAKING || k->state == KEPT_STALLED) {
        if (!spend(b, 0))
            return false;
        (k->state == KEPT_MAKING ? resync_make : resync_check)(k);
        return true;
    }
    if (k->state != KEPT_LIVE)
        return true;
    for (int which = 0; k->rewind && which < 2; which++)
        side_find_next(&k->side[which], k->queue[which]);
    k->rewind = false;
    tell_attached(k);
    bool all = flush_note(k, b) && flush_record(k, b);
    for (int which = 0; all && which < 2; which++)
        all = flush_appends(k, (enum kept_queue)which, b);
    for (int which = 0; all && which < 2; which++)
        all = flush_trim(k, (enum kept_queue)which, b);
    all = all && flush_release(k, b);
    arm(k);
    return all;
}

/* ---- what its owner says ---- */

static struct kept *open_kept(struct store *store, const struct kept_origin *o)
{
    struct kept *k = kept_new(redis_store_self(store), o);
    for (int which = 0; which < 2; which++) { /* what has left its queue before is nothing to tell */
        const struct queue *q = k->queue[which];
        k->side[which].told = q->first ? q->first->number - 1 : q->last_number;
    }
    k->recording = k->record_urgent = true;
    kept_set_dirty(k);
    return k;
}

static void appended(struct kept *k, enum kept_queue which)
{
    struct side *d = &k->side[which];
    if (!d->next)
        d->next = k->queue[which]->last;
    kept_count_uncommitted(k);
    if (k->state == KEPT_LIVE)
        kept_set_dirty(k);
}

static void releasing(struct kept *k, enum kept_queue which, uint64_t upto)
{
    struct side *d = &k->side[which];
    if (upto <= d->released)
        return;
    d->released = upto;
    while (d->next && d->next->number <= upto)
        d->next = d->next->next;
    kept_count_uncommitted(k);
    if (k->state == KEPT_LIVE)
        kept_set_dirty(k);
}

static void changed(struct kept *k, bool urgent)
{
    if (!k->recording)
        k->record_at = now_mono(k->s) + RECORD_DELAY;
    k->recording = true;
    k->record_urgent |= urgent;
    if (k->state == KEPT_LIVE)
        kept_set_dirty(k);
}

static void note(struct kept *k)
{
    k->noting = true;
    if (k->state == KEPT_LIVE)
        kept_set_dirty(k);
}

static void attached(struct kept *k, usec max)
{
    k->attached = true;
    k->attached_told = false;
    k->max = max;
    note(k);
}

static void detached(struct kept *k, usec left)
{
    k->attached = false;
    k->left = left;
    k->detached_at = now_mono(k->s);
    k->detached_wall = k->s->o.clock->wall;
    note(k);
}

static bool reseal(void *ctx, struct slice sid, void *value)
{
    struct kept *k = value;
    (void)ctx;
    (void)sid;
    if (k->release_asked) /* its last word is under way */
        return true;
    k->noting = k->recording = k->record_urgent = k->resealing = true;
    if (k->state == KEPT_LIVE)
        kept_set_dirty(k);
    return true;
}

void redis_store_reseal(struct redis_store *s)
{
    map_each(s->kept, reseal, NULL);
}

static void end(struct kept *k, const struct tombstone *t, struct entry *mail, struct entry *out)
{
    end_begin(k, t, mail, out);
    forget(k);
}

static void spill(struct kept *k, struct entry *mail)
{
    spill_begin(k->s, k->sid, k->mark, k->epoch, &k->side[KEPT_DOWN], mail);
    forget(k);
}

static void release(struct kept *k, void (*done)(void *ctx), void *ctx)
{
    k->releasing = true;
    k->released = done;
    k->released_ctx = ctx;
    k->record_urgent = k->recording;
    if (k->state == KEPT_LIVE)
        kept_set_dirty(k);
}

void kept_release_asked(struct store *store, const char *sid, const char *node)
{
    struct redis_store *s = redis_store_self(store);
    publish(s, node, "release", sid);
}

void kept_told(struct redis_store *s, struct slice message)
{
    char word[16], sid[SID_SIZE], node[256];
    char *text = mem_dup(message);
    int n = sscanf(text, "%15s %48s %255s", word, sid, node);
    free(text);
    if (n != 3)
        return;
    struct kept *k = map_get(s->kept, slice_str(sid));
    if (strcmp(word, "release") == 0 && k && k->state != KEPT_FENCED) {
        free(k->asker);
        k->asker = mem_strdup(node);
        if (k->events->asked_to_release)
            k->events->asked_to_release(k->ctx);
    } else if (strcmp(word, "released") == 0 && s->o.released) {
        s->o.released(s->o.ctx, sid);
    } else if (strcmp(word, "mail") == 0 && s->o.mail && s->o.heartbeat) {
        s->o.mail(s->o.ctx, sid);
    }
}

const struct kept_ops redis_kept_ops = {
    .open = open_kept,
    .appended = appended,
    .releasing = releasing,
    .changed = changed,
    .attached = attached,
    .detached = detached,
    .end = end,
    .spill = spill,
    .release = release,
    .free = forget,
    .look = claim_look,
    .claim = claim_begin,
    .ask_release = kept_release_asked,
};
