#include "session/context.h"
#include "base/mem.h"
#include "session/session.h"

void context_init(struct context *cx)
{
    list_init(&cx->dirty);
    list_init(&cx->graveyard);
    list_init(&cx->clients);
    list_init(&cx->deferred);
    list_init(&cx->partings);
}

void context_turn_end(struct context *cx)
{
    while (!list_is_empty(&cx->dirty) || !list_is_empty(&cx->deferred)) {
        for (struct list *it; (it = list_first(&cx->dirty));) {
            list_remove(it);
            session_turn(session_of_dirty(it));
        }
        for (struct list *it; (it = list_first(&cx->deferred));) {
            list_remove(it);
            client_leg_settle(client_leg_of_deferred(it));
        }
    }
    for (struct list *it; (it = list_first(&cx->graveyard));) {
        struct grave *g = CONTAINER_OF(it, struct grave, link);
        list_remove(it);
        g->free(g);
    }
}
