/* Tombstones, and all that is removed with an account. */
#include "base/mem.h"
#include "redis_impl.h"
#include <inttypes.h>
#include <stdio.h>

/* ---- as text ---- */

/* "H REASON MARK ACCOUNT-BYTES PROOF-BYTES\n", account, proof, resent; each of them sealed. Scripts write it too,
 * without PROOF-BYTES and what is behind the proof, and a line ahead of it. */
void tombstone_write(const struct redis_store *s, const char *sid, const struct tombstone *t, const char *mark,
                     struct buf *out)
{
    struct buf sealed = {0};
    store_seal(s, sid, slice_str(t->account), &sealed);
    size_t account_n = sealed.n;
    store_seal(s, sid, slice_str(t->proof), &sealed);
    buf_printf(out, "%" PRIu64 " %s %s %zu %zu\n", t->h, t->reason && *t->reason ? t->reason : "-", mark, account_n,
               sealed.n - account_n);
    buf_add(out, buf_slice(&sealed));
    store_seal(s, sid, t->resent, out);
    buf_free(&sealed);
}

struct grave {
    struct tombstone t;
    char reason[64];
    char *account, *proof; /* proof NULL: none */
    struct buf resent;
};

static bool tombstone_read(const struct redis_store *s, const char *sid, struct slice text, struct grave *g)
{
    struct buf account = {0}, proof = {0};
    size_t n = 0, proof_n = SIZE_MAX;
    const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL; /* of the scripts' own line */
    if (!end)
        return false;
    text = slice_skip(text, (size_t)(end - text.p) + 1);
    end = text.n ? memchr(text.p, '\n', text.n) : NULL;
    if (!end)
        return false;
    char *line = mem_dup(slice_of(text.p, (size_t)(end - text.p)));
    bool good = sscanf(line, "%" SCNu64 " %63s %*s %zu %zu", &g->t.h, g->reason, &n, &proof_n) >= 3;
    free(line);
    struct slice rest = slice_skip(text, (size_t)(end - text.p) + 1);
    if (!good || n > rest.n)
        return false;
    struct slice behind = slice_skip(rest, n);
    proof_n = proof_n < behind.n ? proof_n : behind.n;
    good = store_open(s, sid, slice_of(rest.p, n), &account) == OPENED &&
           store_open(s, sid, slice_of(behind.p, proof_n), &proof) == OPENED &&
           store_open(s, sid, slice_skip(behind, proof_n), &g->resent) == OPENED;
    g->account = buf_steal(&account);
    g->proof = proof.n ? buf_steal(&proof) : NULL;
    buf_free(&proof);
    g->t.account = g->account;
    g->t.proof = g->proof;
    g->t.reason = g->reason;
    g->t.resent = buf_slice(&g->resent);
    return good;
}

/* ---- put ---- */

struct burial {
    struct job job;
    char sid[SID_SIZE];
    struct buf text;
};

static void release_burial(struct job *j)
{
    struct burial *b = CONTAINER_OF(j, struct burial, job);
    buf_free(&b->text);
    free(b);
}

static void on_buried(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct burial *b = ctx;
    if (job_answered(&b->job, a, reply))
        job_done(&b->job);
}

static void send_burial(struct job *j)
{
    struct burial *b = CONTAINER_OF(j, struct burial, job);
    struct args a;
    args_begin(&a);
    args_session_keys(&a, b->sid, KEY_GRAVES + 1);
    args_str(&a, b->sid);
    args_add(&a, buf_slice(&b->text));
    args_number(&a, ttl_with_jitter(j->s->o.tombstone_ttl));
    store_eval(j->s, j->slot, SCRIPT_BURY, KEY_GRAVES + 1, &a, on_buried, b);
}

void tombstone_put(struct store *store, const char *sid, const struct tombstone *t)
{
    struct redis_store *s = redis_store_self(store);
    struct burial *b = MEM_NEW(struct burial);
    char mark[MARK_SIZE];
    mark_new(mark);
    snprintf(b->sid, sizeof b->sid, "%s", sid);
    tombstone_write(s, sid, t, mark, &b->text);
    b->job = (struct job){
        .send = send_burial, .release = release_burial, .slot = slot_of_tag(sid), .cost = sizeof *b + b->text.n};
    job_start(s, &b->job);
}

/* ---- get ---- */

struct visit {
    struct job job;
    char sid[SID_SIZE];
    char *account, *proof;
    store_tombstone_fn *done;
    void *ctx;
};

static void answer_visit(struct visit *v, const struct tombstone *t)
{
    if (v->done)
        v->done(v->ctx, t);
    v->done = NULL;
}

