#include "chat_states.h"
#include "base/mem.h"
#include "base/random.h"
#include "contacts.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"
#include <stdio.h>
#include <stdlib.h>

#define CHATS_MAX  16 /* those that were spoken in last */
#define TO_MAX     3071
#define THREAD_MAX 255
#define ID_START   "hft-"

/* With one account: the client speaks to it from one window, be it to its bare address or to that of a client. */
struct chat {
    struct list link;
    bool composing;
    bool typed; /* type='chat'; without a type else */
    uint16_t to_n, thread_n;
    char text[]; /* to, thread (none when empty) */
};

struct chat_states {
    char id[sizeof ID_START + 16]; /* of ours. Contacts see it, so it tells nothing of the session */
    struct list chats;             /* the one that was spoken in last at the end */
    size_t count, composing;
};

static struct slice to_of(const struct chat *c)
{
    return slice_of(c->text, c->to_n);
}

static struct slice thread_of(const struct chat *c)
{
    return slice_of(c->text + c->to_n, c->thread_n);
}

static struct chat *chat_of(struct list *link)
{
    return CONTAINER_OF(link, struct chat, link);
}

static int64_t cost(const struct chat *c)
{
    return (int64_t)(sizeof *c + c->to_n + c->thread_n);
}

static struct chat *find(const struct chat_states *cs, struct slice address)
{
    LIST_FOREACH_SAFE(it, next, &cs->chats)
    {
        if (slice_eq(jid_bare(to_of(chat_of(it))), jid_bare(address)))
            return chat_of(it);
    }
    return NULL;
}

static void set_composing(struct chat_states *cs, struct chat *c, bool composing)
{
    cs->composing += composing;
    cs->composing -= c->composing;
    c->composing = composing;
}

static void drop(struct session *s, struct chat *c)
{
    set_composing(s->chat_states, c, false);
    s->chat_states->count--;
    context_memory(s->cx, -cost(c));
    list_remove(&c->link);
    free(c);
}

/* ---- what the client says ---- */

static struct chat_states *chat_states_of(struct session *s)
{
    if (!s->chat_states) {
        struct chat_states *cs = s->chat_states = MEM_NEW(struct chat_states);
        char tag[17];
        random_hex(tag, 8);
        snprintf(cs->id, sizeof cs->id, ID_START "%s", tag);
        list_init(&cs->chats);
        context_memory(s->cx, sizeof *cs);
    }
    return s->chat_states;
}

static struct chat *add(struct session *s, struct slice to, bool typed, struct slice thread)
{
    struct chat_states *cs = chat_states_of(s);
    if (cs->count == CHATS_MAX)
        drop(s, chat_of(list_first(&cs->chats)));
    struct chat *c = mem_alloc(sizeof *c + to.n + thread.n);
    *c = (struct chat){.typed = typed, .to_n = (uint16_t)to.n, .thread_n = (uint16_t)thread.n};
    memcpy(c->text, to.p, to.n);
    if (thread.p)
        memcpy(c->text + to.n, thread.p, thread.n);
    list_append(&cs->chats, &c->link);
    cs->count++;
    context_memory(s->cx, cost(c));
    return c;
}

/* With one other; rooms and what is no chat have no such states, or are told by others (XEP-0085 5.4, 5.5). */
static bool is_chat(const struct session *s, const struct element *e)
{
    bool type = !e->type.p || slice_eq_str(e->type, "chat") || slice_eq_str(e->type, "normal");
    return type && e->to.n && e->to.n <= TO_MAX && e->thread.n <= THREAD_MAX &&
           !slice_eq(jid_bare(e->to), session_account(s)) && !contacts_is_room(s->contacts, e->to);
}

/* A chat begins with a state that stands alone: one beside a text may only ask whether the other knows states, and
 * whoever does not is told no more of them (XEP-0085 5.1). */
static void told_alone(struct session *s, const struct element *e)
{
    struct chat_states *cs = chat_states_of(s);
    struct chat *old = find(cs, e->to);
    if (!old)
        keeping_changed(s, false);
    if (old)
        drop(s, old);
    if (e->chat_state == CHAT_GONE)
        return;
    struct chat *c = add(s, e->to, slice_eq_str(e->type, "chat"), e->thread);
    set_composing(cs, c, e->chat_state == CHAT_COMPOSING);
}

