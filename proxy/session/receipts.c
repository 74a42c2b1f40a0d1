#include "receipts.h"
#include "contacts.h"
#include "receipts_impl.h"
#include "session/answered.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- messages that ask ---- */

/* Once for each sender and id, in a session (a sender that is not sure may send its message again). */
static unsigned repeated_kinds(const struct receipts *r, const struct receipt *asked)
{
    const struct request *waiting = receipts_waiting_for(r, asked->to, asked->id);
    if (waiting && slice_eq(request_from(waiting), asked->to))
        return asked->kinds;
    return receipts_were_sent(r, asked->to, asked->id, asked->kinds);
}

/* What it asks for and may get, in kinds. Out of the mailbox it comes for the second time: that it went there was told.
 */
static bool is_asked(const struct session *s, const struct element *e, const struct entry *entry, struct receipt *asked)
{
    if (receipt_judge(e, session_account(s), asked) != RECEIPT_DUE)
        return false;
    if (!s->cx->settings->receipts.events)
        asked->kinds &= RECEIPT_RECEIVED;
    if (entry->origin || entry->class != CLASS_KEEP || !s->cx->settings->receipts.synthesize)
        asked->kinds &= ~(unsigned)RECEIPT_OFFLINE;
    return asked->kinds && !contacts_is_room(s->contacts, asked->to);
}

static void tell_offline(struct session *s, struct request *req);

void receipts_on_append(struct session *s, struct entry *entry, const struct element *e, bool handed)
{
    struct receipt asked;
    if (!is_asked(s, e, entry, &asked))
        return;
    struct receipts *r = receipts_of(s);
    bool too_long = asked.to.n > FROM_MAX || asked.id.n > ID_MAX;
    unsigned refused = too_long ? asked.kinds : repeated_kinds(r, &asked);
    receipts_count_withheld(s, refused, too_long ? METRIC_receipts_withheld_limit : METRIC_receipts_withheld_repeated);
    asked.kinds &= ~refused;
    if (!asked.kinds)
        return;
    struct request *req = request_new(s, &asked);
    size_t moved = entry->n - e->bytes.n; /* by what was put in ahead */
    req->entry = entry;
    req->number = entry->number;
    req->handed = handed;
    req->offline_at = (uint32_t)(e->offline_at + moved);
    req->offline_end = (uint32_t)(e->offline_end + moved);
    requests_add(&r->unacked, req);
    if (s->state == SESSION_DETACHED)
        tell_offline(s, req);
}

/* What lies in a mailbox, or was kept over a stop, is a stanza and nothing else: the few that ask are parsed once more.
 */
void receipts_on_mail(struct session *s, struct entry *entry, bool handed)
{
    const struct node *root;
    if (!memmem(entry->bytes, entry->n, NS_RECEIPTS, sizeof NS_RECEIPTS - 1) &&
        !memmem(entry->bytes, entry->n, NS_EVENT, sizeof NS_EVENT - 1))
        return;
    struct xml_tree *tree = xml_tree_parse(entry_slice(entry), &root);
    if (tree)
        receipts_on_append(s, entry, xml_tree_element(tree), handed);
    xml_tree_free(tree);
}

/* ---- what waits for a client ---- */

/* Due by itself, while the request goes on waiting for the ack. A server that stores a message takes the question out
 * of it (XEP-0022 3): blanks do, so that nothing moves. */
static void tell_offline(struct session *s, struct request *req)
{
    if (!(req->kinds & RECEIPT_OFFLINE))
        return;
    memset(req->entry->bytes + req->offline_at, ' ', req->offline_end - req->offline_at);
    struct receipt told = request_receipt(req);
    told.kinds = RECEIPT_OFFLINE;
    req->kinds &= (uint8_t)~RECEIPT_OFFLINE;
    if (s->receipts->due.count >= DUE_MAX)
        return;
    struct request *offline = request_apart(s, &told);
    offline->number = req->number;
    offline->handed = req->handed;
    receipts_add_due(s, offline);
}

/* At a stop mailboxes may end with the node, and what is purged is not stored. */
void receipts_on_spill(struct session *s, enum close_reason reason, bool handed)
{
    struct receipts *r = s->receipts;
    if (!r || !s->up || !s->account_n || reason == CLOSE_SHUTDOWN || reason == CLOSE_PURGED)
        return;
    for (struct request *req = r->unacked.first; req; req = req->next)
        if (req->handed == handed && !req->entry->receipted)
            tell_offline(s, req);
}

