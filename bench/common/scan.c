#include "common/scan.h"

static enum scan_item done(struct scan *s, enum scan_item item, const char *begin, size_t start, struct slice *found)
{
    *found = slice_of(begin + start, s->at - start);
    s->keep = s->at;
    return item;
}

/* One tag, from `open` up to s->at. SCAN_MORE: it neither begins nor ends anything that counts. */
static enum scan_item tag(struct scan *s, const char *begin, size_t open, struct slice *found)
{
    if (begin[open + 1] == '?') {
        s->keep = s->at;
        return SCAN_MORE;
    }
    if (begin[open + 1] == '/') {
        if (s->depth)
            s->depth--;
        if (s->depth == 1)
            return done(s, SCAN_ELEMENT, begin, s->start, found);
        return s->depth == 0 ? done(s, SCAN_END, begin, open, found) : SCAN_MORE;
    }
    bool closed = begin[s->at - 2] == '/';
    if (s->depth == 1)
        s->start = s->keep = open;
    if (s->depth == 1 && closed)
        return done(s, SCAN_ELEMENT, begin, open, found);
    if (!closed && s->depth++ == 0)
        return done(s, SCAN_STREAM, begin, open, found);
    return SCAN_MORE;
}

enum scan_item scan_next(struct scan *s, struct slice bytes, struct slice *found)
{
    const char *end = bytes.p + bytes.n;
    for (;;) {
        const char *open = s->at < bytes.n ? memchr(bytes.p + s->at, '<', bytes.n - s->at) : NULL;
        const char *close = open ? memchr(open, '>', (size_t)(end - open)) : NULL;
        if (!close) {
            s->at = open ? (size_t)(open - bytes.p) : bytes.n;
            if (s->depth <= 1) /* nothing has begun, or only its first tag */
                s->keep = s->at;
            return SCAN_MORE;
        }
        s->at = (size_t)(close + 1 - bytes.p);
        enum scan_item item = tag(s, bytes.p, (size_t)(open - bytes.p), found);
        if (item != SCAN_MORE)
            return item;
    }
}

size_t scan_forget(struct scan *s)
{
    size_t n = s->keep;
    s->at -= n;
    s->start = s->start > n ? s->start - n : 0;
    s->keep = 0;
    return n;
}

struct slice scan_attribute(struct slice element, struct slice name)
{
    const char *end = memchr(element.p, '>', element.n);
    size_t n = end ? (size_t)(end - element.p) : element.n;
    const char *at = memmem(element.p, n, name.p, name.n);
    if (!at || at + name.n >= element.p + n)
        return SLICE_NONE;
    const char *value = at + name.n + 1;
    const char *quote = memchr(value, value[-1], (size_t)(element.p + n - value));
    return quote ? slice_of(value, (size_t)(quote - value)) : SLICE_NONE;
}

bool scan_is(struct slice element, struct slice name)
{
    struct slice inner = slice_skip(element, 1);
    return slice_starts(inner, name) && inner.n > name.n && strchr(" />", inner.p[name.n]);
}
