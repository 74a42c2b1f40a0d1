#include "receipts.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include "contacts.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/receipt.h"
#include "xmpp/xml.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Servers throttle a client that sends much (ejabberd: 1000 bytes a second): ours must not use that up. */
#define INTERVAL  (USEC_S / 5)
#define BURST     20
#define DUE_MAX   500
#define ID_MAX    1024
#define FROM_MAX  3071
#define SENT_MAX  128 /* ours that are remembered: for late ones of the client, doubles and errors */
#define SENT_KEPT 32  /* of these in a record */
#define MAP_COST  48  /* bytes, of a place in by_key */
#define ID_START  "hfr-"

/* A message that asks for a receipt: waits for the client's ack first, then until the receipt is due, then for the
 * server to confirm it. */
struct request {
    struct request *next;
    struct entry *entry; /* in the unacked queue; NULL once acked */
    uint64_t number;     /* of that entry */
    usec due;            /* then: when it was written */
    uint64_t ours;       /* number of our receipt, once it was written */
    uint16_t from_n, id_n;
    uint8_t type; /* enum receipt_type */
    bool handed;  /* its number is one of handed.c */
    bool no_copy, no_archive;
    char text[]; /* from, id */
};

struct requests { /* first in, first out */
    struct request *first, **end;
    size_t count;
};

/* One of ours that was sent, as hashes: of address and id of the message, of bare address and id, of bare address. */
struct sent {
    uint64_t full, bare, to;
};

struct receipts {
    char tag[17];  /* in the ids of ours. Contacts see it, so it is not the session's */
    uint64_t last; /* number of ours that was sent last; its place in sent[] is that modulo SENT_MAX */
    struct requests unacked, due, written;
    uint64_t covered;   /* number of ours that the latest barrier covers */
    struct map *by_key; /* hash of bare address and id -> request, in whichever list */
    struct hash_key seed;
    struct sent *sent;
    bool waits;   /* for a roster: what the server says next brings it nearer */
    bool own;     /* the client has sent a receipt of its own: from then on ours are not wanted */
    usec paid;    /* the rate: up to when it is used up */
    size_t bytes; /* told to the context */
};

/* ---- requests ---- */

static struct slice from_of(const struct request *r)
{
    return slice_of(r->text, r->from_n);
}

static struct slice id_of(const struct request *r)
{
    return slice_of(r->text + r->from_n, r->id_n);
}

static void count_memory(struct session *s, int64_t n)
{
    s->receipts->bytes += (size_t)n;
    context_memory(s->cx, n);
}

static int64_t cost(const struct request *r)
{
    return (int64_t)(sizeof *r + r->from_n + r->id_n + MAP_COST);
}

static void requests_add(struct requests *l, struct request *r)
{
    if (!l->first)
        l->end = &l->first;
    *l->end = r;
    l->end = &r->next;
    r->next = NULL;
    l->count++;
}

static struct request *requests_take(struct requests *l)
{
    struct request *r = l->first;
    l->first = r->next;
    l->count--;
    return r;
}

static struct receipts *receipts_of(struct session *s)
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

static uint64_t key_of(const struct receipts *r, struct slice address, struct slice id)
{
    uint64_t both[2] = {hash_of(&r->seed, address), hash_of(&r->seed, id)};
    return hash_of(&r->seed, slice_of((const char *)both, sizeof both));
}

static struct slice key_slice(const uint64_t *key)
{
    return slice_of((const char *)key, sizeof *key);
}

/* The request that a receipt of the client's own would be for. Clients answer to the full or to the bare address. */
static struct request *waiting_for(const struct receipts *r, struct slice address, struct slice id)
{
    uint64_t key = key_of(r, jid_bare(address), id);
    return map_get(r->by_key, key_slice(&key));
}