/* ---- acks ---- */

static void become_due(struct session *s, struct request *req)
{
    struct receipts *r = s->receipts;
    req->entry = NULL;
    req->kinds &= RECEIPT_OF_CLIENT;
    request_withhold(s, req, r->own, METRIC_receipts_withheld_client);
    if (s->up && contacts_is_known(s->contacts) && !receipts_may_have(s, req))
        request_withhold(s, req, req->kinds, METRIC_receipts_withheld_presence); /* strangers take no place */
    if (r->due.count >= DUE_MAX)
        request_withhold(s, req, req->kinds, METRIC_receipts_withheld_limit);
    if (req->kinds && s->cx->settings->receipts.synthesize)
        receipts_add_due(s, req);
    else
        request_drop(s, req);
}

void receipts_on_acked(struct session *s)
{
    struct receipts *r = s->receipts;
    while (r && r->unacked.first && receipts_is_acked(s, r->unacked.first))
        become_due(s, requests_take(&r->unacked));
}

/* They are ahead of all that came when the client had enabled stream management. */
void receipts_unproved(struct session *s, uint64_t upto)
{
    struct receipts *r = s->receipts;
    while (r && r->unacked.first && r->unacked.first->handed && r->unacked.first->number <= upto) {
        struct request *req = requests_take(&r->unacked);
        request_withhold(s, req, req->kinds, METRIC_receipts_withheld_unacked);
        request_drop(s, req);
    }
    receipts_on_acked(s);
}

/* ---- the client's own ---- */

/* One that speaks for itself does so always; only of what it has spoken of. */
static void withhold_due(struct session *s, unsigned kinds)
{
    struct requests all = s->receipts->due;
    s->receipts->due = (struct requests){0};
    while (all.first) {
        struct request *req = requests_take(&all);
        request_withhold(s, req, kinds, METRIC_receipts_withheld_client);
        if (req->kinds)
            requests_add(&s->receipts->due, req);
        else
            request_drop(s, req);
    }
}

static void count_own(struct session *s, unsigned kinds)
{
    if (kinds & RECEIPT_RECEIVED)
        count(s->cx->counters, METRIC_receipts_client);
    if (kinds & RECEIPT_DELIVERED)
        count(s->cx->counters, METRIC_message_events_delivered_client);
}

/* Other clients of the account need not be spoken for. */
static void note_own(struct session *s, const struct request *req, unsigned kinds)
{
    struct receipt receipt = request_receipt(req);
    for (unsigned kind = 1; kind < 1u << RECEIPT_KINDS; kind <<= 1)
        if (kinds & kind)
            answered_note(s->cx->answered, session_account(s), s->sid, &receipt, kind);
}

static bool take_own(struct session *s, const struct element *e, unsigned kinds)
{
    struct receipts *r = receipts_of(s);
    struct request *req = receipts_waiting_for(r, e->to, e->receipt_id);
    bool late = receipts_were_sent(r, e->to, e->receipt_id, kinds) != 0;
    if (req && req->entry)
        req->entry->receipted = true;
    if (req)
        note_own(s, req, kinds);
    if (kinds & ~r->own)
        keeping_changed(s, true);
    r->own |= kinds;
    withhold_due(s, kinds);
    if (late && !e->beside_receipt && (s->state == SESSION_ATTACHED || s->state == SESSION_UNMANAGED)) {
        count(s->cx->counters, METRIC_receipts_swallowed_late);
        return true;
    }
    count_own(s, kinds);
    return false;
}

static bool goes_away(const struct element *e)
{
    return e->kind == ELEMENT_PRESENCE && !e->to.n &&
           (slice_eq_str(e->type, "unavailable") || slice_eq_str(e->type, "invisible"));
}

bool receipts_from_client(struct session *s, const struct element *e)
{
    unsigned kinds = receipt_own_kinds(e);
    if (kinds)
        return take_own(s, e, kinds);
    if (goes_away(e) && s->receipts && s->up)
        receipts_send_due(s, true); /* while its contacts may still see that it is there */
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
