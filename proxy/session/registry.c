#include "base/index.h"
#include "base/mem.h"
#include "session_impl.h"
#include <stdlib.h>

struct registry {
    struct index *by_sid;
};

static struct slice sid_of(const void *session)
{
    return slice_str(((const struct session *)session)->sid);
}

struct registry *registry_new(void)
{
    struct registry *r = MEM_NEW(struct registry);
    r->by_sid = index_new(sid_of);
    return r;
}

void registry_free(struct registry *r)
{
    index_free(r->by_sid);
    free(r);
}

struct session *registry_find(const struct registry *r, const char *sid)
{
    return index_get(r->by_sid, slice_str(sid));
}

size_t registry_count(const struct registry *r)
{
    return index_count(r->by_sid);
}

void registry_add(struct registry *r, struct session *s)
{
    index_put(r->by_sid, s);
}

void registry_remove(struct registry *r, struct session *s)
{
    index_remove(r->by_sid, slice_str(s->sid));
}

struct each {
    bool (*visit)(void *ctx, struct session *s);
    void *ctx;
};

static bool visit_one(void *ctx, void *session)
{
    const struct each *each = ctx;
    return each->visit(each->ctx, session);
}

void registry_each(struct registry *r, bool (*visit)(void *ctx, struct session *s), void *ctx)
{
    struct each each = {visit, ctx};
    index_each(r->by_sid, visit_one, &each);
}
