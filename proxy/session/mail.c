/* The account's mailbox, delivered: to a session whose client is available, old messages ahead of new ones. A message
 * leaves the mailbox when the client has acked it; until then it is only lent to the session. */
#include "base/log.h"
#include "base/mem.h"
#include "receipts.h"
#include "session_impl.h"
#include <stdlib.h>

/* The store may answer when the session is gone: it is found again by its id. */
struct ask {
    struct context *cx;
    char sid[SID_SIZE];
    char *account;
};

static void deliver(struct session *s, struct entry *e)
{
    e->stamp = true;
    fate_mark(s->cx, e);
    bool handed = s->state == SESSION_UNMANAGED;
    if (handed)
        handed_write(s, e);
    else
        downlink_append(s, e);
    receipts_on_mail(s, e, handed);
}

static void put_back(struct context *cx, struct slice account, struct entry *e)
{
    cx->store->ops->box_put(cx->store, BOX_MAIL, account, e);
}

/* A mailbox may hold more than a queue: half of its limits at a time, the rest when that was acked. */
static bool has_room(const struct session *s, const struct entry *e)
{
    const struct settings *set = s->cx->settings;
    size_t count = s->out.queue.count + handed_count(s), bytes = s->out.queue.bytes + handed_bytes(s);
    return count == 0 || (count < set->sm.queue_stanzas / 2 && bytes + e->n < set->sm.queue_bytes / 2);
}

static void write_held(struct session *s)
{
    uplink_write(s, entry_slice(s->held));
    fate_tell(s, FATE_FORWARDED, s->held);
}

static void on_mail(void *ctx, struct entry *first, size_t n)
{
    struct ask *ask = ctx;
    struct session *s = registry_find(ask->cx->registry, ask->sid);
    for (struct entry *e = first, *next; e; e = next) {
        next = e->next;
        e->next = NULL;
        if (s && !s->mail_more && has_room(s, e)) {
            deliver(s, e);
            continue;
        }
        if (s)
            s->mail_more = true;
        put_back(ask->cx, slice_str(ask->account), e);
    }
    if (s && n)
        LOG(LOG_INFO, "mail delivered", LF("sid", s->sid), LF_INT("messages", n));
    if (s) {
        s->mail_asked = false;
        if (s->mail_hinted && !s->mail_more)
            session_fetch_mail(s);
        if (s->held)
            write_held(s);
        entry_free(s->held);
        s->held = NULL;
        if (s->client)
            leg_go(&s->client->leg, STOP_MAIL);
        session_dirty(s);
    }
    free(ask->account);
    free(ask);
}

void session_fetch_mail(struct session *s)
{
    if (s->mail_asked || !s->account_n || !s->client || !s->told.available)
        return;
    struct ask *ask = MEM_NEW(struct ask);
    ask->cx = s->cx;
    memcpy(ask->sid, s->sid, SID_SIZE);
    ask->account = mem_dup(session_account(s));
    s->mail_asked = true;
    s->mail_more = s->mail_hinted = false;
    s->cx->store->ops->box_take(s->cx->store, BOX_MAIL, session_account(s), s->sid, on_mail, ask);
}

/* One that has no room for more asks by itself when it has. */
void session_hint_mail(struct session *s)
{
    outbox_fetch(s);
    if (s->mail_asked)
        s->mail_hinted = true;
    else if (!s->mail_more)
        session_fetch_mail(s);
}

/* The presence that makes the client available brings what the server has stored: older mail of ours goes first. */
bool mail_before_presence(struct session *s, const struct element *e)
{
    session_fetch_mail(s);
    if (!s->mail_asked)
        return false;
    s->held = entry_new(e, leg_extra_ns(&s->client->leg, e), s->cx->clock->wall);
    s->held->id = fate_id(s->cx, e->id);
    leg_stop(&s->client->leg, STOP_MAIL);
    return true;
}

void mail_delivered(struct session *s, const struct entry *e)
{
    s->cx->store->ops->box_done(s->cx->store, BOX_MAIL, session_account(s), slice_str(e->origin));
    count_add(s->cx->counters, METRIC_mailbox_lent, -1);
}

void mail_tell_others(struct context *cx, struct slice account)
{
    struct owner_place place = {0};
    if (account.n && owner_find_available(cx->owner, account, &place))
        cx->ops->post_mail(cx, place.sid, place.worker);
    owner_place_clear(&place);
}

void sessions_hint_mail(struct context *cx, const char *tag)
{
    struct owner_place place = {0};
    if (owner_find_tagged(cx->owner, slice_str(tag), &place))
        cx->ops->post_mail(cx, place.sid, place.worker);
    owner_place_clear(&place);
}

void mail_turn(struct session *s)
{
    if (s->mail_more && !handed_count(s) && !s->out.queue.count)
        session_fetch_mail(s);
}
