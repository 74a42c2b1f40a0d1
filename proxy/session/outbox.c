/* The account's outbox: messages that were acked to a client of it, and that the server may have lost when it died.
 * They are sent on the account's next upstream leg, ahead of the client's own, or at once where the account is online;
 * and leave the box when a barrier behind them is answered. */
#include "base/log.h"
#include "base/mem.h"
#include "session_impl.h"
#include <inttypes.h>
#include <stdlib.h>

/* The store may answer when the session is gone: it is found again by its id. */
struct ask {
    struct context *cx;
    char sid[SID_SIZE];
    char *account;
};

static void put_back(struct context *cx, struct slice account, struct entry *e)
{
    cx->store->ops->box_put(cx->store, BOX_OUT, account, e);
}

static void post(struct session *s, struct entry *e)
{
    if (!s->posted)
        s->posted = MEM_NEW(struct queue);
    queue_append(s->posted, e);
}

static struct entry *take_posted(struct session *s, uint64_t upto)
{
    return s->posted ? queue_take(s->posted, upto) : NULL;
}

static void on_messages(void *ctx, struct entry *first, size_t n)
{
    struct ask *ask = ctx;
    struct session *s = registry_find(ask->cx->registry, ask->sid);
    for (struct entry *e = first, *next; e; e = next) {
        next = e->next;
        if (s && s->up) {
            uplink_write(s, e->delayed ? entry_slice(e) : downlink_stamped(s, e));
            fate_mark(s->cx, e);
            fate_tell(s, FATE_POSTED, e);
            post(s, e);
        } else {
            put_back(ask->cx, slice_str(ask->account), e);
        }
    }
    if (s && n) {
        LOG(LOG_INFO, "outbox sent", LF("sid", s->sid), LF_INT("messages", n));
        session_dirty(s);
    }
    free(ask->account);
    free(ask);
}

void outbox_fetch(struct session *s)
{
    if (!s->account_n)
        return;
    struct ask *ask = MEM_NEW(struct ask);
    ask->cx = s->cx;
    memcpy(ask->sid, s->sid, SID_SIZE);
    ask->account = mem_dup(session_account(s));
    s->cx->store->ops->box_take(s->cx->store, BOX_OUT, session_account(s), s->sid, on_messages, ask);
}

void outbox_confirmed(struct session *s, uint64_t upto)
{
    struct leftover *left = NULL;
    for (struct entry *e; (e = take_posted(s, upto));) {
        fate_tell(s, FATE_CONFIRMED, e);
        s->cx->store->ops->box_done(s->cx->store, BOX_OUT, session_account(s), slice_str(e->origin));
        linger_posted(s, &left, e);
    }
}

bool outbox_waits(const struct session *s)
{
    return s->posted && s->posted->count;
}

uint64_t outbox_posted(const struct session *s)
{
    return s->posted ? s->posted->last_number : 0;
}

void outbox_keep(struct context *cx, const char *sid, struct slice account, struct entry *e)
{
    if (!e->origin) /* else it comes from the box, and has another's number */
        e->origin = mem_printf("%s/up/%" PRIu64, sid, e->number);
    put_back(cx, account, e);
}

void outbox_unsent(struct session *s)
{
    for (struct entry *e; (e = take_posted(s, UINT64_MAX));)
        put_back(s->cx, session_account(s), e);
}

void outbox_forget(struct session *s)
{
    free(s->posted);
    s->posted = NULL;
}