static void drop(struct session *s, struct request *req)
{
    struct receipts *r = s->receipts;
    uint64_t key = key_of(r, jid_bare(from_of(req)), id_of(req));
    if (map_get(r->by_key, key_slice(&key)) == req)
        map_remove(r->by_key, key_slice(&key));
    count_memory(s, -cost(req));
    free(req);
}

static void count_withheld(struct session *s, enum metric reason)
{
    if (s->cx->settings->receipts.synthesize)
        count(s->cx->counters, reason);
}

static void withhold(struct session *s, struct request *req, enum metric reason)
{
    count_withheld(s, reason);
    drop(s, req);
}

static bool was_sent(const struct receipts *r, struct slice address, struct slice id)
{
    bool is_bare = jid_bare(address).n == address.n;
    uint64_t key = key_of(r, address, id);
    for (uint64_t i = 0; r->sent && i < SENT_MAX; i++)
        if ((is_bare ? r->sent[i].bare : r->sent[i].full) == key)
            return true;
    return false;
}

/* ---- messages that ask ---- */

/* Once for each sender and id, in a session (a sender that is not sure may send its message again). */
static bool is_repeated(const struct receipts *r, const struct receipt *asked)
{
    const struct request *waiting = waiting_for(r, asked->to, asked->id);
    return (waiting && slice_eq(from_of(waiting), asked->to)) || was_sent(r, asked->to, asked->id);
}

static struct request *request_new(struct session *s, const struct receipt *asked)
{
    struct receipts *r = receipts_of(s);
    struct request *req = mem_alloc(sizeof *req + asked->to.n + asked->id.n);
    *req = (struct request){.from_n = (uint16_t)asked->to.n,
                            .id_n = (uint16_t)asked->id.n,
                            .type = (uint8_t)asked->type,
                            .no_copy = asked->no_copy,
                            .no_archive = asked->no_archive};
    memcpy(req->text, asked->to.p, asked->to.n);
    memcpy(req->text + req->from_n, asked->id.p, asked->id.n);
    uint64_t key = key_of(r, jid_bare(asked->to), asked->id);
    map_put(r->by_key, key_slice(&key), req);
    count_memory(s, cost(req));
    return req;
}

void receipts_on_append(struct session *s, struct entry *entry, const struct element *e, bool handed)
{
    struct receipt asked;
    if (receipt_judge(e, s->account, &asked) != RECEIPT_DUE || contacts_is_room(s->contacts, asked.to))
        return;
    struct receipts *r = receipts_of(s);
    bool too_long = asked.to.n > FROM_MAX || asked.id.n > ID_MAX;
    if (too_long || is_repeated(r, &asked)) {
        count_withheld(s, too_long ? METRIC_receipts_withheld_limit : METRIC_receipts_withheld_repeated);
        return;
    }
    struct request *req = request_new(s, &asked);
    req->entry = entry;
    req->number = entry->number;
    req->handed = handed;
    requests_add(&r->unacked, req);
}

/* What lies in a mailbox, or was kept over a stop, is a stanza and nothing else: the few that ask are parsed once more.
 */
void receipts_on_mail(struct session *s, struct entry *entry, bool handed)
{
    const struct node *root;
    if (!memmem(entry->bytes, entry->n, NS_RECEIPTS, sizeof NS_RECEIPTS - 1))
        return;
    struct xml_tree *tree = xml_tree_parse(entry_slice(entry), &root);
    if (tree)
        receipts_on_append(s, entry, xml_tree_element(tree), handed);
    xml_tree_free(tree);
}

/* ---- acks ---- */

/* Whether the one who asks may learn that the client is there; asked twice, as much may change in between. */
static bool may_have(const struct session *s, const struct request *req)
{
    const struct contacts *c = s->contacts;
    if (s->cx->settings->receipts.to == RECEIPTS_TO_CONTACTS)
        return contacts_sees(c, from_of(req));
    return contacts_is_visible(c) || contacts_is_directed(c, from_of(req));
}

/* Whoever goes on with the session has to send it: in the record ahead of the ack that made it due. */
static void add_due(struct session *s, struct request *req)
{
    requests_add(&s->receipts->due, req);
    keeping_changed(s, true);
}

