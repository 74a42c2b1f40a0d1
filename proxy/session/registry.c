#include "base/map.h"
#include "base/mem.h"
#include "session_impl.h"
#include <stdlib.h>

struct registry {
    struct map *by_sid;
    struct list all;
};

struct registry *registry_new(void)
{
    struct registry *r = MEM_NEW(struct registry);
    r->by_sid = map_new();
    list_init(&r->all);
    return r;
}

void registry_free(struct registry *r)
{
    map_free(r->by_sid);
    free(r);
}

struct session *registry_find(const struct registry *r, const char *sid)
{
    return map_get(r->by_sid, slice_str(sid));
}

size_t registry_count(const struct registry *r)
{
    return map_count(r->by_sid);
}

void registry_add(struct registry *r, struct session *s)
{
    map_put_lent(r->by_sid, slice_str(s->sid), s);
    list_append(&r->all, &s->in_registry);
}

void registry_remove(struct registry *r, struct session *s)
{
    map_remove(r->by_sid, slice_str(s->sid));
    list_remove(&s->in_registry);
}

void registry_each(struct registry *r, bool (*visit)(void *ctx, struct session *s), void *ctx)
{
    LIST_FOREACH_SAFE(it, next, &r->all)
    if (!visit(ctx, CONTAINER_OF(it, struct session, in_registry)))
        return;
}
