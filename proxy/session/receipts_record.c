/* Receipts in the record of a session. */
#include "receipts_impl.h"
#include "record.h"

#define SENT_KEPT 32 /* of those that are remembered */

/* Whoever goes on with the session does so for a client that is back: that a message waits for it is no news then. */
static bool is_kept(const struct request *req)
{
    return req->kinds != RECEIPT_OFFLINE;
}

static int64_t count_kept(const struct requests *l)
{
    int64_t n = 0;
    for (const struct request *req = l->first; req; req = req->next)
        n += is_kept(req);
    return n;
}

static void save_all(const struct requests *l, struct buf *out)
{
    for (const struct request *req = l->first; req; req = req->next) {
        if (!is_kept(req))
            continue;
        record_text(out, request_from(req));
        record_text(out, request_id(req));
        record_number(out, req->kinds);
        record_number(out, req->type);
        record_number(out, req->no_copy);
        record_number(out, req->no_archive);
    }
}

/* The key goes along: the hashes were made with it. */
static void save_sent(const struct receipts *r, struct buf *out)
{
    uint64_t n = !r->sent ? 0 : r->last < SENT_KEPT ? r->last : SENT_KEPT;
    record_text(out, slice_str(r->tag));
    for (int i = 0; i < 2; i++)
        record_number(out, (int64_t)r->seed.word[i]);
    record_number(out, (int64_t)r->last);
    record_number(out, (int64_t)n);
    for (uint64_t i = r->last - n + 1; i <= r->last; i++) {
        const struct sent *sent = &r->sent[i % SENT_MAX];
        record_number(out, (int64_t)sent->full);
        record_number(out, (int64_t)sent->bare);
        record_number(out, (int64_t)sent->to);
        record_number(out, sent->kind);
    }
}

void receipts_save(const struct session *s, struct buf *out)
{
    const struct receipts *r = s->receipts;
    record_number(out, r != NULL);
    if (!r)
        return;
    record_number(out, r->own);
    save_sent(r, out);
    record_number(out, count_kept(&r->written) + count_kept(&r->due));
    save_all(&r->written, out);
    save_all(&r->due, out);
}

/* ---- back ---- */

static unsigned take_kinds(struct record_reader *in)
{
    int64_t kinds = record_take_number(in);
    in->bad |= kinds < 0 || kinds >= 1 << RECEIPT_KINDS;
    return in->bad ? 0 : (unsigned)kinds;
}

static void load_sent(struct session *s, struct record_reader *in)
{
    struct receipts *r = s->receipts;
    struct slice tag = record_take_text(in);
    in->bad |= tag.n != sizeof r->tag - 1;
    if (!in->bad)
        memcpy(r->tag, tag.p, tag.n);
    for (int i = 0; i < 2; i++)
        r->seed.word[i] = (uint64_t)record_take_number(in);
    r->last = (uint64_t)record_take_number(in);
    size_t n = record_take_count(in);
    in->bad |= n > SENT_KEPT || n > r->last;
    for (uint64_t i = r->last - n + 1; !in->bad && i <= r->last; i++) {
        struct sent *sent = &receipts_sent(s)[i % SENT_MAX];
        sent->full = (uint64_t)record_take_number(in);
        sent->bare = (uint64_t)record_take_number(in);
        sent->to = (uint64_t)record_take_number(in);
        sent->kind = take_kinds(in);
    }
}

static void load_due(struct session *s, struct record_reader *in)
{
    struct receipt asked = {.to = record_take_text(in)};
    asked.id = record_take_text(in);
    asked.kinds = take_kinds(in);
    int64_t type = record_take_number(in);
    asked.no_copy = record_take_number(in);
    asked.no_archive = record_take_number(in);
    in->bad |= type < RECEIPT_NO_TYPE || type > RECEIPT_HEADLINE || !(asked.kinds & RECEIPT_OF_CLIENT) || !asked.to.n ||
               asked.to.n > FROM_MAX || !asked.id.n || asked.id.n > ID_MAX;
    if (in->bad)
        return;
    asked.type = (enum receipt_type)type;
    struct request *req = request_new(s, &asked);
    req->due = s->cx->clock->mono;
    requests_add(&s->receipts->due, req);
}

static void load_receipts(struct session *s, struct record_reader *in)
{
    receipts_of(s)->own = take_kinds(in);
    load_sent(s, in);
    for (size_t n = record_take_count(in); n && !in->bad; n--)
        load_due(s, in);
}

void receipts_load(struct session *s, struct record_reader *in)
{
    if (record_take_number(in) && !in->bad)
        load_receipts(s, in);
    for (struct entry *e = s->keeping && s->keeping->claimed ? s->keeping->claimed->told : NULL; e && !in->bad;
         e = e->next)
        receipts_on_mail(s, e, false);
    for (struct entry *e = s->out.queue.first; e && !in->bad; e = e->next)
        receipts_on_mail(s, e, false);
    receipts_on_acked(s);
}