static void become_due(struct session *s, struct request *req)
{
    struct receipts *r = s->receipts;
    req->entry = NULL;
    req->due = s->cx->clock->mono + s->cx->settings->receipts.grace;
    if (!s->cx->settings->receipts.synthesize)
        drop(s, req);
    else if (r->own)
        withhold(s, req, METRIC_receipts_withheld_client);
    else if (s->up && contacts_is_known(s->contacts) && !may_have(s, req))
        withhold(s, req, METRIC_receipts_withheld_presence); /* strangers take no place */
    else if (r->due.count >= DUE_MAX)
        withhold(s, req, METRIC_receipts_withheld_limit);
    else
        add_due(s, req);
}

static bool is_acked(const struct session *s, const struct request *req)
{
    return req->number <= (req->handed ? handed_acked(s) : s->out.acked);
}

void receipts_on_acked(struct session *s)
{
    struct receipts *r = s->receipts;
    while (r && r->unacked.first && is_acked(s, r->unacked.first))
        become_due(s, requests_take(&r->unacked));
}

/* They are ahead of all that came when the client had enabled stream management. */
void receipts_unproved(struct session *s, uint64_t upto)
{
    struct receipts *r = s->receipts;
    while (r && r->unacked.first && r->unacked.first->handed && r->unacked.first->number <= upto)
        withhold(s, requests_take(&r->unacked), METRIC_receipts_withheld_unacked);
    receipts_on_acked(s);
}

/* ---- ours ---- */

static struct sent *sent_of(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r->sent) {
        r->sent = mem_zalloc(SENT_MAX * sizeof *r->sent);
        count_memory(s, SENT_MAX * sizeof *r->sent);
    }
    return r->sent;
}

static void remember(struct session *s, const struct request *req)
{
    struct receipts *r = s->receipts;
    struct slice bare = jid_bare(from_of(req));
    sent_of(s)[++r->last % SENT_MAX] = (struct sent){.full = key_of(r, from_of(req), id_of(req)),
                                                     .bare = key_of(r, bare, id_of(req)),
                                                     .to = hash_of(&r->seed, bare)};
}

static void send(struct session *s, struct request *req)
{
    struct receipts *r = s->receipts;
    struct buf out = {0};
    char id[64];
    remember(s, req);
    snprintf(id, sizeof id, ID_START "%s-%" PRIu64, r->tag, r->last);
    receipt_write(&out,
                  &(struct receipt){.to = from_of(req),
                                    .id = id_of(req),
                                    .type = req->type,
                                    .no_copy = req->no_copy,
                                    .no_archive = req->no_archive},
                  id);
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
    count(s->cx->counters, METRIC_receipts_proxy);
    fate_tell(s, FATE_RECEIPT, &(struct entry){.id = fate_id(s->cx, id_of(req)), .number = req->number});
    req->ours = r->last;
    req->due = s->cx->clock->mono;
    if (session_confirms(s))
        requests_add(&r->written, req);
    else
        drop(s, req);
}

/* A rebuild asks for the roster ahead of its first barrier: what is known may be old until then. */
static bool server_takes(const struct session *s)
{
    return s->up && !s->catching_up && transport_buffered(s->up->leg.transport) <= TRANSPORT_HIGH_WATER;
}

/* When the rate allows another one. */
static usec free_at(const struct receipts *r)
{
    return r->paid - (BURST - 1) * INTERVAL;
}

static void pay(struct receipts *r, usec now)
{
    r->paid = (r->paid > now ? r->paid : now) + INTERVAL;
}

/* Nobody knows the roster yet that decides about the first of them. */
static bool must_wait(struct session *s)
{
    struct receipts *r = s->receipts;
    r->waits = s->cx->settings->receipts.to == RECEIPTS_TO_CONTACTS && !may_have(s, r->due.first) && contacts_await(s);
    return r->waits;
}

