/* The setup log: what the client has told the server that holds for its resource alone. A fresh upstream leg must be
 * told again to be equal to the old one. Each kind keeps its last word; the stanzas go out as they came. */
#include "base/map.h"
#include "base/mem.h"
#include "contacts.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/xml.h"
#include <stdlib.h>

enum setup_iq { SETUP_PRIVACY, SETUP_ROSTER, SETUP_BLOCKING, SETUP_CARBONS, SETUP_IQS }; /* in the order of replay */

struct directed {
    struct list link;
    struct entry *presence;
    size_t n;
    char to[];
};

struct setup {
    struct entry *iq[SETUP_IQS]; /* entry.number: of the stanza that it came in, 0 from before stream management */
    struct entry *presence;      /* the last broadcast */
    struct map *by_to;           /* directed presence */
    struct list directed;
    unsigned pushes;          /* of ours, for their ids */
    char *awaited[SETUP_IQS]; /* ids of replayed requests whose answers the client has had before */
};

static struct setup *setup_of(struct session *s)
{
    if (!s->setup) {
        s->setup = MEM_NEW(struct setup);
        list_init(&s->setup->directed);
    }
    return s->setup;
}

void setup_replace(struct session *s, struct entry **slot, struct entry *e)
{
    if (*slot)
        context_memory(s->cx, -(int64_t)entry_cost((*slot)->n));
    if (e)
        context_memory(s->cx, (int64_t)entry_cost(e->n));
    entry_free(*slot);
    *slot = e;
}

static struct entry *copy(struct session *s, const struct element *e, uint64_t number)
{
    struct entry *entry = entry_new(e, leg_extra_ns(&s->client->leg, e), s->cx->clock->wall);
    entry->number = number;
    entry->secret = stanza_is_secret(e);
    return entry;
}

/* ---- requests ---- */

static const struct {
    enum setup_iq slot;
    const char *type, *ns, *name;
    bool ends; /* takes back what the slot holds */
} requests[] = {
    {SETUP_ROSTER, "get", NS_ROSTER, "query", false},    /* pushes come from now on (RFC 6121 2.1.6) */
    {SETUP_CARBONS, "set", NS_CARBONS, "enable", false}, /* XEP-0280 4 */
    {SETUP_CARBONS, "set", NS_CARBONS, "disable", true},
    {SETUP_BLOCKING, "get", NS_BLOCKING, "blocklist", false}, /* pushes, XEP-0191 3.5 */
};

/* XEP-0016 2.4: the active list holds for this resource. */
static bool note_privacy(struct session *s, const struct element *e, uint64_t number)
{
    const struct node *active = node_child(node_child(e->tree, NS_PRIVACY, "query"), NS_PRIVACY, "active");
    if (!active || !slice_eq_str(e->type, "set"))
        return false;
    bool declined = !node_attr(active, "name").n;
    setup_replace(s, &setup_of(s)->iq[SETUP_PRIVACY], declined ? NULL : copy(s, e, number));
    return true;
}

static void note_request(struct session *s, const struct element *e, uint64_t number)
{
    if (!session_is_self(s, e->to))
        return;
    if (note_privacy(s, e, number))
        return;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        if (slice_eq_str(e->type, requests[i].type) && node_child(e->tree, requests[i].ns, requests[i].name))
            setup_replace(s, &setup_of(s)->iq[requests[i].slot], requests[i].ends ? NULL : copy(s, e, number));
}

/* ---- presence ---- */

static void drop_directed(struct session *s, struct directed *d)
{
    setup_replace(s, &d->presence, NULL);
    map_remove(s->setup->by_to, slice_of(d->to, d->n));
    list_remove(&d->link);
    free(d);
}

static void drop_all_directed(struct session *s)
{
    for (struct list *it; s->setup && (it = list_first(&s->setup->directed));)
        drop_directed(s, CONTAINER_OF(it, struct directed, link));
}

static bool is_crowded(const struct session *s)
{
    return map_count(s->setup->by_to) >= s->cx->settings->sm.queue_stanzas || context_memory_full(s->cx);
}

static struct directed *find_directed(const struct session *s, struct slice to)
{
    return s->setup && s->setup->by_to ? map_get(s->setup->by_to, to) : NULL;
}

