/* The end of a session by its owner: a job, so that no outage loses it. Each call of the script takes some messages out
 * of the queues and puts them into their boxes; the last one puts the tombstone and removes the rest. */
#include "base/log.h"
#include "base/mem.h"
#include "redis_impl.h"

#define PART_COUNT 100
#define PART_BYTES ((size_t)512 * 1024)

struct ending {
    struct job job;
    char sid[SID_SIZE], mark[MARK_SIZE];
    uint64_t epoch, committed; /* of the unacked queue */
    struct side side[2];
    struct buf tombstone;          /* sealed */
    struct entry *chain[BOXES];    /* what is left, oldest first */
    struct entry *part_end[BOXES]; /* the first that is not in the part under way */
    unsigned part;
    bool last;
};

static void free_chain(struct redis_store *s, enum store_box kind, struct entry *e, struct entry *end)
{
    for (struct entry *next; e != end; e = next) {
        next = e->next;
        if (e->origin)
            free(box_take_token(s, kind, slice_str(e->origin)));
        entry_free(e);
    }
}

static void release_ending(struct job *j)
{
    struct ending *x = CONTAINER_OF(j, struct ending, job);
    for (int kind = 0; kind < BOXES; kind++) {
        free_chain(j->s, (enum store_box)kind, x->chain[kind], NULL);
        free(x->side[kind].eras);
    }
    buf_free(&x->tombstone);
    free(x);
}

/* Somebody else has the session. What that one has not taken is in here alone. */
static void spill(struct ending *x, const struct redisReply *record)
{
    uint64_t taken = reply_text(record).n ? reply_number(record) : x->committed;
    struct entry *first = x->chain[BOX_MAIL];
    while (first && first->number <= taken)
        first = first->next;
    free_chain(x->job.s, BOX_MAIL, x->chain[BOX_MAIL], first);
    x->chain[BOX_MAIL] = NULL;
    spill_begin(x->job.s, x->sid, x->mark, x->epoch, &x->side[BOX_MAIL], first);
}

static void send_part(struct job *j);

static void on_part(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct ending *x = ctx;
    struct redis_store *s = x->job.s;
    if (!job_answered(&x->job, a, reply))
        return;
    if (reply_is(reply_at(reply, 0), "fenced")) {
        LOG(LOG_WARN, "session that ended belongs to another node", LF("sid", x->sid));
        count(s->o.counters, METRIC_store_fenced);
        spill(x, reply_at(reply, 1));
        job_done(&x->job);
        return;
    }
    for (int kind = 0; kind < BOXES; kind++) {
        box_count_all(s, (enum store_box)kind, x->sid, reply_at(reply, 1 + (size_t)kind));
        free_chain(s, (enum store_box)kind, x->chain[kind], x->part_end[kind]);
        x->chain[kind] = x->part_end[kind];
    }
    if (x->last) {
        store_set_deadline(s, x->sid, -1);
        job_done(&x->job);
    } else {
        x->part++;
        send_part(&x->job);
    }
}

/* The payloads of a part lie in one buffer, which grows: their places are taken when it is complete. */
struct part {
    struct buf bytes;
    size_t at[PART_COUNT + 1], count;
    const struct entry *entry[PART_COUNT];
    enum store_box kind[PART_COUNT];
};

static void choose(struct ending *x, struct part *p)
{
    for (int kind = 0; kind < BOXES; kind++) {
        struct entry *e = x->chain[kind];
        for (; e && p->count < PART_COUNT && p->bytes.n < PART_BYTES; e = e->next) {
            p->entry[p->count] = e;
            p->kind[p->count] = (enum store_box)kind;
            p->at[p->count++] = p->bytes.n;
            entry_write(x->job.s, x->sid, e, &p->bytes);
        }
        x->part_end[kind] = e;
    }
    p->at[p->count] = p->bytes.n;
    x->last = !x->part_end[BOX_MAIL] && !x->part_end[BOX_OUT];
}