/* What is due, and with all = true what would be later: this is the last moment for it. */
static void send_due(struct session *s, bool all)
{
    struct receipts *r = s->receipts;
    usec now = s->cx->clock->mono;
    while (r->due.first && (all || (r->due.first->due <= now && free_at(r) <= now && !must_wait(s)))) {
        struct request *req = requests_take(&r->due);
        if (!may_have(s, req)) {
            withhold(s, req, METRIC_receipts_withheld_presence);
            continue;
        }
        pay(r, now);
        send(s, req);
    }
}

void receipts_turn(struct session *s)
{
    if (s->receipts && s->receipts->due.first && server_takes(s))
        send_due(s, false);
}

usec receipts_due_at(const struct session *s)
{
    const struct receipts *r = s->receipts;
    if (!r || !r->due.first || !server_takes(s) || r->waits)
        return -1;
    return r->due.first->due > free_at(r) ? r->due.first->due : free_at(r);
}

static void withhold_all(struct session *s, struct requests *l, enum metric reason)
{
    while (l->first)
        withhold(s, requests_take(l), reason);
}

/* ---- confirmation ---- */

usec receipts_barrier_at(const struct session *s)
{
    const struct receipts *r = s->receipts;
    return r && r->written.first ? r->written.first->due + s->cx->settings->sm.confirm_delay : -1;
}

void receipts_barrier_sent(struct session *s)
{
    if (s->receipts)
        s->receipts->covered = s->receipts->last;
}

void receipts_confirmed(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r || !r->written.first || r->written.first->ours > r->covered)
        return;
    while (r->written.first && r->written.first->ours <= r->covered)
        drop(s, requests_take(&r->written));
    keeping_changed(s, true); /* that they were sent */
}

/* Ahead of those that were not written yet. */
void receipts_repeat(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r || !r->written.first)
        return;
    *r->written.end = r->due.first;
    if (!r->due.first)
        r->due.end = r->written.end;
    r->due.first = r->written.first;
    r->due.count += r->written.count;
    r->written = (struct requests){0};
    session_dirty(s);
}

/* ---- the client's own ---- */

static bool take_own(struct session *s, const struct element *e)
{
    struct receipts *r = receipts_of(s);
    struct request *req = waiting_for(r, e->to, e->receipt_id);
    bool late = was_sent(r, e->to, e->receipt_id);
    if (req && req->entry)
        req->entry->receipted = true;
    if (!r->own)
        keeping_changed(s, true);
    r->own = true;
    withhold_all(s, &r->due, METRIC_receipts_withheld_client);
    if (late && !e->beside_receipt && (s->state == SESSION_ATTACHED || s->state == SESSION_UNMANAGED)) {
        count(s->cx->counters, METRIC_receipts_swallowed_late);
        return true;
    }
    count(s->cx->counters, METRIC_receipts_client);
    return false;
}

static bool goes_away(const struct element *e)
{
    return e->kind == ELEMENT_PRESENCE && !e->to.n &&
           (slice_eq_str(e->type, "unavailable") || slice_eq_str(e->type, "invisible"));
}

bool receipts_from_client(struct session *s, const struct element *e)
{
    if (receipt_is_own(e))
        return take_own(s, e);
    if (goes_away(e) && s->receipts && s->up)
        send_due(s, true); /* while its contacts may still see that it is there */
    return false;
}

/* ---- errors ---- */