void chat_states_from_client(struct session *s, const struct element *e)
{
    struct chat_states *cs = s->chat_states;
    if (e->kind != ELEMENT_MESSAGE || !(e->facts & (FACT_CHAT_STATE | FACT_PAYLOAD)) || (!cs && !e->chat_state))
        return;
    bool alone = e->chat_state && !(e->facts & FACT_PAYLOAD);
    struct chat *c = !alone && cs && cs->composing ? find(cs, e->to) : NULL;
    if (alone && s->cx->settings->receipts.paused_after && is_chat(s, e) && !context_memory_full(s->cx))
        told_alone(s, e);
    else if (c && (e->facts & FACT_BODY))
        set_composing(cs, c, e->chat_state == CHAT_COMPOSING); /* it was written */
}

/* ---- what is said for it ---- */

static void say(struct session *s, const struct chat *c, const char *state)
{
    struct buf out = {0};
    BUF_LIT(&out, "<message");
    xml_attr(&out, "to", to_of(c));
    xml_attr(&out, "type", c->typed ? SLICE_LIT("chat") : SLICE_NONE);
    xml_attr(&out, "id", slice_str(s->chat_states->id));
    BUF_LIT(&out, ">");
    if (c->thread_n) {
        BUF_LIT(&out, "<thread>");
        xml_escape(&out, thread_of(c));
        BUF_LIT(&out, "</thread>");
    }
    buf_printf(&out, "<%s xmlns='" NS_CHAT_STATES "'/></message>", state);
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
}

static bool is_waiting(const struct session *s)
{
    return s->chat_states && s->chat_states->composing && s->up && s->state == SESSION_DETACHED && !s->resuming &&
           s->cx->settings->receipts.paused_after;
}

usec chat_states_due_at(const struct session *s)
{
    return is_waiting(s) ? s->changed + s->cx->settings->receipts.paused_after : -1;
}

void chat_states_turn(struct session *s)
{
    if (!is_waiting(s) || s->cx->clock->mono < chat_states_due_at(s))
        return;
    LIST_FOREACH_SAFE(it, next, &s->chat_states->chats)
    {
        struct chat *c = chat_of(it);
        if (!c->composing)
            continue;
        say(s, c, "paused");
        set_composing(s->chat_states, c, false);
        count(s->cx->counters, METRIC_chat_states_paused);
    }
}

bool chat_states_take_error(struct session *s, const struct element *e)
{
    const struct chat_states *cs = s->chat_states;
    return cs && e->kind == ELEMENT_MESSAGE && slice_eq_str(e->type, "error") && slice_eq_str(e->id, cs->id) &&
           find(cs, e->from);
}

/* Nobody came back for it. A node that stops, or gives the session to another one, is not the client's end. */
static bool is_gone(const struct session *s, enum close_reason reason)
{
    return s->up && s->state == SESSION_DETACHED && s->cx->settings->receipts.paused_after &&
           (reason == CLOSE_EXPIRED || reason == CLOSE_QUEUE_FULL || reason == CLOSE_EVICTED);
}

void chat_states_end(struct session *s, enum close_reason reason)
{
    if (!s->chat_states)
        return;
    LIST_FOREACH_SAFE(it, next, &s->chat_states->chats)
    {
        if (is_gone(s, reason)) {
            say(s, chat_of(it), "gone");
            count(s->cx->counters, METRIC_chat_states_gone);
        }
    }
    chat_states_forget(s);
}

void chat_states_forget(struct session *s)
{
    if (!s->chat_states)
        return;
    LIST_FOREACH_SAFE(it, next, &s->chat_states->chats)
    {
        drop(s, chat_of(it));
    }
    context_memory(s->cx, -(int64_t)sizeof *s->chat_states);
    free(s->chat_states);
    s->chat_states = NULL;
}

/* ---- over a stop ---- */

void chat_states_save(const struct session *s, struct buf *out)
{
    record_number(out, s->chat_states ? (int64_t)s->chat_states->count : 0);
    if (!s->chat_states)
        return;
    LIST_FOREACH_SAFE(it, next, &s->chat_states->chats)
    {
        const struct chat *c = chat_of(it);
        record_text(out, to_of(c));
        record_number(out, c->typed);
        record_text(out, thread_of(c));
    }
}

void chat_states_load(struct session *s, struct record_reader *in)
{
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        struct slice to = record_take_text(in);
        bool typed = record_take_number(in);
        struct slice thread = record_take_text(in);
        in->bad |= !to.n || to.n > TO_MAX || thread.n > THREAD_MAX;
        if (!in->bad)
            add(s, to, typed, thread);
    }
}
