/* Rooms (XEP-0045) that the client is in. A fresh upstream leg joins them again, asks for the history since the last
 * message that came, and drops of it what the client has had. A room that cannot be joined again is told as left: so is
 * one with a password on the node that takes the session over, for passwords do not go to the store. */
#include "base/map.h"
#include "base/mem.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/stanza.h"
#include "xmpp/xml.h"
#include <stdlib.h>

/* Messages remembered of a room; more than any server gives as history by default. */
#define REMEMBERED 128
/* Messages without an id are alike when they say the same: each is found only once in a history. */
#define FOUND 1u
/* The server's clock need not be ours: history is asked for from a little before; doubles are dropped. */
#define MARGIN (120 * USEC_S)

struct room {
    struct list link;
    char *key;              /* bare JID in lower case */
    char *occupant;         /* who we are there: the room's key, '/', the nick */
    struct entry *presence; /* the last word to it; no bytes: it cannot be joined again */
    uint64_t join;          /* number of the stanza that joined */
    char *password;
    struct entry *asked;  /* with another nick: not granted yet */
    bool joined;          /* our own presence has come back */
    bool rejoining;       /* on a fresh upstream leg it has not come back yet */
    bool refused;         /* … and will not */
    bool farewell;        /* the old leg's has come since the rebuild */
    bool repeated;        /* has been joined again: history may hold what the client has had */
    usec heard;           /* wall clock of the last message, or of the join */
    uint64_t subject;     /* digest */
    uint64_t *remembered; /* digests (their lowest bit is FOUND), a ring; NULL: none yet */
    unsigned next;
};

struct rooms {
    struct map *by_key;
    struct list all;
};

/* ---- names ---- */

/* Room names are compared in lower case (RFC 7622 3.3.2), nicks as they are. free() it. */
static char *lower_key(struct slice bare)
{
    char *key = mem_dup(bare);
    for (char *c = key; *c; c++)
        *c = jid_lower(*c);
    return key;
}

static char *occupant_of(struct slice full)
{
    struct slice bare = jid_bare(full);
    char *key = lower_key(bare), *occupant = mem_printf("%s%.*s", key, SLICE_ARG(slice_skip(full, bare.n)));
    free(key);
    return occupant;
}

static bool is_occupant(const char *occupant, struct slice full)
{
    char *other = occupant_of(full);
    bool same = strcmp(occupant, other) == 0;
    free(other);
    return same;
}

static struct room *find(const struct session *s, struct slice jid)
{
    if (!s->rooms || !jid.n)
        return NULL;
    char *key = lower_key(jid_bare(jid));
    struct room *r = map_get(s->rooms->by_key, slice_str(key));
    free(key);
    return r;
}

/* ---- life ---- */

static struct room *add(struct session *s, struct slice jid)
{
    if (!s->rooms) {
        s->rooms = MEM_NEW(struct rooms);
        s->rooms->by_key = map_new();
        list_init(&s->rooms->all);
    }
    if (map_count(s->rooms->by_key) >= s->cx->settings->sm.queue_stanzas || context_memory_full(s->cx))
        return NULL;
    struct room *r = MEM_NEW(struct room);
    r->key = lower_key(jid_bare(jid));
    r->heard = s->cx->clock->wall;
    list_append(&s->rooms->all, &r->link);
    map_put(s->rooms->by_key, slice_str(r->key), r);
    context_memory(s->cx, sizeof *r);
    return r;
}

static void drop(struct session *s, struct room *r)
{
    setup_replace(s, &r->presence, NULL);
    setup_replace(s, &r->asked, NULL);
    context_memory(s->cx, -(int64_t)(sizeof *r + (r->remembered ? REMEMBERED * sizeof *r->remembered : 0)));
    map_remove(s->rooms->by_key, slice_str(r->key));
    list_remove(&r->link);
    free(r->key);
    free(r->occupant);
    free(r->password);
    free(r->remembered);
    free(r);
}

void rooms_forget(struct session *s)
{
    for (struct list *it; s->rooms && (it = list_first(&s->rooms->all));)
        drop(s, CONTAINER_OF(it, struct room, link));
    if (s->rooms)
        map_free(s->rooms->by_key);
    free(s->rooms);
    s->rooms = NULL;
}