/* Takes the presence over. */
static void put_directed(struct session *s, struct slice to, struct entry *presence)
{
    struct setup *setup = setup_of(s);
    struct directed *d = find_directed(s, to);
    if (!setup->by_to)
        setup->by_to = map_new();
    if (!d && is_crowded(s)) {
        entry_free(presence);
        return;
    }
    if (!d) {
        d = mem_alloc(sizeof *d + to.n);
        *d = (struct directed){.n = to.n};
        memcpy(d->to, to.p, to.n);
        list_append(&setup->directed, &d->link);
        map_put(setup->by_to, slice_of(d->to, d->n), d);
    }
    setup_replace(s, &d->presence, presence);
}

static void note_directed(struct session *s, const struct element *e, uint64_t number, bool available)
{
    struct directed *d = find_directed(s, e->to);
    if (available)
        put_directed(s, e->to, copy(s, e, number));
    else if (d)
        drop_directed(s, d);
}

/* RFC 6121 4.5.2, 4.6.3: unavailable to all withdraws what was told to some. */
static void note_unavailable(struct session *s)
{
    setup_replace(s, &setup_of(s)->presence, NULL);
    drop_all_directed(s);
    rooms_forget(s);
    sightings_forget(s);
}

static void note_presence(struct session *s, const struct element *e, uint64_t number)
{
    bool available = !e->type.p;
    if (!available && !slice_eq_str(e->type, "unavailable"))
        return;
    if (!e->to.n && available)
        setup_replace(s, &setup_of(s)->presence, copy(s, e, number));
    else if (!e->to.n)
        note_unavailable(s);
    else if (!rooms_note_presence(s, e, number))
        note_directed(s, e, number, available);
}

void setup_note(struct session *s, const struct element *e, uint64_t number)
{
    if (!s->may_resume)
        return;
    if (e->kind == ELEMENT_PRESENCE) {
        note_presence(s, e, number);
    } else if (e->kind == ELEMENT_IQ) {
        pending_note(s, e, number);
        note_request(s, e, number);
    }
}

const struct entry *setup_presence(const struct session *s)
{
    return s->setup ? s->setup->presence : NULL;
}

/* ---- replay ---- */

/* The id as it stands in the stanza; free() it. */
static char *id_of(const struct entry *e)
{
    const struct node *root;
    struct xml_tree *tree = xml_tree_parse(entry_slice(e), &root);
    char *id = tree ? mem_dup(node_attr(root, "id")) : mem_strdup("");
    xml_tree_free(tree);
    return id;
}

static void forget_awaited(struct setup *setup)
{
    for (int i = 0; i < SETUP_IQS; i++) {
        free(setup->awaited[i]);
        setup->awaited[i] = NULL;
    }
}

void setup_replay(struct session *s, uint64_t before)
{
    struct setup *setup = s->setup;
    if (!setup)
        return;
    forget_awaited(setup);
    for (int i = 0; i < SETUP_IQS; i++) {
        if (!setup->iq[i])
            continue;
        if (setup->iq[i]->number < before)
            uplink_write(s, entry_slice(setup->iq[i]));
        char *id = id_of(setup->iq[i]);
        if (pending_waits(s, slice_str(id), setup->iq[i]->number))
            free(id); /* the client has not had the answer: it is for it */
        else
            setup->awaited[i] = id;
    }
    if (setup->presence && setup->presence->number < before)
        uplink_write(s, entry_slice(setup->presence));
    LIST_FOREACH_SAFE(it, next, &setup->directed)
    {
        const struct entry *presence = CONTAINER_OF(it, struct directed, link)->presence;
        if (presence->number < before)
            uplink_write(s, entry_slice(presence));
    }
}

/* ---- what has changed in the roster while there was no upstream leg: pushes (RFC 6121 2.1.6) ---- */

static void push(struct session *s, struct slice item)
{
    struct buf out = {0};
    buf_printf(&out, "<iq type='set' id='hfs-%s-push-%u'", s->tag, ++s->setup->pushes);
    xml_attr(&out, "to", slice_str(s->jid));
    BUF_LIT(&out, "><query xmlns='" NS_ROSTER "'>");
    buf_add(&out, item);
    BUF_LIT(&out, "</query></iq>");
    downlink_inject(s, CLASS_IQ_REPLY, buf_slice(&out)); /* nobody waits for an answer */
    buf_free(&out);
}

