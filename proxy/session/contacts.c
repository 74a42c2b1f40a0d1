#include "contacts.h"
#include "base/mem.h"
#include "base/random.h"
#include "jid_table.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/roster.h"
#include "xmpp/stanza.h"
#include <stdlib.h>

#define DIRECTED_MAX 1000 /* addresses with directed presence; what is beyond gets no receipts */
#define ID_MAX       256  /* of a client's request for the roster; a longer one is not waited for */

enum contact_flag {
    CONTACT_SEES = 1 << 0, /* roster: subscription from or both */
    CONTACT_SEEN = 1 << 1, /* roster: in the new one, while that is compared */
    CONTACT_ROOM = 1 << 2, /* directed: joined; the row has the room's bare address */
};

struct contacts {
    struct context *cx;
    struct hash_key seed;
    struct jid_table roster, directed;
    size_t counted;  /* bytes told to the context */
    char *asked;     /* id of the client's request for the roster; NULL when none is open */
    char *own_asked; /* id of ours */
    bool known;      /* a whole roster was seen */
    bool wanted;     /* the client has asked for its roster */
    bool tried;      /* we have asked for one that it does not want, on this upstream leg: pushes are for us alone */
    bool available;  /* the last broadcast presence */
    bool invisible;  /* XEP-0186 */
    bool filtered;   /* a privacy list is in force (XEP-0016): who sees what is not known */
};

size_t contacts_bytes(const struct contacts *c)
{
    return sizeof *c + jid_table_bytes(&c->roster) + jid_table_bytes(&c->directed);
}

static void count_memory(struct contacts *c)
{
    size_t now = contacts_bytes(c);
    context_memory(c->cx, (int64_t)now - (int64_t)c->counted);
    c->counted = now;
}

static struct contacts *contacts_of(struct session *s)
{
    struct contacts *c = s->contacts;
    if (!c) {
        c = s->contacts = MEM_NEW(struct contacts);
        c->cx = s->cx;
        c->seed = hash_key_new();
        count_memory(c);
    }
    return c;
}

void contacts_free(struct contacts *c)
{
    if (!c)
        return;
    context_memory(c->cx, -(int64_t)c->counted);
    jid_table_clear(&c->roster);
    jid_table_clear(&c->directed);
    free(c->asked);
    free(c->own_asked);
    free(c);
}

/* ---- who may see ---- */

bool contacts_is_visible(const struct contacts *c)
{
    return c && c->available && !c->invisible && !c->filtered;
}

bool contacts_is_known(const struct contacts *c)
{
    return c && c->known;
}

bool contacts_is_room(const struct contacts *c, struct slice jid)
{
    const struct jid_row *row = c ? jid_table_get(&c->directed, &c->seed, jid_bare(jid)) : NULL;
    return row && (row->flags & CONTACT_ROOM);
}

bool contacts_is_directed(const struct contacts *c, struct slice jid)
{
    return c && (jid_table_get(&c->directed, &c->seed, jid) || jid_table_get(&c->directed, &c->seed, jid_bare(jid)));
}

bool contacts_sees(const struct contacts *c, struct slice jid)
{
    const struct jid_row *row = c ? jid_table_get(&c->roster, &c->seed, jid_bare(jid)) : NULL;
    return contacts_is_directed(c, jid) || (contacts_is_visible(c) && row && (row->flags & CONTACT_SEES));
}

/* ---- what the client says ---- */

static void forget_directed(struct contacts *c, struct slice jid)
{
    struct jid_row *row = jid_table_get(&c->directed, &c->seed, jid);
    if (row)
        jid_table_remove(&c->directed, row);
}

static void direct_presence(struct contacts *c, const struct element *e)
{
    bool room = e->facts & FACT_MUC_JOIN;
    if (e->type.p) {
        forget_directed(c, e->to);
        if (contacts_is_room(c, e->to))
            forget_directed(c, jid_bare(e->to));
        return;
    }
    if (c->directed.count >= DIRECTED_MAX)
        return;
    struct jid_row *row = jid_table_put(&c->directed, &c->seed, room ? jid_bare(e->to) : e->to);
    if (row && room)
        row->flags |= CONTACT_ROOM;
}

static void note_presence(struct contacts *c, const struct element *e)
{
    bool unavailable = slice_eq_str(e->type, "unavailable");
    if (e->to.n) {
        if (!e->type.p || unavailable)
            direct_presence(c, e);
        return;
    }
    if (!e->type.p || unavailable || slice_eq_str(e->type, "invisible")) /* the last is of servers before XMPP */
        c->available = !e->type.p;
    if (unavailable)
        jid_table_clear(&c->directed); /* RFC 6121 4.6.3: the server tells them all */
}

