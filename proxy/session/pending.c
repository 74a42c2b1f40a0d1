/* The client's own requests that wait for an answer. A server that dies takes the answers with it: what it had not
 * confirmed is sent again, what it had confirmed is answered by us, with an error (design: rebuild). */
#include "base/map.h"
#include "base/mem.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/stanza.h"
#include <stdlib.h>

#define PENDING_MAX 1000 /* a client with more has forgotten the oldest */

struct request {
    struct list link;     /* in the order of the requests */
    struct request *next; /* with the same id, later */
    uint64_t number;      /* of the stanza; 0: from before stream management */
    size_t id_n, to_n;
    char text[]; /* id, then to */
};

struct pending {
    struct map *by_id; /* the oldest with that id */
    struct list all;
    size_t count;
    uint64_t forgotten; /* of requests up to that stanza it is not known whether they were answered */
};

static struct slice id_of(const struct request *r)
{
    return slice_of(r->text, r->id_n);
}

static struct slice to_of(const struct request *r)
{
    return r->to_n ? slice_of(r->text + r->id_n, r->to_n) : SLICE_NONE;
}

static void account_for(struct session *s, const struct request *r, int sign)
{
    context_memory(s->cx, sign * (int64_t)(sizeof *r + r->id_n + r->to_n));
}

static struct request *find(const struct session *s, struct slice id)
{
    return s->pending && id.n ? map_get(s->pending->by_id, id) : NULL;
}

static void drop(struct session *s, struct request *r)
{
    struct request *first = find(s, id_of(r)), *before = first;
    if (first != r) {
        while (before->next != r)
            before = before->next;
        before->next = r->next;
    } else if (r->next) {
        map_put(s->pending->by_id, id_of(r), r->next);
    } else {
        map_remove(s->pending->by_id, id_of(r));
    }
    account_for(s, r, -1);
    list_remove(&r->link);
    s->pending->count--;
    free(r);
}

static void append(struct session *s, struct request *r)
{
    struct request *last = find(s, id_of(r));
    while (last && last->next)
        last = last->next;
    if (last)
        last->next = r;
    else
        map_put(s->pending->by_id, id_of(r), r);
    list_append(&s->pending->all, &r->link);
    s->pending->count++;
    account_for(s, r, 1);
}

static void forget_oldest(struct session *s)
{
    struct request *oldest = CONTAINER_OF(list_first(&s->pending->all), struct request, link);
    s->pending->forgotten = oldest->number;
    drop(s, oldest);
}

static struct pending *pending_of(struct session *s)
{
    if (!s->pending) {
        s->pending = MEM_NEW(struct pending);
        s->pending->by_id = map_new();
        list_init(&s->pending->all);
    }
    return s->pending;
}

static void add(struct session *s, struct slice id, struct slice to, uint64_t number)
{
    if (!id.n)
        return;
    if (pending_of(s)->count >= PENDING_MAX)
        forget_oldest(s);
    struct request *r = mem_alloc(sizeof *r + id.n + to.n);
    *r = (struct request){.number = number, .id_n = id.n, .to_n = to.n};
    memcpy(r->text, id.p, id.n);
    if (to.n)
        memcpy(r->text + id.n, to.p, to.n);
    append(s, r);
}

void pending_note(struct session *s, const struct element *e, uint64_t number)
{
    if (slice_eq_str(e->type, "get") || slice_eq_str(e->type, "set"))
        add(s, e->id, e->to, number);
}

void pending_save(const struct session *s, struct buf *out)
{
    record_number(out, s->pending ? (int64_t)s->pending->forgotten : 0);
    record_number(out, s->pending ? (int64_t)s->pending->count : 0);
    if (!s->pending)
        return;
    LIST_FOREACH_SAFE(it, next, &s->pending->all)
    {
        const struct request *r = CONTAINER_OF(it, struct request, link);
        record_number(out, (int64_t)r->number);
        record_text(out, id_of(r));
        record_text(out, to_of(r));
    }
}

void pending_load(struct session *s, struct record_reader *in)
{
    uint64_t forgotten = (uint64_t)record_take_number(in);
    if (forgotten)
        pending_of(s)->forgotten = forgotten;
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        uint64_t number = (uint64_t)record_take_number(in);
        struct slice id = record_take_text(in);
        add(s, id, record_take_text(in), number);
    }
}

bool session_is_self(const struct session *s, struct slice jid)
{
    return !jid.n || slice_eq(jid, session_account(s)) || slice_eq_str(jid, s->jid) ||
           jid_domain_eq(jid, session_domain(s));
}

/* An id alone is no proof: others can guess it. */
static bool is_answer_of(const struct session *s, const struct request *r, struct slice from)
{
    return jid_domain_eq(to_of(r), from) || (session_is_self(s, to_of(r)) && session_is_self(s, from));
}

void pending_answered(struct session *s, const struct element *e)
{
    bool answer = slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error");
    struct request *r = answer ? find(s, e->id) : NULL;
    while (r && !is_answer_of(s, r, e->from))
        r = r->next;
    if (r)
        drop(s, r);
}

bool pending_waits(const struct session *s, struct slice id, uint64_t number)
{
    if (!id.n || (s->pending && number && number <= s->pending->forgotten))
        return true; /* not known to have been answered */
    const struct request *r = find(s, id);
    while (r && r->number != number)
        r = r->next;
    return r != NULL;
}

void pending_lost(struct session *s, uint64_t upto)
{
    if (!s->pending)
        return;
    LIST_FOREACH_SAFE(it, next, &s->pending->all)
    {
        struct request *r = CONTAINER_OF(it, struct request, link);
        if (r->number > upto || setup_has(s, id_of(r), r->number))
            continue;
        struct buf out = {0};
        stanza_write_iq_error(&out, id_of(r), to_of(r), slice_str(s->jid), "wait", "remote-server-timeout");
        downlink_inject(s, CLASS_IQ_REPLY, buf_slice(&out));
        buf_free(&out);
        drop(s, r);
    }
}

void pending_forget(struct session *s)
{
    for (struct list *it; s->pending && (it = list_first(&s->pending->all));)
        drop(s, CONTAINER_OF(it, struct request, link));
    if (s->pending)
        map_free(s->pending->by_id);
    free(s->pending);
    s->pending = NULL;
}
