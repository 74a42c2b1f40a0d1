#include "session/context.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/session.h"

void context_init(struct context *cx)
{
    list_init(&cx->dirty);
    list_init(&cx->graveyard);
    list_init(&cx->clients);
    list_init(&cx->deferred);
    list_init(&cx->partings);
    list_init(&cx->takeovers);
    list_init(&cx->leftovers);
    cx->leftover_timer = (struct timer){.fire = leftovers_fire, .ctx = cx};
}

/* 20 lines a second, and 200 at once. */
#define LINE_COST  (USEC_S / 20)
#define LINE_BURST (200 * LINE_COST)

bool context_may_tell(struct context *cx)
{
    usec now = cx->clock->mono;
    if (bucket_missing(&cx->talk.bucket, now) + LINE_COST > LINE_BURST) {
        cx->talk.left_out++;
        return false;
    }
    bucket_take(&cx->talk.bucket, now, LINE_COST);
    if (cx->talk.left_out)
        LOG(LOG_WARN, "lines about clients that had not logged in were left out", LF_INT("lines", cx->talk.left_out));
    cx->talk.left_out = 0;
    return true;
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
    context_memory_tell(cx);
}