static bool same(const char *id, struct slice other)
{
    return id && slice_eq(slice_str(id), other);
}

static void set_text(char **text, struct slice value)
{
    free(*text);
    *text = value.n && value.n <= ID_MAX ? mem_dup(value) : NULL;
}

static void set_asked(struct contacts *c, struct slice id)
{
    set_text(&c->asked, id);
    c->wanted = true;
}

/* Lists may hide the client from some or all of its contacts; which, only their items could tell. */
static void note_privacy(struct contacts *c, const struct node *query)
{
    for (const struct node *n = query->first_child; n; n = n->next)
        if (slice_eq_str(n->name, "active") || slice_eq_str(n->name, "default"))
            c->filtered = node_attr(n, "name").n > 0;
}

static bool is_roster_get(const struct element *e)
{
    return (e->facts & FACT_ROSTER) && slice_eq_str(e->type, "get");
}

static void note_setting(struct contacts *c, const struct element *e)
{
    const struct node *privacy = node_child(e->tree, NS_PRIVACY, "query");
    if (privacy)
        note_privacy(c, privacy);
    for (const struct node *n = e->tree ? e->tree->first_child : NULL; n; n = n->next)
        if (slice_starts(n->ns, SLICE_LIT(NS_INVISIBLE)))
            c->invisible = slice_eq_str(n->name, "invisible");
}

void contacts_from_client(struct session *s, const struct element *e)
{
    if (e->kind == ELEMENT_PRESENCE)
        note_presence(contacts_of(s), e);
    else if (e->kind == ELEMENT_IQ && is_roster_get(e))
        set_asked(contacts_of(s), e->id);
    else if (e->kind == ELEMENT_IQ && slice_eq_str(e->type, "set"))
        note_setting(contacts_of(s), e);
    else
        return;
    count_memory(s->contacts);
}

/* ---- rosters ---- */

struct comparison {
    struct contacts *c;
    const struct contacts_changes *changes; /* NULL: nobody wants to know */
    void *ctx;
};

static void tell_changed(const struct comparison *cmp, const struct roster_item *item)
{
    struct buf xml = {0};
    roster_write_item(&xml, item);
    cmp->changes->changed(cmp->ctx, buf_slice(&xml));
    buf_free(&xml);
}

static void put_item(void *ctx, const struct roster_item *item)
{
    struct comparison *cmp = ctx;
    struct contacts *c = cmp->c;
    struct jid_row *row = jid_table_get(&c->roster, &c->seed, item->jid);
    uint32_t digest = (uint32_t)roster_digest(&c->seed, item);
    if (item->removed) {
        if (row)
            jid_table_remove(&c->roster, row);
        return;
    }
    bool changed = !row || row->digest != digest;
    row = jid_table_put(&c->roster, &c->seed, item->jid);
    if (!row)
        return;
    row->digest = digest;
    row->flags = CONTACT_SEEN | (item->sees_us ? CONTACT_SEES : 0);
    if (changed && cmp->changes)
        tell_changed(cmp, item);
}

static void drop_unseen(const struct comparison *cmp)
{
    struct jid_table *t = &cmp->c->roster;
    for (struct jid_row *row = NULL; (row = jid_table_next(t, row));) {
        if (row->flags & CONTACT_SEEN)
            continue;
        if (cmp->changes)
            cmp->changes->removed(cmp->ctx, jid_row_jid(row));
        jid_table_remove(t, row);
    }
    jid_table_trim(t);
}

static void count_item(void *ctx, const struct roster_item *item)
{
    (void)item;
    ++*(size_t *)ctx;
}

bool contacts_compare(struct session *s, const struct element *roster, const struct contacts_changes *changes,
                      void *ctx)
{
    size_t n = 0;
    struct contacts *c = contacts_of(s);
    struct comparison cmp = {c, c->known ? changes : NULL, ctx};
    if (roster->tree_cut && !roster_each(roster, count_item, &n))
        return false;
    for (struct jid_row *row = NULL; (row = jid_table_next(&c->roster, row));)
        row->flags &= (uint8_t)~CONTACT_SEEN;
    if (!roster_each(roster, put_item, &cmp))
        return false;
    drop_unseen(&cmp);
    c->known = true;
    count_memory(c);
    return true;
}

/* ---- what the server says ---- */

/* RFC 6121 2.1.6: whoever else sends a push lies. */
static bool is_own_server(const struct session *s, struct slice from)
{
    return !from.n || slice_eq(from, session_account(s)) || slice_eq(from, slice_str(s->jid)) ||
           jid_domain_eq(from, session_domain(s));
}

/* The client has a copy of an older login, which its server says is still good (RFC 6121 2.6): we have none, and ask
 * for one. The client has asked before, so that this does not change what the server sends to it. */