static void release_visit(struct job *j)
{
    struct visit *v = CONTAINER_OF(j, struct visit, job);
    answer_visit(v, NULL);
    free(v->account);
    free(v->proof);
    free(v);
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Of a session that was reaped the full JID is known. */
static bool is_account(const char *account, const char *jid)
{
    return account && jid && slice_eq_str(slice_of(jid, strcspn(jid, "/")), account);
}

static void on_visit(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct visit *v = ctx;
    struct grave g = {0};
    if (a == REDIS_DONE && !reply_is_nil(reply) && tombstone_read(v->job.s, v->sid, reply_text(reply), &g) &&
        (is_account(v->account, g.account) || same(v->proof, g.proof)))
        answer_visit(v, &g.t);
    free(g.account);
    free(g.proof);
    buf_free(&g.resent);
    job_done(&v->job);
}

static void send_visit(struct job *j)
{
    struct visit *v = CONTAINER_OF(j, struct visit, job);
    struct args a;
    args_begin(&a);
    args_str(&a, "GET");
    args_session_key(&a, v->sid, KEY_TOMBSTONE);
    store_send(j->s, j->slot, &a, on_visit, v);
}

void tombstone_get(struct store *store, const char *sid, const char *account, const char *proof,
                   store_tombstone_fn *done, void *ctx)
{
    struct visit *v = MEM_NEW(struct visit);
    v->job = (struct job){.send = send_visit, .release = release_visit, .slot = slot_of_tag(sid), .cost = sizeof *v};
    snprintf(v->sid, sizeof v->sid, "%s", sid);
    v->account = mem_strdup(account);
    v->proof = mem_strdup(proof);
    v->done = done;
    v->ctx = ctx;
    job_start(redis_store_self(store), &v->job);
}

/* ---- purge ---- */

/* Tombstones first, then box by box, a page at a time. Not repeated: who asked is told what was removed. */
struct purging {
    struct job job;
    char tag[TAG_SIZE];
    int kind;
    char *from;
    struct store_purged purged;
    store_purge_fn *done;
    void *ctx;
};

static void release_purging(struct job *j)
{
    struct purging *p = CONTAINER_OF(j, struct purging, job);
    if (p->done)
        p->done(p->ctx, &p->purged);
    free(p->from);
    free(p);
}

static void send_page(struct purging *p);

static void on_purged(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct purging *p = ctx;
    if (a != REDIS_DONE || reply_count(reply) == 0) {
        job_done(&p->job);
        return;
    }
    struct slice next = reply_text(reply_at(reply, 2));
    box_count_all(p->job.s, (enum store_box)p->kind, NULL, reply_at(reply, 1));
    p->purged.messages += (size_t)reply_number(reply_at(reply_at(reply, 1), BOX_COUNT_PURGED));
    p->purged.bytes += (size_t)reply_number(reply_at(reply, 3));
    p->purged.lent += (size_t)reply_number(reply_at(reply, 4));
    free(p->from);
    p->from = next.n ? mem_dup(next) : mem_strdup("-");
    if (!next.n)
        p->kind++;
    if (p->kind < BOXES)
        send_page(p);
    else
        job_done(&p->job);
}

static void send_page(struct purging *p)
{
    struct args a;
    args_begin(&a);
    args_account_key(&a, p->tag, p->kind == BOX_MAIL ? KEY_MAIL : KEY_OUT);
    args_account_key(&a, p->tag, p->kind == BOX_MAIL ? KEY_MAIL_INDEX : KEY_OUT_INDEX);
    args_str(&a, p->from);
    args_number(&a, PAGE);
    box_add_limits(p->job.s, &a);
    store_eval(p->job.s, p->job.slot, SCRIPT_PURGE, 2, &a, on_purged, p);
}

static void on_removed(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct purging *p = ctx;
    if (a == REDIS_DONE)
        p->purged.tombstones += (size_t)reply_number(reply);
}

static void on_graves(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct purging *p = ctx;
    struct args del;
    for (size_t i = 0; a == REDIS_DONE && i < reply_count(reply); i++) {
        char *sid = mem_dup(reply_text(reply->element[i]));
        args_begin(&del);
        args_str(&del, "DEL");
        args_session_key(&del, sid, KEY_TOMBSTONE);
        store_send(p->job.s, p->job.slot, &del, on_removed, p); /* answered ahead of the last page */
        free(sid);
    }
    if (a != REDIS_DONE) {
        job_done(&p->job);
        return;
    }
    args_begin(&del);
    args_str(&del, "DEL");
    args_account_key(&del, p->tag, KEY_GRAVES);
    store_send(p->job.s, p->job.slot, &del, NULL, NULL);
    send_page(p);
}

static void send_purge(struct job *j)
{
    struct purging *p = CONTAINER_OF(j, struct purging, job);
    struct args a;
    args_begin(&a);
    args_str(&a, "ZRANGE");
    args_account_key(&a, p->tag, KEY_GRAVES);
    args_str(&a, "0");
    args_str(&a, "-1");
    store_send(j->s, j->slot, &a, on_graves, p);
}

void purge(struct store *store, struct slice account, store_purge_fn *done, void *ctx)
{
    struct redis_store *s = redis_store_self(store);
    struct purging *p = MEM_NEW(struct purging);
    p->job = (struct job){.send = send_purge, .release = release_purging, .cost = sizeof *p};
    s->o.tag_of(s->o.ctx, account, p->tag);
    p->job.slot = slot_of_tag(p->tag);
    p->from = mem_strdup("-");
    p->done = done;
    p->ctx = ctx;
    job_start(s, &p->job);
}