/* ---- what the client says ---- */

static const struct node *child_of(const struct node *root, const char *ns, const char *name)
{
    return root ? node_child(root, ns, name) : NULL;
}

static char *password_in(const struct entry *join)
{
    const struct node *root = NULL;
    struct xml_tree *tree = xml_tree_parse(entry_slice(join), &root);
    const struct node *password = child_of(child_of(root, NS_MUC, "x"), NS_MUC, "password");
    char *text = password ? mem_dup(password->text) : NULL;
    xml_tree_free(tree);
    return text;
}

static void join(struct session *s, struct room *r, const struct element *e, struct entry *presence)
{
    setup_replace(s, &r->presence, presence);
    free(r->occupant);
    r->occupant = occupant_of(e->to);
    free(r->password);
    r->password = password_in(presence);
    r->join = presence->number;
    r->joined = r->rejoining = r->refused = r->repeated = false;
}

bool rooms_note_presence(struct session *s, const struct element *e, uint64_t number)
{
    struct room *r = find(s, e->to);
    bool joins = (e->facts & FACT_MUC_JOIN) && jid_bare(e->to).n < e->to.n && !e->type.p;
    if (!r && !joins)
        return false;
    if (e->type.p) { /* unavailable: it leaves */
        drop(s, r);
        return true;
    }
    if (!r && !(r = add(s, e->to)))
        return false;
    struct entry *presence = entry_new(e, leg_extra_ns(&s->client->leg, e), s->cx->clock->wall);
    presence->number = number;
    presence->secret = stanza_is_secret(e);
    if (joins)
        join(s, r, e, presence);
    else if (is_occupant(r->occupant, e->to))
        setup_replace(s, &r->presence, presence);
    else
        setup_replace(s, &r->asked, presence); /* XEP-0045 7.6: another nick, if the room grants it */
    return true;
}

/* ---- what the room says ---- */

static void tell_left(struct session *s, const struct room *r)
{
    struct buf out = {0};
    BUF_LIT(&out, "<presence type='unavailable'");
    xml_attr(&out, "from", slice_str(r->occupant));
    xml_attr(&out, "to", slice_str(s->jid));
    BUF_LIT(&out, "><x xmlns='" NS_MUC_USER "'><item affiliation='none' role='none'/><status code='110'/>"
                  "<status code='333'/></x></presence>"); /* XEP-0045 9.x: for technical reasons */
    downlink_inject(s, CLASS_PRESENCE, buf_slice(&out));
    buf_free(&out);
    sightings_drop(s, slice_str(r->occupant));
}

static bool refused(struct session *s, struct room *r, const struct element *e)
{
    if (r->rejoining) { /* the client did not ask for it, so the error is not for it */
        r->refused = true;
        if (s->state == SESSION_ATTACHED) { /* what is parked meanwhile is older */
            tell_left(s, r);
            drop(s, r);
        }
        return true;
    }
    if (r->asked)
        setup_replace(s, &r->asked, NULL);
    else if (!r->joined && is_occupant(r->occupant, e->from))
        drop(s, r);
    return false;
}

/* The <x/> of muc#user; the tree is to be freed before scratch is used again. */
static const struct node *user_of(struct session *s, const struct element *e, struct xml_tree **tree_r)
{
    const struct node *root = NULL;
    *tree_r = xml_tree_parse(leg_outside(&s->up->leg, e, &s->cx->scratch), &root);
    return child_of(root, NS_MUC_USER, "x");
}

static bool has_status(const struct node *x, const char *code)
{
    for (const struct node *n = x ? x->first_child : NULL; n; n = n->next)
        if (slice_eq_str(n->name, "status") && slice_eq_str(node_attr(n, "code"), code))
            return true;
    return false;
}

/* XEP-0045 7.2.2: 110 marks our own presence, also when the room has given us another nick (210). */
static bool is_self(struct session *s, const struct element *e)
{
    struct xml_tree *tree;
    if (!(e->facts & FACT_MUC_USER) || !memmem(e->bytes.p, e->bytes.n, "110", 3))
        return false;
    bool self = has_status(user_of(s, e, &tree), "110");
    xml_tree_free(tree);
    return self;
}

