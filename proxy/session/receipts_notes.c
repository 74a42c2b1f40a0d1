/* What is noted of messages that ask for receipts, and of receipts that were sent. */
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include "receipts_impl.h"
#include "xmpp/jid.h"
#include <stdlib.h>

#define MAP_COST 48 /* bytes, of a place in by_key */

static void count_memory(struct session *s, int64_t n)
{
    s->receipts->bytes += (size_t)n;
    context_memory(s->cx, n);
}

struct receipts *receipts_of(struct session *s)
{
    if (!s->receipts) {
        struct receipts *r = s->receipts = MEM_NEW(struct receipts);
        random_hex(r->tag, 8);
        r->seed = hash_key_new();
        r->by_key = map_new();
        count_memory(s, sizeof *r);
    }
    return s->receipts;
}

/* ---- requests ---- */

struct slice request_from(const struct request *req)
{
    return slice_of(req->text, req->from_n);
}

struct slice request_id(const struct request *req)
{
    return slice_of(req->text + req->from_n, req->id_n);
}

struct receipt request_receipt(const struct request *req)
{
    return (struct receipt){.to = request_from(req),
                            .id = request_id(req),
                            .kinds = req->kinds,
                            .type = req->type,
                            .no_copy = req->no_copy,
                            .no_archive = req->no_archive};
}

static int64_t cost(const struct request *req)
{
    return (int64_t)(sizeof *req + req->from_n + req->id_n + MAP_COST);
}

void requests_add(struct requests *l, struct request *req)
{
    if (!l->first)
        l->end = &l->first;
    *l->end = req;
    l->end = &req->next;
    req->next = NULL;
    l->count++;
}

struct request *requests_take(struct requests *l)
{
    struct request *req = l->first;
    l->first = req->next;
    l->count--;
    return req;
}

static uint64_t key_of(const struct receipts *r, struct slice address, struct slice id)
{
    uint64_t both[2] = {hash_of(&r->seed, address), hash_of(&r->seed, id)};
    return hash_of(&r->seed, slice_of((const char *)both, sizeof both));
}

static struct slice key_slice(const uint64_t *key)
{
    return slice_of((const char *)key, sizeof *key);
}

struct request *receipts_waiting_for(const struct receipts *r, struct slice address, struct slice id)
{
    uint64_t key = key_of(r, jid_bare(address), id);
    return map_get(r->by_key, key_slice(&key));
}

struct request *request_apart(struct session *s, const struct receipt *asked)
{
    receipts_of(s);
    struct request *req = mem_alloc(sizeof *req + asked->to.n + asked->id.n);
    *req = (struct request){.from_n = (uint16_t)asked->to.n,
                            .id_n = (uint16_t)asked->id.n,
                            .kinds = (uint8_t)asked->kinds,
                            .type = (uint8_t)asked->type,
                            .no_copy = asked->no_copy,
                            .no_archive = asked->no_archive};
    memcpy(req->text, asked->to.p, asked->to.n);
    memcpy(req->text + req->from_n, asked->id.p, asked->id.n);
    count_memory(s, cost(req));
    return req;
}

struct request *request_new(struct session *s, const struct receipt *asked)
{
    struct request *req = request_apart(s, asked);
    uint64_t key = key_of(s->receipts, jid_bare(asked->to), asked->id);
    map_put(s->receipts->by_key, key_slice(&key), req);
    return req;
}

void request_drop(struct session *s, struct request *req)
{
    struct receipts *r = s->receipts;
    uint64_t key = key_of(r, jid_bare(request_from(req)), request_id(req));
    if (map_get(r->by_key, key_slice(&key)) == req)
        map_remove(r->by_key, key_slice(&key));
    count_memory(s, -cost(req));
    free(req);
}

/* ---- what is not sent ---- */

/* Of offline nothing is to be told where the client gets the message in time: that is no loss. */
void receipts_count_withheld(struct session *s, unsigned kinds, enum metric reason)
{
    if (s->cx->settings->receipts.synthesize)
        count_add(s->cx->counters, reason, __builtin_popcount(kinds & RECEIPT_OF_CLIENT));
}

void request_withhold(struct session *s, struct request *req, unsigned kinds, enum metric reason)
{
    receipts_count_withheld(s, req->kinds & kinds, reason);
    req->kinds &= (uint8_t)~kinds;
}

void receipts_withhold_all(struct session *s, struct requests *l, enum metric reason)
{
    while (l->first) {
        struct request *req = requests_take(l);
        request_withhold(s, req, req->kinds, reason);
        request_drop(s, req);
    }
}

/* ---- what was sent ---- */

struct sent *receipts_sent(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r->sent) {
        r->sent = mem_zalloc(SENT_MAX * sizeof *r->sent);
        count_memory(s, SENT_MAX * sizeof *r->sent);
    }
    return r->sent;
}

void receipts_remember(struct session *s, const struct request *req, enum receipt_kind kind)
{
    struct receipts *r = s->receipts;
    struct slice from = request_from(req), bare = jid_bare(from), id = request_id(req);
    receipts_sent(s)[++r->last % SENT_MAX] = (struct sent){
        .full = key_of(r, from, id), .bare = key_of(r, bare, id), .to = hash_of(&r->seed, bare), .kind = kind};
}

unsigned receipts_were_sent(const struct receipts *r, struct slice address, struct slice id, unsigned kinds)
{
    bool is_bare = jid_bare(address).n == address.n;
    uint64_t key = key_of(r, address, id);
    unsigned sent = 0;
    for (uint64_t i = 0; r->sent && i < SENT_MAX; i++)
        if ((is_bare ? r->sent[i].bare : r->sent[i].full) == key)
            sent |= r->sent[i].kind;
    return sent & kinds;
}

/* ---- the end ---- */

static void free_all(struct requests *l)
{
    while (l->first)
        free(requests_take(l));
}

void receipts_forget(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r)
        return;
    context_memory(s->cx, -(int64_t)r->bytes);
    free_all(&r->unacked);
    free_all(&r->due);
    free_all(&r->written);
    map_free(r->by_key);
    free(r->sent);
    free(r);
    s->receipts = NULL;
}
