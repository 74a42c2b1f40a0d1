/* Orders: each is a question to the thread that can carry it out. What a thread that does not answer in time will have
 * done in the end is not known to whoever gave the order; the log tells. */
#include "node_control.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "node_orders.h"
#include "question.h"
#include "session/session.h"
#include "storage.h"
#include "xmpp/jid.h"
#include <stdlib.h>

#define WORKER_TIME (5 * USEC_S)
#define RELOAD_TIME (30 * USEC_S) /* all certificates are read, once for each worker */

static enum control_result late(struct buf *out)
{
    buf_add_str(out, "no answer in time; the log will tell whether it was done");
    return CONTROL_LATE;
}

static enum control_result stopping(struct buf *out)
{
    buf_add_str(out, "the process is stopping");
    return CONTROL_REFUSED;
}

/* ---- drain ---- */

static void free_plain(struct question *q)
{
    free(q);
}

static void run_drain(void *running, void *arg)
{
    node_drain(running);
    question_answer(arg);
}

static enum control_result drain(void *ctx, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct question *q = MEM_NEW(struct question);
    question_init(q, free_plain);
    LOG(LOG_INFO, "control", LF("order", "drain"));
    bool posted = question_post(q, node->inbox, run_drain);
    bool done = question_wait(q, WORKER_TIME);
    question_release(q);
    if (!posted)
        return stopping(out);
    if (!done)
        return late(out);
    buf_printf(out, "\"clients\":%zu", admission_count(node->admission));
    return CONTROL_BEGUN;
}

/* ---- reload ---- */

struct reload_order {
    struct question question;
    bool good;
    struct config_problems problems;
};

static void reload_free(struct question *q)
{
    struct reload_order *o = CONTAINER_OF(q, struct reload_order, question);
    config_problems_free(&o->problems);
    free(o);
}

static void run_reload(void *running, void *arg)
{
    struct reload_order *o = arg;
    o->good = node_reload(running, &o->problems);
    question_answer(&o->question);
}

static void add_problems(struct buf *out, const struct config_problems *problems, bool warnings)
{
    const char *comma = "";
    buf_printf(out, "\"%s\":[", warnings ? "warnings" : "errors");
    for (size_t i = 0; i < problems->n; i++) {
        if (problems->list[i].warning != warnings)
            continue;
        buf_add_str(out, comma);
        json_quote(out, slice_str(problems->list[i].text));
        comma = ",";
    }
    BUF_LIT(out, "]");
}

static enum control_result told(const struct reload_order *o, struct buf *out)
{
    buf_printf(out, "\"reloaded\":%s,", o->good ? "true" : "false");
    add_problems(out, &o->problems, false);
    BUF_LIT(out, ",");
    add_problems(out, &o->problems, true);
    return o->good ? CONTROL_DONE : CONTROL_REFUSED;
}

static enum control_result reload(void *ctx, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct reload_order *o = MEM_NEW(struct reload_order);
    question_init(&o->question, reload_free);
    LOG(LOG_INFO, "control", LF("order", "reload"));
    enum control_result result;
    if (!question_post(&o->question, node->inbox, run_reload)) {
        result = CONTROL_LATE; /* a refusal would have to tell problems */
        buf_add_str(out, "the process is stopping");
    } else {
        result = question_wait(&o->question, RELOAD_TIME) ? told(o, out) : late(out);
    }
    question_release(&o->question);
    return result;
}

/* ---- disconnect ---- */

struct disconnect_order {
    struct question question;
    char sid[SID_SIZE];
    bool end;
    enum { SESSION_GONE, HAD_NO_CLIENT, DISCONNECTED } result;
};

static void disconnect_free(struct question *q)
{
    free(CONTAINER_OF(q, struct disconnect_order, question));
}

static void run_disconnect(void *owner, void *arg)
{
    struct disconnect_order *o = arg;
    struct session *s = registry_find(worker_context(owner)->registry, o->sid);
    if (s && o->end) {
        session_end(s, CLOSE_ADMIN, GOODBYE_END);
        o->result = DISCONNECTED;
    } else if (s) {
        o->result = session_disconnect(s) ? DISCONNECTED : HAD_NO_CLIENT;
    }
    question_answer(&o->question);
}

static enum control_result disconnected(const struct disconnect_order *o, struct buf *out)
{
    switch (o->result) {
    case SESSION_GONE:
        break;
    case HAD_NO_CLIENT:
        buf_add_str(out, "the session has no connection to cut: it waits for its client; ?end=yes ends it");
        return CONTROL_REFUSED;
    case DISCONNECTED:
        buf_printf(out, "\"sid\":\"%s\",\"ended\":%s", o->sid, o->end ? "true" : "false");
        return CONTROL_DONE;
    }
    buf_add_str(out, "no such session");
    return CONTROL_UNKNOWN;
}