static bool asked_for(const struct room *r, const char *occupant)
{
    const struct node *root = NULL;
    struct xml_tree *tree = r->asked ? xml_tree_parse(entry_slice(r->asked), &root) : NULL;
    bool same = root && is_occupant(occupant, node_attr(root, "to"));
    xml_tree_free(tree);
    return same;
}

static void renamed(struct session *s, struct room *r, struct slice nick)
{
    free(r->occupant);
    r->occupant = mem_printf("%s/%.*s", r->key, SLICE_ARG(nick));
    if (!asked_for(r, r->occupant))
        return; /* not what the client wanted, or by the room itself */
    struct entry *asked = r->asked;
    r->asked = NULL;
    context_memory(s->cx, -(int64_t)entry_cost(asked->n));
    setup_replace(s, &r->presence, asked);
}

static void rejoin(struct session *s, struct room *r);

/* A server that has not noticed yet that the old leg is gone takes us out of the room when it does, once, though the
 * fresh leg may be in already. What nobody did to us has no code but 110. */
static bool left_with_old_leg(const struct session *s, const struct room *r, const struct node *x)
{
    bool meant = !rebuild_is_settling(s) || r->farewell || !has_status(x, "110");
    for (const struct node *n = x ? x->first_child : NULL; n; n = n->next)
        meant |= slice_eq_str(n->name, "destroy") ||
                 (slice_eq_str(n->name, "status") && !slice_eq_str(node_attr(n, "code"), "110"));
    return !meant;
}

/* XEP-0045 7.6: with 303 the old nick goes and a new one comes; else we are out. True: not for the client. */
static bool gone(struct session *s, struct room *r, const struct element *e)
{
    struct xml_tree *tree;
    const struct node *x = user_of(s, e, &tree);
    struct slice nick = node_attr(child_of(x, NS_MUC_USER, "item"), "nick");
    bool again = left_with_old_leg(s, r, x);
    r->farewell |= again;
    if (has_status(x, "303") && nick.n) {
        renamed(s, r, nick);
    } else if (!again) {
        drop(s, r);
    } else if (!r->rejoining) {
        r->rejoining = true;
        rejoin(s, r);
    }
    xml_tree_free(tree);
    return again;
}

static void entered(struct room *r, struct slice occupant)
{
    free(r->occupant);
    r->occupant = occupant_of(occupant);
    r->joined = true;
    r->rejoining = r->refused = false;
}

bool rooms_hear_presence(struct session *s, const struct element *e)
{
    struct room *r = find(s, e->from);
    if (!r)
        return false;
    if (slice_eq_str(e->type, "error"))
        return refused(s, r, e);
    bool own = is_occupant(r->occupant, e->from);
    if (!e->type.p && (own || ((!r->joined || r->rejoining) && is_self(s, e))))
        entered(r, e->from);
    else if (own && slice_eq_str(e->type, "unavailable"))
        return gone(s, r, e);
    return false;
}

/* ---- messages ---- */

#define DIGEST_BEGIN 0xcbf29ce484222325u

