#include "facts.h"

#define KEEP FACT_PAYLOAD
#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        literal, sizeof(literal) - 1                                                                                   \
    }
#define ANY                                                                                                            \
    {                                                                                                                  \
        NULL, 0                                                                                                        \
    }

/* Children that are known; ANY name fits. One that is in no row is payload and nothing else. */
static const struct {
    struct slice ns, name;
    uint32_t facts;
} children[] = {
    {TEXT(NS_CLIENT), TEXT("body"), 0}, /* decided by its text */
    {TEXT(NS_CLIENT), TEXT("thread"), 0},
    {TEXT(NS_CLIENT), TEXT("subject"), FACT_SUBJECT | KEEP},
    {TEXT(NS_CLIENT), TEXT("error"), FACT_ERROR | KEEP},
    {TEXT(NS_CHAT_STATES), ANY, FACT_CHAT_STATE},
    {TEXT(NS_DELAY), TEXT("delay"), FACT_DELAY},
    {TEXT("jabber:x:delay"), TEXT("x"), 0},
    {TEXT(NS_HINTS), TEXT("no-store"), FACT_NO_STORE},
    {TEXT(NS_HINTS), TEXT("no-permanent-store"), FACT_NO_STORE},
    {TEXT(NS_HINTS), TEXT("no-copy"), FACT_NO_COPY},
    {TEXT(NS_HINTS), ANY, 0},
    {TEXT("urn:xmpp:sid:0"), TEXT("origin-id"), 0},
    {TEXT("urn:xmpp:sid:0"), TEXT("stanza-id"), 0},
    {TEXT(NS_RECEIPTS), TEXT("request"), FACT_RECEIPT_REQUEST | KEEP},
    {TEXT(NS_RECEIPTS), TEXT("received"), FACT_RECEIPT | KEEP},
    {TEXT(NS_CHAT_MARKERS), TEXT("received"), FACT_OLD_RECEIPT | KEEP},
    {TEXT(NS_CALLS), ANY, FACT_CALL | KEEP},
    {TEXT(NS_CARBONS), TEXT("sent"), FACT_CARBON | KEEP},
    {TEXT(NS_CARBONS), TEXT("received"), FACT_CARBON | KEEP},
    {TEXT("urn:xmpp:carbons:1"), TEXT("sent"), FACT_CARBON | KEEP}, /* old servers speak the older ones */
    {TEXT("urn:xmpp:carbons:1"), TEXT("received"), FACT_CARBON | KEEP},
    {TEXT(NS_MAM2), TEXT("result"), FACT_ARCHIVED | KEEP},
    {TEXT("urn:xmpp:mam:1"), TEXT("result"), FACT_ARCHIVED | KEEP},
    {TEXT("urn:xmpp:mam:0"), TEXT("result"), FACT_ARCHIVED | KEEP},
    {TEXT("urn:xmpp:mam:tmp"), TEXT("result"), FACT_ARCHIVED | KEEP},
    {TEXT(NS_EVENT), TEXT("x"), FACT_EVENT}, /* decided by what is in it */
    {TEXT(NS_MUC_USER), TEXT("x"), FACT_MUC_USER | KEEP},
    {TEXT(NS_PING), TEXT("ping"), FACT_PING | KEEP},
    {TEXT(NS_BIND), TEXT("bind"), FACT_BIND | KEEP},
    {TEXT(NS_ROSTER), TEXT("query"), FACT_ROSTER | KEEP},
    {TEXT(NS_IQ_AUTH), TEXT("query"), FACT_IQ_AUTH | KEEP},
    {TEXT(NS_REGISTER), TEXT("query"), FACT_REGISTER | KEEP},
};

uint32_t facts_of_child(enum element_kind kind, struct slice ns, struct slice name)
{
    if (kind == ELEMENT_PRESENCE && slice_eq_str(ns, NS_MUC) && slice_eq_str(name, "x"))
        return FACT_MUC_JOIN | KEEP;
    for (size_t i = 0; i < sizeof children / sizeof *children; i++)
        if (slice_eq(ns, children[i].ns) && (!children[i].name.p || slice_eq(name, children[i].name)))
            return children[i].facts;
    return KEEP;
}

bool facts_is_body(struct slice ns, struct slice name)
{
    return slice_eq_str(name, "body") && slice_eq_str(ns, NS_CLIENT);
}

bool facts_is_thread(struct slice ns, struct slice name)
{
    return slice_eq_str(name, "thread") && slice_eq_str(ns, NS_CLIENT);
}

enum chat_state facts_chat_state(struct slice ns, struct slice name)
{
    static const char *const names[] = {NULL, "active", "composing", "paused", "inactive", "gone"};
    for (enum chat_state state = CHAT_ACTIVE; slice_eq_str(ns, NS_CHAT_STATES) && state <= CHAT_GONE; state++)
        if (slice_eq_str(name, names[state]))
            return state;
    return CHAT_NONE;
}

enum event_tag event_tag_of(struct slice ns, struct slice name)
{
    static const char *const names[] = {"offline", "delivered", "displayed", "composing", "id"};
    for (unsigned i = 0; slice_eq_str(ns, NS_EVENT) && i < sizeof names / sizeof *names; i++)
        if (slice_eq_str(name, names[i]))
            return (enum event_tag)(1 << i);
    return EVENT_OTHER;
}

/* Told: composing, or with no tag that it has ended (XEP-0022 3.3), is out of date as soon as a chat state is. */
uint32_t facts_of_event(unsigned tags)
{
    if (!(tags & EVENT_ID))
        return KEEP | (tags & EVENT_DELIVERED ? FACT_ASKS_DELIVERED : 0) |
               (tags & EVENT_OFFLINE ? FACT_ASKS_OFFLINE : 0);
    if (!(tags & ~(unsigned)(EVENT_ID | EVENT_COMPOSING)))
        return FACT_CHAT_STATE;
    return KEEP | (tags & EVENT_DELIVERED ? FACT_DELIVERED : 0);
}
