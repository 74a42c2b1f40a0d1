/* What a fenced owner alone has goes to the account's mailbox: a job, so that no outage loses it. The script notes up
 * to where it has come beside what the claim recorded of this owner: a part that is repeated, because its answer was
 * lost, may find its entries delivered already. */
#include "base/mem.h"
#include "redis_impl.h"
#include <inttypes.h>
#include <stdio.h>

#define PART_COUNT 100
#define PART_BYTES ((size_t)512 * 1024)

struct spilling {
    struct job job;
    char sid[SID_SIZE], mark[MARK_SIZE];
    uint64_t epoch;
    struct side down;
    struct entry *first;    /* what is left, oldest first */
    struct entry *part_end; /* the first that is not in the part under way */
};

static void free_upto(struct spilling *x, const struct entry *end)
{
    for (struct entry *next; x->first != end; x->first = next) {
        next = x->first->next;
        entry_free(x->first);
    }
}

static void release_spilling(struct job *j)
{
    struct spilling *x = CONTAINER_OF(j, struct spilling, job);
    free_upto(x, NULL);
    free(x->down.eras);
    free(x);
}

static void send_part(struct job *j);

static void on_part(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct spilling *x = ctx;
    if (!job_answered(&x->job, a, reply))
        return;
    box_count_all(x->job.s, BOX_MAIL, x->sid, reply_at(reply, 1));
    free_upto(x, x->part_end);
    if (x->first)
        send_part(&x->job);
    else
        job_done(&x->job);
}

/* What one entry takes beside its payload; the payloads lie in one buffer, which grows. */
struct item {
    char number[24], class;
    char *origin;
    size_t at, n;
};

static size_t choose(struct spilling *x, struct item *item, struct buf *bytes)
{
    size_t count = 0;
    struct entry *e = x->first;
    for (; e && count < PART_COUNT && bytes->n < PART_BYTES; e = e->next) {
        struct item *i = &item[count++];
        snprintf(i->number, sizeof i->number, "%" PRIu64, e->number);
        i->class = (char)('0' + e->class);
        i->origin = entry_origin(e, x->sid, BOX_MAIL, &x->down, x->epoch);
        i->at = bytes->n;
        entry_write(x->job.s, x->sid, e, bytes);
        i->n = bytes->n - i->at;
    }
    x->part_end = e;
    return count;
}

static void send_part(struct job *j)
{
    struct spilling *x = CONTAINER_OF(j, struct spilling, job);
    struct item item[PART_COUNT];
    struct buf bytes = {0};
    struct args a;
    size_t count = choose(x, item, &bytes);
    args_begin(&a);
    args_session_keys(&a, x->sid, KEY_MAIL_INDEX + 1);
    args_str(&a, x->mark);
    args_number(&a, (int64_t)count);
    for (size_t i = 0; i < count; i++) {
        args_str(&a, item[i].number);
        args_str(&a, item[i].origin);
        args_add(&a, slice_of(&item[i].class, 1));
        args_add(&a, slice_of(buf_slice(&bytes).p + item[i].at, item[i].n));
    }
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_SPILL, KEY_MAIL_INDEX + 1, &a, on_part, x);
    for (size_t i = 0; i < count; i++)
        free(item[i].origin);
    buf_free(&bytes);
}

/* What the mailbox has lent to the session goes back to where it is, and lies in no queue to be noted. */
static struct entry *give_back_lent(struct redis_store *s, const char *sid, struct entry *first)
{
    for (struct entry **p = &first; *p;) {
        struct entry *e = *p;
        if (!e->origin) {
            p = &e->next;
            continue;
        }
        *p = e->next;
        e->next = NULL;
        box_give_back(s, BOX_MAIL, sid, e);
    }
    return first;
}

void spill_begin(struct redis_store *s, const char *sid, const char *mark, uint64_t epoch, struct side *down,
                 struct entry *first)
{
    first = give_back_lent(s, sid, first);
    if (!first)
        return;
    struct spilling *x = MEM_NEW(struct spilling);
    x->job = (struct job){.send = send_part, .release = release_spilling, .slot = slot_of_tag(sid), .cost = sizeof *x};
    memcpy(x->sid, sid, SID_SIZE);
    memcpy(x->mark, mark, MARK_SIZE);
    x->epoch = epoch;
    x->down = *down;
    down->eras = NULL;
    down->era_count = 0;
    x->first = first;
    for (const struct entry *e = first; e; e = e->next)
        x->job.cost += entry_cost(e->n);
    job_start(s, &x->job);
}
