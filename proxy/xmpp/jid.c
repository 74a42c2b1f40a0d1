#include "xmpp/jid.h"

#define PART_MAX 1023

static bool part_is_good(struct slice part)
{
    return part.n > 0 && part.n <= PART_MAX;
}

struct slice jid_bare(struct slice text)
{
    const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    return slash ? slice_of(text.p, (size_t)(slash - text.p)) : text;
}

bool jid_parse(struct slice text, struct jid *out)
{
    *out = (struct jid){.bare = jid_bare(text)};
    out->domain = out->bare;
    if (out->bare.n < text.n) {
        out->resource = slice_skip(text, out->bare.n + 1);
        if (!part_is_good(out->resource))
            return false;
    }
    const char *at = out->bare.n ? memchr(out->bare.p, '@', out->bare.n) : NULL;
    if (at) {
        out->local = slice_of(out->bare.p, (size_t)(at - out->bare.p));
        out->domain = slice_skip(out->bare, out->local.n + 1);
        if (!part_is_good(out->local))
            return false;
    }
    return part_is_good(out->domain) && !memchr(out->domain.p, '@', out->domain.n);
}

bool jid_domain_eq(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (jid_lower(a.p[i]) != jid_lower(b.p[i]))
            return false;
    return true;
}
