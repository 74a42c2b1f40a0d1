/* Receipts that are due: who may have them, when the server takes them, and whether it has them. */
#include "contacts.h"
#include "receipts_impl.h"
#include "session/answered.h"
#include <inttypes.h>
#include <stdio.h>

/* Servers throttle a client that sends much (ejabberd: 1000 bytes a second): ours must not use that up. */
#define INTERVAL (USEC_S / 5)
#define BURST    20

/* Asked twice, when the request is due and when it is answered, as much may change in between. */
bool receipts_may_have(const struct session *s, const struct request *req)
{
    const struct contacts *c = s->contacts;
    if (s->cx->settings->receipts.to == RECEIPTS_TO_CONTACTS)
        return contacts_sees(c, request_from(req));
    return contacts_is_visible(c) || contacts_is_directed(c, request_from(req));
}

bool receipts_is_acked(const struct session *s, const struct request *req)
{
    return req->number <= (req->handed ? handed_acked(s) : s->out.acked);
}

/* Whoever goes on with the session has to send it: in the record ahead of the ack that made it due. */
void receipts_add_due(struct session *s, struct request *req)
{
    req->due = s->cx->clock->mono + s->cx->settings->receipts.grace;
    requests_add(&s->receipts->due, req);
    keeping_changed(s, true);
}

/* ---- writing ---- */

static void send(struct session *s, struct request *req, enum receipt_kind kind)
{
    static const enum metric sent[] = {[RECEIPT_RECEIVED] = METRIC_receipts_proxy,
                                       [RECEIPT_DELIVERED] = METRIC_message_events_delivered_proxy,
                                       [RECEIPT_OFFLINE] = METRIC_message_events_offline_proxy};
    struct receipts *r = s->receipts;
    struct receipt receipt = request_receipt(req);
    struct buf out = {0};
    char id[64];
    receipts_remember(s, req, kind);
    snprintf(id, sizeof id, ID_START "%s-%" PRIu64, r->tag, r->last);
    receipt_write(&out, &receipt, kind, id);
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
    count(s->cx->counters, sent[kind]);
    if (kind == RECEIPT_OFFLINE)
        keeping_changed(s, true); /* nor is it told by another node */
    else
        fate_tell(s, FATE_RECEIPT, &(struct entry){.id = fate_id(s->cx, request_id(req)), .number = req->number});
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

static void send_all(struct session *s, struct request *req)
{
    for (unsigned i = 0; i < RECEIPT_KINDS; i++) {
        if (req->kinds & 1u << i) {
            pay(s->receipts, s->cx->clock->mono);
            send(s, req, 1u << i);
        }
    }
    req->ours = s->receipts->last;
    req->due = s->cx->clock->mono;
    if (session_confirms(s) && req->kinds != RECEIPT_OFFLINE) /* that is told once: the next server comes too late */
        requests_add(&s->receipts->written, req);
    else
        request_drop(s, req);
}

/* Nobody knows the roster yet that decides about the first of them. */
static bool must_wait(struct session *s)
{
    struct receipts *r = s->receipts;
    r->waits = s->cx->settings->receipts.to == RECEIPTS_TO_CONTACTS && !receipts_may_have(s, r->due.first) &&
               contacts_await(s);
    return r->waits;
}

/* The client was away for less than receipts.grace, or has said by resuming that it had the message. */
static bool is_outdated(const struct session *s, const struct request *req)
{
    return req->kinds == RECEIPT_OFFLINE && receipts_is_acked(s, req);
}

/* Of a message that several clients of the account have got, one receipt is enough. */
static void leave_to_others(struct session *s, struct request *req)
{
    struct receipt receipt = request_receipt(req);
    for (unsigned kind = 1; kind < 1u << RECEIPT_KINDS; kind <<= 1)
        if (req->kinds & kind && !answered_note(s->cx->answered, session_account(s), s->sid, &receipt, kind))
            request_withhold(s, req, kind, METRIC_receipts_withheld_account);
}

void receipts_send_due(struct session *s, bool all)
{
    struct receipts *r = s->receipts;
    usec now = s->cx->clock->mono;
    while (r->due.first && (all || (r->due.first->due <= now && free_at(r) <= now && !must_wait(s)))) {
        struct request *req = requests_take(&r->due);
        if (!receipts_may_have(s, req))
            request_withhold(s, req, req->kinds, METRIC_receipts_withheld_presence);
        if (is_outdated(s, req))
            req->kinds = 0;
        leave_to_others(s, req);
        if (req->kinds)
            send_all(s, req);
        else
            request_drop(s, req);
    }
}

void receipts_turn(struct session *s)
{
    if (s->receipts && s->receipts->due.first && server_takes(s))
        receipts_send_due(s, false);
}

usec receipts_due_at(const struct session *s)
{
    const struct receipts *r = s->receipts;
    if (!r || !r->due.first || !server_takes(s) || r->waits)
        return -1;
    return r->due.first->due > free_at(r) ? r->due.first->due : free_at(r);
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
        request_drop(s, requests_take(&r->written));
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

/* ---- the last moment ---- */

void receipts_last_call(struct session *s)
{
    struct receipts *r = s->receipts;
    if (!r || !s->up)
        return;
    receipts_send_due(s, true); /* the server hears the leg out */
    while (r->written.first)
        request_drop(s, requests_take(&r->written));
}

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
    receipts_on_spill(s, reason, false);
    if (!is_deaf(reason))
        receipts_last_call(s);
    receipts_withhold_all(s, &r->due, METRIC_receipts_withheld_upstream);
    receipts_withhold_all(s, &r->written, METRIC_receipts_withheld_upstream); /* nobody knows */
    receipts_withhold_all(s, &r->unacked, METRIC_receipts_withheld_unacked);
    receipts_forget(s);
}
