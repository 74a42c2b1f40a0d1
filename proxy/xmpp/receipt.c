#include "xmpp/receipt.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"

static const char *const type_name[] = {NULL, "normal", "chat", "headline"};

/* A type that nobody knows is to be taken for normal (RFC 6121 5.2.2). */
static enum receipt_type type_of(const struct element *e)
{
    for (enum receipt_type t = RECEIPT_NORMAL; t <= RECEIPT_HEADLINE; t++)
        if (slice_eq_str(e->type, type_name[t]))
            return t;
    return RECEIPT_NO_TYPE;
}

static unsigned asked_kinds(const struct element *e)
{
    return (e->facts & FACT_RECEIPT_REQUEST ? RECEIPT_RECEIVED : 0u) |
           (e->facts & FACT_ASKS_DELIVERED ? RECEIPT_DELIVERED : 0u) |
           (e->facts & FACT_ASKS_OFFLINE ? RECEIPT_OFFLINE : 0u);
}

enum receipt_verdict receipt_judge(const struct element *e, struct slice account, struct receipt *out)
{
    if (e->kind != ELEMENT_MESSAGE || !asked_kinds(e))
        return RECEIPT_NOT_ASKED;
    if (!e->id.n || !e->from.n)
        return RECEIPT_WITHOUT_ID;
    if (slice_eq_str(e->type, "groupchat") || slice_eq_str(e->type, "error") || (e->facts & FACT_ERROR))
        return RECEIPT_WRONG_TYPE;
    if (e->facts & (FACT_RECEIPT | FACT_OLD_RECEIPT | FACT_DELIVERED))
        return RECEIPT_LOOP;
    if (e->facts & (FACT_CARBON | FACT_ARCHIVED))
        return RECEIPT_SECOND_HAND;
    if (e->facts & FACT_MUC_USER)
        return RECEIPT_FROM_ROOM;
    if (e->facts & FACT_CALL)
        return RECEIPT_CALL;
    if (slice_eq(jid_bare(e->from), account))
        return RECEIPT_OWN;
    *out = (struct receipt){.to = e->from,
                            .id = e->id,
                            .kinds = asked_kinds(e),
                            .type = type_of(e),
                            .no_copy = e->facts & FACT_NO_COPY,
                            .no_archive = e->facts & FACT_NO_STORE};
    return RECEIPT_DUE;
}

unsigned receipt_own_kinds(const struct element *e)
{
    if (e->kind != ELEMENT_MESSAGE || !e->receipt_id.n || !e->to.n || slice_eq_str(e->type, "error"))
        return 0;
    return (e->facts & (FACT_RECEIPT | FACT_OLD_RECEIPT) ? RECEIPT_RECEIVED : 0u) |
           (e->facts & FACT_DELIVERED ? RECEIPT_DELIVERED : 0u);
}

/* <received/> and nothing else (XEP-0184 7), but for the hints that the message itself had. That one was not to be
 * stored must not cost a sender who is offline the receipt: no-permanent-store keeps it out of archives alone. */
static void write_received(struct buf *out, const struct receipt *r)
{
    BUF_LIT(out, "<received xmlns='" NS_RECEIPTS "'");
    xml_attr(out, "id", r->id);
    BUF_LIT(out, "/>");
    if (r->no_copy)
        BUF_LIT(out, "<no-copy xmlns='" NS_HINTS "'/>");
    if (r->no_archive)
        BUF_LIT(out, "<no-permanent-store xmlns='" NS_HINTS "'/>");
}

/* One event, the id, and nothing beside it, not even hints (XEP-0022 3.2). */
static void write_event(struct buf *out, const struct receipt *r, const char *event)
{
    buf_printf(out, "<x xmlns='" NS_EVENT "'><%s/><id>", event);
    xml_escape(out, r->id);
    BUF_LIT(out, "</id></x>");
}

void receipt_write(struct buf *out, const struct receipt *r, enum receipt_kind kind, const char *id)
{
    BUF_LIT(out, "<message");
    xml_attr(out, "to", r->to);
    xml_attr(out, "type", slice_str(type_name[r->type]));
    xml_attr(out, "id", slice_str(id));
    BUF_LIT(out, ">");
    if (kind == RECEIPT_RECEIVED)
        write_received(out, r);
    else
        write_event(out, r, kind == RECEIPT_DELIVERED ? "delivered" : "offline");
    BUF_LIT(out, "</message>");
}