/* Up to the last message of the part all has met its fate. */
static void add_trim(struct ending *x, struct args *a, const struct part *p, enum store_box kind)
{
    struct side *d = &x->side[kind];
    for (size_t i = 0; i < p->count; i++)
        if (p->kind[i] == kind && p->entry[i]->number > d->released)
            d->released = p->entry[i]->number;
    struct stream_id oldest = side_oldest_id(d, x->epoch);
    args_id(a, oldest.epoch, oldest.number);
}

static void send_part(struct job *j)
{
    struct ending *x = CONTAINER_OF(j, struct ending, job);
    struct part p = {.count = 0};
    char *origin[PART_COUNT], class[PART_COUNT];
    struct args a;
    choose(x, &p);
    args_begin(&a);
    args_session_keys(&a, x->sid, SESSION_KEYS);
    args_number(&a, (int64_t)x->epoch);
    args_str(&a, x->mark);
    args_number(&a, x->part);
    args_str(&a, x->last ? "1" : "0");
    add_trim(x, &a, &p, BOX_MAIL);
    add_trim(x, &a, &p, BOX_OUT);
    args_add(&a, buf_slice(&x->tombstone));
    args_number(&a, ttl_with_jitter(j->s->o.tombstone_ttl));
    args_str(&a, x->sid);
    args_number(&a, (int64_t)p.count);
    for (size_t i = 0; i < p.count; i++) {
        origin[i] = entry_origin(p.entry[i], x->sid, p.kind[i], &x->side[p.kind[i]], x->epoch);
        class[i] = (char)('0' + p.entry[i]->class);
        args_str(&a, p.kind[i] == BOX_MAIL ? "mail" : "out");
        args_str(&a, origin[i]);
        args_add(&a, slice_of(&class[i], 1));
        args_add(&a, slice_of(buf_slice(&p.bytes).p + p.at[i], p.at[i + 1] - p.at[i]));
    }
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_END, SESSION_KEYS, &a, on_part, x);
    for (size_t i = 0; i < p.count; i++)
        free(origin[i]);
    buf_free(&p.bytes);
}

static size_t cost_of(const struct entry *e)
{
    size_t n = 0;
    for (; e; e = e->next)
        n += entry_cost(e->n);
    return n;
}

/* What may not be given to a store has no box either. */
static struct entry *without_secrets(struct entry *first)
{
    for (struct entry **p = &first; *p;) {
        struct entry *e = *p;
        if (!e->secret) {
            p = &e->next;
            continue;
        }
        *p = e->next;
        entry_free(e);
    }
    return first;
}

_Static_assert((int)KEPT_DOWN == (int)BOX_MAIL && (int)KEPT_UP == (int)BOX_OUT, "a queue and its box have one number");

void end_begin(struct kept *k, const struct tombstone *t, struct entry *mail, struct entry *out)
{
    struct ending *x = MEM_NEW(struct ending);
    mail = without_secrets(mail);
    out = without_secrets(out);
    x->job = (struct job){.send = send_part,
                          .release = release_ending,
                          .slot = k->slot,
                          .cost = sizeof *x + cost_of(mail) + cost_of(out),
                          .ends = true};
    memcpy(x->sid, k->sid, SID_SIZE);
    memcpy(x->mark, k->mark, MARK_SIZE);
    x->epoch = k->epoch;
    x->committed = k->side[KEPT_DOWN].committed;
    for (int which = 0; which < 2; which++) {
        x->side[which] = k->side[which];
        k->side[which].eras = NULL; /* they go along */
        k->side[which].era_count = 0;
    }
    x->chain[BOX_MAIL] = mail;
    x->chain[BOX_OUT] = out;
    x->part = 1;
    tombstone_write(k->s, k->sid, t, x->mark, &x->tombstone);
    job_start(k->s, &x->job);
}
