/* The client's own requests that wait for an answer. A server that dies takes the answers with it: what it had not
 * confirmed is sent again, what it had confirmed is answered by us, with an error (design: rebuild). */
#include "base/map.h"
#include "base/mem.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/stanza.h"
#include <stdlib.h>

#define PENDING_MAX 1000 /* a client with more has forgotten the oldest */

struct request {
    struct list link; /* in the order of the requests */
    uint64_t number;  /* of the stanza; 0: from before stream management */
    size_t id_n, to_n;
    char text[]; /* id, then to */
};

struct pending {
    struct map *by_id;
    struct list all;
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

static void drop(struct session *s, struct request *r)
{
    account_for(s, r, -1);
    map_remove(s->pending->by_id, id_of(r));
    list_remove(&r->link);
    free(r);
}

static struct request *find(const struct session *s, struct slice id)
{
    return s->pending ? map_get(s->pending->by_id, id) : NULL;
}

static void add(struct session *s, struct slice id, struct slice to, uint64_t number)
{
    if (!id.n)
        return;
    if (!s->pending) {
        s->pending = MEM_NEW(struct pending);
        s->pending->by_id = map_new();
        list_init(&s->pending->all);
    }
    struct request *old = find(s, id);
    if (old)
        drop(s, old);
    if (map_count(s->pending->by_id) >= PENDING_MAX)
        drop(s, CONTAINER_OF(list_first(&s->pending->all), struct request, link));
    struct request *r = mem_alloc(sizeof *r + id.n + to.n);
    *r = (struct request){.number = number, .id_n = id.n, .to_n = to.n};
    memcpy(r->text, id.p, id.n);
    if (to.n)
        memcpy(r->text + id.n, to.p, to.n);
    list_append(&s->pending->all, &r->link);
    map_put(s->pending->by_id, id_of(r), r);
    account_for(s, r, 1);
}

void pending_note(struct session *s, const struct element *e, uint64_t number)
{
    if (slice_eq_str(e->type, "get") || slice_eq_str(e->type, "set"))
        add(s, e->id, e->to, number);
}

void pending_save(const struct session *s, struct buf *out)
{
    record_number(out, s->pending ? (int64_t)map_count(s->pending->by_id) : 0);
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
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        uint64_t number = (uint64_t)record_take_number(in);
        struct slice id = record_take_text(in);
        add(s, id, record_take_text(in), number);
    }
}
void pending_answered(struct session *s, const struct element *e)
{
    bool answer = slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error");
    struct request *r = answer ? find(s, e->id) : NULL;
    if (r)
        drop(s, r);
}

bool pending_waits(const struct session *s, struct slice id)
{
    return find(s, id) != NULL;
}

void pending_lost(struct session *s, uint64_t upto)
{
    if (!s->pending)
        return;
    LIST_FOREACH_SAFE(it, next, &s->pending->all)
    {
        struct request *r = CONTAINER_OF(it, struct request, link);
        if (r->number > upto || setup_repeats(s, id_of(r)))
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