static void on_changed(void *ctx, struct slice xml)
{
    push(ctx, xml);
}

static void on_removed(void *ctx, struct slice jid)
{
    struct buf item = {0};
    BUF_LIT(&item, "<item");
    xml_attr(&item, "jid", jid);
    BUF_LIT(&item, " subscription='remove'/>");
    push(ctx, buf_slice(&item));
    buf_free(&item);
}

static const struct contacts_changes roster_changes = {on_changed, on_removed};

/* The client's answer to a push of ours is not for the server. */
bool setup_takes_reply(const struct element *e)
{
    bool answer = slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error");
    return e->kind == ELEMENT_IQ && answer && slice_starts(e->id, SLICE_LIT("hfs-"));
}

bool setup_take_answer(struct session *s, const struct element *e)
{
    bool answer = slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error");
    if (!s->setup || !answer || !session_is_self(s, e->from))
        return false;
    for (int i = 0; i < SETUP_IQS; i++) {
        char *id = s->setup->awaited[i];
        if (!id || !slice_eq_str(e->id, id))
            continue;
        s->setup->awaited[i] = NULL;
        free(id);
        if (i == SETUP_ROSTER && slice_eq_str(e->type, "result"))
            contacts_compare(s, e, &roster_changes, s);
        return true;
    }
    return false;
}

void setup_settle(struct session *s)
{
    if (s->setup)
        forget_awaited(s->setup);
}

bool setup_has(const struct session *s, struct slice id, uint64_t number)
{
    for (int i = 0; s->setup && i < SETUP_IQS; i++) {
        const struct entry *iq = s->setup->iq[i];
        if (!iq || iq->number != number)
            continue;
        char *own = id_of(iq);
        bool same = slice_eq_str(id, own); /* from before stream management there may be several */
        free(own);
        if (same)
            return true;
    }
    return false;
}

void setup_forget(struct session *s)
{
    struct setup *setup = s->setup;
    if (!setup)
        return;
    drop_all_directed(s);
    for (int i = 0; i < SETUP_IQS; i++)
        setup_replace(s, &setup->iq[i], NULL);
    setup_replace(s, &setup->presence, NULL);
    forget_awaited(setup);
    map_free(setup->by_to);
    free(setup);
    s->setup = NULL;
}

/* ---- over a stop ---- */

static void save_slot(const struct session *s, const struct entry *e, struct buf *out)
{
    bool saved = e && keeping_may_save(s, e);
    record_number(out, saved);
    if (saved)
        record_entry(out, e);
}

static int64_t count_savable(const struct session *s)
{
    int64_t n = 0;
    LIST_FOREACH_SAFE(it, next, &s->setup->directed)
    {
        n += keeping_may_save(s, CONTAINER_OF(it, struct directed, link)->presence);
    }
    return n;
}

void setup_save(const struct session *s, struct buf *out)
{
    struct setup none = {0}, *setup = s->setup ? s->setup : &none;
    for (int i = 0; i < SETUP_IQS; i++)
        save_slot(s, setup->iq[i], out);
    save_slot(s, setup->presence, out);
    record_number(out, setup->by_to ? count_savable(s) : 0);
    if (!setup->by_to)
        return;
    LIST_FOREACH_SAFE(it, next, &setup->directed)
    {
        const struct directed *d = CONTAINER_OF(it, struct directed, link);
        if (!keeping_may_save(s, d->presence))
            continue;
        record_text(out, slice_of(d->to, d->n));
        record_entry(out, d->presence);
    }
}

static struct entry *load_slot(struct record_reader *in)
{
    return record_take_number(in) && !in->bad ? record_take_entry(in) : NULL;
}

void setup_load(struct session *s, struct record_reader *in)
{
    for (int i = 0; i < SETUP_IQS; i++)
        setup_replace(s, &setup_of(s)->iq[i], load_slot(in));
    setup_replace(s, &setup_of(s)->presence, load_slot(in));
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        struct slice to = record_take_text(in);
        struct entry *presence = record_take_entry(in);
        if (presence)
            put_directed(s, to, presence);
    }
}
