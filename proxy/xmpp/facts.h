/* Which facts (enum element_fact) a direct child of a stanza stands for. */
#ifndef HOLDFAST_XMPP_FACTS_H
#define HOLDFAST_XMPP_FACTS_H

#include "xmpp/element.h"

/* A body is not decided here: it is FACT_BODY | FACT_PAYLOAD only when it has text (facts_is_body tells one). */
uint32_t facts_of_child(enum element_kind kind, struct slice ns, struct slice name);
bool facts_is_body(struct slice ns, struct slice name);

#endif