static void digest_add(uint64_t *digest, struct slice s) /* FNV-1a */
{
    for (size_t i = 0; i < s.n; i++)
        *digest = (*digest ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    *digest = (*digest ^ 0x100u) * 0x100000001b3u;
}

static void digest_text(struct session *s, uint64_t *digest, const struct element *e, const char *child)
{
    const struct node *root = NULL;
    struct xml_tree *tree = xml_tree_parse(leg_outside(&s->up->leg, e, &s->cx->scratch), &root);
    const struct node *text = child_of(root, NS_CLIENT, child);
    if (text)
        digest_add(digest, text->text);
    xml_tree_free(tree);
}

/* Live and in history a message has the same sender and id; one without an id is known by its text. */
static uint64_t digest_of(struct session *s, const struct element *e)
{
    uint64_t digest = DIGEST_BEGIN;
    digest_add(&digest, e->from);
    digest_add(&digest, e->id);
    if (!e->id.n)
        digest_text(s, &digest, e, "body");
    return digest & ~(uint64_t)FOUND;
}

static bool is_remembered(struct room *r, uint64_t digest, bool once)
{
    for (unsigned i = 0; r->remembered && i < REMEMBERED; i++) {
        if (r->remembered[i] != digest && (once || r->remembered[i] != (digest | FOUND)))
            continue;
        r->remembered[i] |= FOUND;
        return true;
    }
    return false;
}

/* Where the next one goes. A history that is longer than what is remembered (late) must not push out what it will come
 * to yet; NULL then. */
static uint64_t *place_for(struct room *r, bool late)
{
    for (unsigned i = 0; i < REMEMBERED; i++) {
        uint64_t *place = &r->remembered[r->next++ % REMEMBERED];
        if (!late || *place == 0 || (*place & FOUND))
            return place;
    }
    return NULL;
}

static void remember(struct session *s, struct room *r, uint64_t digest, bool late)
{
    if (!r->remembered) {
        r->remembered = mem_zalloc(REMEMBERED * sizeof *r->remembered);
        context_memory(s->cx, REMEMBERED * sizeof *r->remembered);
    }
    uint64_t *place = place_for(r, late);
    if (place)
        *place = late ? digest | FOUND : digest;
}

/* The text alone counts: servers keep neither the id nor always the author of a subject. */
static bool hear_subject(struct session *s, struct room *r, const struct element *e)
{
    uint64_t digest = DIGEST_BEGIN;
    digest_text(s, &digest, e, "subject");
    bool same = r->repeated && digest == r->subject;
    r->subject = digest;
    return same;
}

bool rooms_hear_message(struct session *s, const struct element *e)
{
    struct room *r = slice_eq_str(e->type, "groupchat") ? find(s, e->from) : NULL;
    if (!r)
        return false;
    if ((e->facts & FACT_SUBJECT) && !(e->facts & FACT_BODY))
        return hear_subject(s, r, e);
    uint64_t digest = digest_of(s, e);
    bool late = r->repeated && (e->facts & FACT_DELAY);
    if (late && is_remembered(r, digest, !e->id.n))
        return true;
    r->heard = s->cx->clock->wall;
    remember(s, r, digest, late);
    return false;
}

/* ---- again ---- */

static void write_join(const struct room *r, struct buf *out)
{
    char stamp[CLOCK_STAMP_SIZE];
    BUF_LIT(out, "<x xmlns='" NS_MUC "'><history since='");
    buf_add_str(out, clock_stamp(stamp, r->heard - MARGIN));
    BUF_LIT(out, "'/>");
    if (r->password) {
        BUF_LIT(out, "<password>");
        xml_escape(out, slice_str(r->password));
        BUF_LIT(out, "</password>");
    }
    BUF_LIT(out, "</x>");
}

/* The last presence to the room, as a join: its own <x/>, if it has one, gives way to ours. */
static void write_as_join(const struct entry *presence, const struct node *root, struct slice x, struct buf *out)
{
    struct slice bytes = entry_slice(presence);
    const struct node *old = child_of(root, NS_MUC, "x");
    if (old) {
        size_t at = (size_t)(old->bytes.p - bytes.p);
        buf_append(out, bytes.p, at);
        buf_add(out, x);
        buf_add(out, slice_skip(bytes, at + old->bytes.n));
    } else {
        struct stanza_bytes stanza = {bytes, presence->open_end, presence->close_at, presence->name_end};
        stanza_write_with_child(out, &stanza, x);
    }
}

static void rejoin(struct session *s, struct room *r)
{
    struct buf x = {0}, out = {0};
    const struct node *root = NULL;
    struct xml_tree *tree = xml_tree_parse(entry_slice(r->presence), &root);
    write_join(r, &x);
    if (root && is_occupant(r->occupant, node_attr(root, "to"))) {
        write_as_join(r->presence, root, buf_slice(&x), &out);
    } else { /* the nick we have is not the one we came with */
        BUF_LIT(&out, "<presence");
        xml_attr(&out, "to", slice_str(r->occupant));
        BUF_LIT(&out, ">");
        buf_add(&out, buf_slice(&x));
        BUF_LIT(&out, "</presence>");
    }
    uplink_write(s, buf_slice(&out));
    xml_tree_free(tree);
    buf_free(&x);
    buf_free(&out);
}

void rooms_replay(struct session *s, uint64_t before)
{
    if (!s->rooms)
        return;
    LIST_FOREACH_SAFE(it, next, &s->rooms->all)
    {
        struct room *r = CONTAINER_OF(it, struct room, link);
        r->repeated = true;
        r->farewell = false;
        r->refused = false;
        for (unsigned i = 0; r->remembered && i < REMEMBERED; i++)
            r->remembered[i] &= ~(uint64_t)FOUND;
        setup_replace(s, &r->asked, NULL); /* if it was not confirmed it is sent again */
        if (!r->presence->n) {
            r->rejoining = r->refused = true;
        } else if (r->joined) { /* also ahead of a presence that is not a join, and is sent again */
            r->rejoining = true;
            rejoin(s, r);
        } else if (r->presence->number < before) {
            uplink_write(s, entry_slice(r->presence));
        }
    }
}

bool rooms_rejoined(const struct session *s, uint64_t number)
{
    if (!s->rooms)
        return false;
    LIST_FOREACH_SAFE(it, next, &s->rooms->all)
    {
        const struct room *r = CONTAINER_OF(it, struct room, link);
        if (r->join == number)
            return r->rejoining;
    }
    return false;
}

/* It may still let us in, much later: then it is to know that we are not here any more. */
static void leave(struct session *s, const struct room *r)
{
    struct buf out = {0};
    BUF_LIT(&out, "<presence type='unavailable'");
    xml_attr(&out, "to", slice_str(r->occupant));
    BUF_LIT(&out, "/>");
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
}

void rooms_settle(struct session *s)
{
    if (!s->rooms)
        return;
    LIST_FOREACH_SAFE(it, next, &s->rooms->all)
    {
        struct room *r = CONTAINER_OF(it, struct room, link);
        if (!r->rejoining)
            continue;
        if (!r->refused)
            leave(s, r);
        tell_left(s, r);
        drop(s, r);
    }
}

/* ---- over a stop ---- */

static void save_entrance(const struct session *s, const struct room *r, struct buf *out)
{
    static const struct entry none;
    bool open = !(r->password && s->kept) && keeping_may_save(s, r->presence);
    record_text(out, open ? slice_str(r->password) : SLICE_NONE);
    record_entry(out, open ? r->presence : &none);
}

void rooms_save(const struct session *s, struct buf *out)
{
    record_number(out, s->rooms ? (int64_t)map_count(s->rooms->by_key) : 0);
    if (!s->rooms)
        return;
    LIST_FOREACH_SAFE(it, next, &s->rooms->all)
    {
        const struct room *r = CONTAINER_OF(it, struct room, link);
        record_text(out, slice_str(r->key));
        record_text(out, slice_str(r->occupant));
        save_entrance(s, r, out);
        record_number(out, (int64_t)r->join);
        record_number(out, r->joined);
        record_number(out, r->heard);
        record_number(out, (int64_t)r->subject);
        record_number(out, r->remembered ? REMEMBERED : 0);
        for (unsigned i = 0; r->remembered && i < REMEMBERED; i++)
            record_number(out, (int64_t)r->remembered[(r->next + i) % REMEMBERED]);
    }
}

static void load_room(struct session *s, struct record_reader *in)
{
    struct slice key = record_take_text(in), occupant = record_take_text(in), password = record_take_text(in);
    struct entry *presence = record_take_entry(in);
    struct room *r = presence && key.n && !find(s, key) ? add(s, key) : NULL;
    uint64_t join = (uint64_t)record_take_number(in);
    bool joined = record_take_number(in);
    usec heard = record_take_number(in);
    uint64_t subject = (uint64_t)record_take_number(in);
    if (r) {
        r->occupant = mem_dup(occupant);
        r->password = password.n ? mem_dup(password) : NULL;
        r->join = join;
        r->joined = joined;
        r->heard = heard;
        r->subject = subject;
        setup_replace(s, &r->presence, presence);
    } else {
        entry_free(presence);
    }
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        uint64_t digest = (uint64_t)record_take_number(in);
        if (r && digest)
            remember(s, r, digest & ~(uint64_t)FOUND, false);
    }
}

void rooms_load(struct session *s, struct record_reader *in)
{
    for (size_t n = record_take_count(in); n && !in->bad; n--)
        load_room(s, in);
}