bool receipts_take_error(struct session *s, const struct element *e)
{
    const struct receipts *r = s->receipts;
    if (!r || e->kind != ELEMENT_MESSAGE || !slice_eq_str(e->type, "error") ||
        !slice_starts(e->id, SLICE_LIT(ID_START)))
        return false;
    char id[64];
    uint64_t oldest = r->last >= SENT_MAX ? r->last - SENT_MAX + 1 : 1;
    snprintf(id, sizeof id, "%.*s", e->id.n < sizeof id ? (int)e->id.n : 0, e->id.p);
    size_t head = sizeof ID_START - 1 + strlen(r->tag) + 1;
    if (strlen(id) <= head || memcmp(id + sizeof ID_START - 1, r->tag, strlen(r->tag)) != 0)
        return false;
    uint64_t n = strtoull(id + head, NULL, 10);
    if (n == 0 || n > r->last)
        return false;
    if (n >= oldest && r->sent[n % SENT_MAX].to != hash_of(&r->seed, jid_bare(e->from)))
        return false; /* not from the one it went to */
    count(s->cx->counters, METRIC_receipts_swallowed_error);
    return true;
}

/* ---- the end ---- */

/* The server has ended the stream, or does not answer: what is written now is lost. */
static bool is_deaf(enum close_reason reason)
{
    return reason == CLOSE_SERVER_END || reason == CLOSE_UPSTREAM_LOST || reason == CLOSE_UPSTREAM_CONFLICT ||
           reason == CLOSE_CONFIRM_TIMEOUT;
}

void receipts_end(struct session *s, enum close_reason reason)
{
    struct receipts *r = s->receipts;
    if (!r)
        return;
    if (s->up && !is_deaf(reason)) {
        send_due(s, true);
        while (r->written.first)
            drop(s, requests_take(&r->written));
    }
    withhold_all(s, &r->due, METRIC_receipts_withheld_upstream);
    withhold_all(s, &r->written, METRIC_receipts_withheld_upstream); /* nobody knows */
    withhold_all(s, &r->unacked, METRIC_receipts_withheld_unacked);
    receipts_forget(s);
}

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

/* ---- over a stop ---- */

static void save_all(const struct requests *l, struct buf *out)
{
    for (const struct request *req = l->first; req; req = req->next) {
        record_text(out, from_of(req));
        record_text(out, id_of(req));
        record_number(out, req->type);
        record_number(out, req->no_copy);
        record_number(out, req->no_archive);
    }
}

void receipts_last_call(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r || !s->up)
        return;
    send_due(s, true); /* the server hears the leg out */
    while (r->written.first)
        drop(s, requests_take(&r->written));
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
    record_number(out, (int64_t)(r->written.count + r->due.count));
    save_all(&r->written, out);
    save_all(&r->due, out);
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
        uint64_t full = (uint64_t)record_take_number(in), bare = (uint64_t)record_take_number(in);
        sent_of(s)[i % SENT_MAX] = (struct sent){full, bare, (uint64_t)record_take_number(in)};
    }
}

static void load_due(struct session *s, struct record_reader *in)
{
    struct receipt asked = {.to = record_take_text(in)};
    asked.id = record_take_text(in);
    int64_t type = record_take_number(in);
    asked.no_copy = record_take_number(in);
    asked.no_archive = record_take_number(in);
    in->bad |= type < RECEIPT_NO_TYPE || type > RECEIPT_HEADLINE || !asked.to.n || asked.to.n > FROM_MAX ||
               !asked.id.n || asked.id.n > ID_MAX;
    if (in->bad)
        return;
    asked.type = (enum receipt_type)type;
    struct request *req = request_new(s, &asked);
    req->due = s->cx->clock->mono;
    requests_add(&s->receipts->due, req);
}

static void load_receipts(struct session *s, struct record_reader *in)
{
    receipts_of(s)->own = record_take_number(in);
    load_sent(s, in);
    for (size_t n = record_take_count(in); n && !in->bad; n--)
        load_due(s, in);
}

void receipts_load(struct session *s, struct record_reader *in)
{
    if (record_take_number(in) && !in->bad)
        load_receipts(s, in);
    for (struct entry *e = s->claimed ? s->claimed->told : NULL; e && !in->bad; e = e->next)
        receipts_on_mail(s, e, false);
    for (struct entry *e = s->out.queue.first; e && !in->bad; e = e->next)
        receipts_on_mail(s, e, false);
    receipts_on_acked(s);
}