static void ask_for_all(struct session *s, struct contacts *c)
{
    char tag[17];
    random_hex(tag, 8);
    free(c->own_asked);
    c->own_asked = mem_printf("hfc-%s", tag);
    char *iq = mem_printf("<iq type='get' id='%s'><query xmlns='" NS_ROSTER "'/></iq>", c->own_asked);
    uplink_write(s, slice_str(iq));
    free(iq);
}

/* The client does not care who is in its roster; who asks it for receipts does. */
bool contacts_await(struct session *s)
{
    struct contacts *c = s->contacts;
    if (!contacts_is_visible(c) || c->known || !s->up)
        return false;
    if (!c->tried && !c->asked && !c->own_asked) {
        c->tried = true;
        ask_for_all(s, c);
    }
    return c->asked || c->own_asked;
}

void contacts_on_fresh_leg(struct contacts *c)
{
    if (!c)
        return;
    set_text(&c->own_asked, SLICE_NONE);
    c->tried = false;
    if (c->wanted)
        return; /* its request is repeated */
    c->known = false;
    jid_table_clear(&c->roster);
    count_memory(c);
}

/* The server wants to know that it was taken. */
static void answer_push(struct session *s, const struct element *e)
{
    struct buf out = {0};
    stanza_write_pong(&out, e->id, SLICE_NONE, e->from);
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
    count(s->cx->counters, METRIC_answered_for_client);
}

static void take_answer(struct session *s, const struct element *e, bool own)
{
    if (!slice_eq_str(e->type, "result"))
        return; /* an error may carry the query, too */
    if (e->facts & FACT_ROSTER)
        contacts_compare(s, e, NULL, NULL);
    else if (!own && !s->contacts->known)
        ask_for_all(s, s->contacts);
}

bool contacts_from_upstream(struct session *s, const struct element *e)
{
    bool answer = slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error");
    bool push = (e->facts & FACT_ROSTER) && slice_eq_str(e->type, "set");
    if (e->kind != ELEMENT_IQ || (!s->contacts && !push) || !is_own_server(s, e->from))
        return false;
    struct contacts *c = contacts_of(s);
    if (answer && same(c->own_asked, e->id)) {
        set_text(&c->own_asked, SLICE_NONE);
        take_answer(s, e, true);
        return true;
    }
    if (answer && same(c->asked, e->id)) {
        set_text(&c->asked, SLICE_NONE);
        take_answer(s, e, false);
    } else if (push) {
        struct comparison cmp = {c, NULL, NULL};
        roster_each(e, put_item, &cmp);
        count_memory(c);
        if (c->tried && !c->wanted) {
            answer_push(s, e);
            return true;
        }
    }
    return false;
}

/* ---- over a stop ---- */

static void save_table(const struct jid_table *t, struct buf *out)
{
    record_number(out, t->count);
    for (struct jid_row *row = NULL; (row = jid_table_next(t, row));) {
        record_text(out, jid_row_jid(row));
        record_number(out, row->digest);
        record_number(out, row->flags);
    }
}

static void load_table(struct jid_table *t, const struct hash_key *key, struct record_reader *in)
{
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        struct slice jid = record_take_text(in);
        uint32_t digest = (uint32_t)record_take_number(in);
        uint8_t flags = (uint8_t)record_take_number(in);
        struct jid_row *row = in->bad ? NULL : jid_table_put(t, key, jid);
        in->bad |= !row;
        if (row) {
            row->digest = digest;
            row->flags = flags;
        }
    }
}

/* The key goes along: the digests were made with it. */
void contacts_save(const struct contacts *c, struct buf *out)
{
    const struct contacts none = {.seed = hash_key_new()};
    if (!c)
        c = &none;
    for (int i = 0; i < 2; i++)
        record_number(out, (int64_t)c->seed.word[i]);
    record_number(out, c->known);
    record_number(out, c->wanted);
    record_number(out, c->available);
    record_number(out, c->invisible);
    record_number(out, c->filtered);
    save_table(&c->roster, out);
    save_table(&c->directed, out);
}

void contacts_load(struct session *s, struct record_reader *in)
{
    struct contacts *c = contacts_of(s);
    for (int i = 0; i < 2; i++)
        c->seed.word[i] = (uint64_t)record_take_number(in);
    c->known = record_take_number(in);
    c->wanted = record_take_number(in);
    c->available = record_take_number(in);
    c->invisible = record_take_number(in);
    c->filtered = record_take_number(in);
    load_table(&c->roster, &c->seed, in);
    load_table(&c->directed, &c->seed, in);
    jid_table_trim(&c->roster);
    count_memory(c);
}
