/* Which facts (enum element_fact) a direct child of a stanza stands for. */
#ifndef HOLDFAST_XMPP_FACTS_H
#define HOLDFAST_XMPP_FACTS_H

#include "xmpp/element.h"

/* A body is not decided here: it is FACT_BODY | FACT_PAYLOAD only when it has text (facts_is_body tells one). Nor is an
 * x of XEP-0022: facts_of_event does that when its end is there. */
uint32_t facts_of_child(enum element_kind kind, struct slice ns, struct slice name);
bool facts_is_body(struct slice ns, struct slice name);

enum chat_state facts_chat_state(struct slice ns, struct slice name);
bool facts_is_thread(struct slice ns, struct slice name);

/* The children of an x of XEP-0022, one bit each. */
enum event_tag {
    EVENT_OFFLINE = 1 << 0,
    EVENT_DELIVERED = 1 << 1,
    EVENT_DISPLAYED = 1 << 2,
    EVENT_COMPOSING = 1 << 3,
    EVENT_ID = 1 << 4,    /* an event is told; without it, it is asked for */
    EVENT_OTHER = 1 << 5, /* none of these */
};
enum event_tag event_tag_of(struct slice ns, struct slice name);
/* tags: those that there are. */
uint32_t facts_of_event(unsigned tags);

#endif