static enum control_result ask_worker(struct disconnect_order *o, struct worker *w, struct buf *out)
{
    if (!question_post(&o->question, worker_inbox(w), run_disconnect))
        return stopping(out);
    return question_wait(&o->question, WORKER_TIME) ? disconnected(o, out) : late(out);
}

static enum control_result disconnect(void *ctx, struct slice sid, bool end, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct owner_place place = {0};
    struct disconnect_order *o = MEM_NEW(struct disconnect_order);
    question_init(&o->question, disconnect_free);
    o->end = end;
    if (sid.n == SID_SIZE - 1)
        memcpy(o->sid, sid.p, sid.n);
    LOG(LOG_INFO, "control", LF("order", "disconnect"), LF("sid", o->sid), LF("end", end ? "yes" : "no"));
    enum control_result result = o->sid[0] && owner_find(node->owner, o->sid, &place)
                                     ? ask_worker(o, node->workers[place.worker], out)
                                     : disconnected(o, out);
    owner_place_clear(&place);
    question_release(&o->question);
    return result;
}

/* ---- purge ---- */

struct purge_order {
    struct question question;
    char *account;
    struct store *store;
    size_t sessions;
    struct store_purged purged;
};

static void purge_free(struct question *q)
{
    struct purge_order *o = CONTAINER_OF(q, struct purge_order, question);
    free(o->account);
    free(o);
}

struct ending {
    const char *account;
    size_t ended;
};

static bool end_if_detached(void *ctx, struct session *s)
{
    struct ending *e = ctx;
    struct session_info info;
    session_info(s, &info);
    if (info.state == SESSION_DETACHED && !info.resuming && slice_eq_str(jid_bare(slice_str(info.jid)), e->account)) {
        session_end(s, CLOSE_PURGED, GOODBYE_CUT);
        e->ended++;
    }
    return true;
}

static void run_end_detached(void *owner, void *arg)
{
    struct purge_order *o = arg;
    struct ending e = {.account = o->account};
    registry_each(worker_context(owner)->registry, end_if_detached, &e);
    pthread_mutex_lock(&o->question.lock);
    o->sessions += e.ended;
    pthread_mutex_unlock(&o->question.lock);
    question_answer(&o->question);
}

static void on_purged(void *ctx, const struct store_purged *purged)
{
    struct purge_order *o = ctx;
    o->purged = *purged;
    question_answer(&o->question);
}

/* On a worker's thread, as all that is asked of a store. */
static void run_purge(void *owner, void *arg)
{
    struct purge_order *o = arg;
    struct store *store = worker_context(owner)->store;
    store->ops->purge(store, slice_str(o->account), on_purged, o);
}

static void tell_purged(const struct purge_order *o, struct buf *out)
{
    BUF_LIT(out, "\"account\":");
    json_quote(out, slice_str(o->account));
    buf_printf(out, ",\"messages\":%zu,\"bytes\":%zu,\"lent\":%zu,\"tombstones\":%zu,\"sessions\":%zu",
               o->purged.messages, o->purged.bytes, o->purged.lent, o->purged.tombstones, o->sessions);
    LOG(LOG_INFO, "purged", LF("account", o->account), LF_INT("messages", o->purged.messages),
        LF_INT("lent", o->purged.lent), LF_INT("sessions", o->sessions));
}

/* The sessions first: what they had of the mailbox goes back there. */
static bool carry_out(struct purge_order *o, struct proxy_node *node)
{
    for (unsigned i = 0; i < node->worker_count; i++)
        question_post(&o->question, worker_inbox(node->workers[i]), run_end_detached);
    return question_wait(&o->question, WORKER_TIME) &&
           question_post(&o->question, worker_inbox(node->workers[0]), run_purge) &&
           question_wait(&o->question, WORKER_TIME);
}

static enum control_result purge(void *ctx, struct slice jid, struct buf *out)
{
    struct jid parts;
    if (!jid_parse(jid, &parts)) {
        buf_add_str(out, "that is no JID");
        return CONTROL_UNKNOWN;
    }
    struct purge_order *o = MEM_NEW(struct purge_order);
    question_init(&o->question, purge_free);
    o->account = mem_dup(parts.bare);
    LOG(LOG_INFO, "control", LF("order", "purge"), LF("account", o->account));
    bool done = carry_out(o, ctx);
    if (done)
        tell_purged(o, out);
    question_release(&o->question);
    return done ? CONTROL_DONE : late(out);
}

struct control_actions node_control_actions(struct proxy_node *node)
{
    return (struct control_actions){node, drain, reload, disconnect, purge, node_tell_message};
}
