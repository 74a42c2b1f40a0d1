#include "plain.h"
#include "base/utf8.h"
#include <endian.h>

#define OPEN_MAX 16 /* levels, and attributes of a tag: more is seldom, and goes the long way */
#define ATTR_MAX 16

#define NS_XML   "http://www.w3.org/XML/1998/namespace"
#define XML_LANG "xml:lang"

enum { NAME_START = 1, NAME = 2, SPACE = 4 };

static const unsigned char class_of[256] = {
    ['a' ... 'z'] = NAME_START | NAME,
    ['A' ... 'Z'] = NAME_START | NAME,
    ['_'] = NAME_START | NAME,
    ['0' ... '9'] = NAME,
    ['-'] = NAME,
    ['.'] = NAME,
    [' '] = SPACE,
    ['\t'] = SPACE,
    ['\n'] = SPACE,
    ['\r'] = SPACE,
};

struct reader {
    const char *p, *begin, *end;
    const struct stream_limits *limits;
    struct element_builder *builder;
    unsigned names; /* tags and attributes so far */
    struct {
        struct slice name, ns;
    } open[OPEN_MAX];
};

/* The attributes of a tag, as they are read. */
struct attributes {
    struct node_attr list[ATTR_MAX + 1];
    size_t n;        /* in the list */
    bool has_ns;     /* a declaration of the default namespace, which is not in the list */
    struct slice ns; /* of the tag */
};

static bool is(char c, int what)
{
    return class_of[(unsigned char)c] & what;
}

static const char *skip(const char *p, const char *end, int what)
{
    while (p < end && is(*p, what))
        p++;
    return p;
}

/* ---- characters ---- */

/* Sixteen characters side by side; comparing them gives -1 or 0 for each. Those beyond ASCII are below zero. */
typedef signed char chars __attribute__((vector_size(16)));

/* The first control character, one beyond ASCII, `<`, `&` or the other one: its place, 16 if there is none. */
static unsigned find_special(const char *p, char other)
{
    chars c;
    uint64_t found[2];
    memcpy(&c, p, sizeof c);
    c = (chars)((c < ' ') | (c == '<') | (c == '&') | (c == (signed char)other));
    memcpy(found, &c, sizeof found);
    if (found[0])
        return (unsigned)__builtin_ctzll(le64toh(found[0])) / 8;
    return found[1] ? 8 + (unsigned)__builtin_ctzll(le64toh(found[1])) / 8 : sizeof c;
}

static bool is_special(char c, char other)
{
    return (signed char)c < ' ' || c == '<' || c == '&' || c == other;
}

static const char *skip_to_special(const char *p, const char *end, char other)
{
    while (end - p >= (ptrdiff_t)sizeof(chars)) {
        unsigned n = find_special(p, other);
        p += n;
        if (n < sizeof(chars))
            return p;
    }
    while (p < end && !is_special(*p, other))
        p++;
    return p;
}

static bool is_between(char c, unsigned low, unsigned high)
{
    return (unsigned char)c >= low && (unsigned char)c <= high;
}

/* How many bytes the character beyond ASCII has; 0 if it is none of XML (which has no U+FFFE and U+FFFF) or not whole.
 */
static size_t xml_char_size(const char *p, const char *end)
{
    size_t n = utf8_size(slice_of(p, (size_t)(end - p)));
    return n == 3 && memcmp(p, "\xef\xbf", 2) == 0 && is_between(p[2], 0xbe, 0xbf) ? 0 : n;
}

/* One of the five entities that XML itself has; 0 for all others. */
static size_t entity_size(struct slice s)
{
    static const struct slice entities[] = {{"&amp;", 5}, {"&lt;", 4}, {"&gt;", 4}, {"&apos;", 6}, {"&quot;", 6}};
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
        if (slice_starts(s, entities[i]))
            return entities[i].n;
    return 0;
}

/* ---- tags ---- */

static bool read_name(struct reader *r, struct slice *name)
{
    const char *begin = r->p;
    if (begin == r->end || !is(*begin, NAME_START))
        return false;
    r->p = skip(begin + 1, r->end, NAME);
    *name = slice_of(begin, (size_t)(r->p - begin));
    return true;
}

/* `='value'`. White space other than the blank would have to be replaced, an entity resolved: not plain. */
static bool read_value(struct reader *r, struct slice *value)
{
    if (r->end - r->p < 3 || r->p[0] != '=' || (r->p[1] != '\'' && r->p[1] != '"'))
        return false;
    char quote = r->p[1];
    const char *p = r->p + 2;
    while ((p = skip_to_special(p, r->end, quote)) < r->end && *p != quote) {
        size_t n = is_between(*p, 0x80, 0xff) ? xml_char_size(p, r->end) : 0;
        if (!n)
            return false;
        p += n;
    }
    *value = slice_of(r->p + 2, (size_t)(p - r->p - 2));
    r->p = p + 1;
    return p < r->end;
}

static bool is_repeated(const struct attributes *a, const struct node_attr *new)
{
    for (const struct node_attr *old = a->list; old < new; old++)
        if (old->name.p[0] == new->name.p[0] && slice_eq(old->name, new->name) && slice_eq(old->ns, new->ns))
            return true;
    return false;
}

static bool declare(const struct reader *r, struct attributes *a, struct slice ns)
{
    if (a->has_ns || ns.n == 0 || ns.n > r->limits->namespace_bytes ||
        slice_starts(ns, SLICE_LIT("http://www.w3.org/")))
        return false; /* none at all, and the two of XML itself, have rules of their own */
    a->has_ns = true;
    a->ns = ns;
    return true;
}

/* `xml:lang`: the one prefix that needs no declaration, and the one attribute with it that is met. */
static bool read_lang(struct reader *r, struct node_attr *attr)
{
    const char *begin = attr->name.p;
    if (!slice_starts(slice_of(begin, (size_t)(r->end - begin)), SLICE_LIT(XML_LANG "=")))
        return false;
    attr->ns = SLICE_LIT(NS_XML);
    attr->name = SLICE_LIT("lang");
    r->p = begin + sizeof XML_LANG - 1;
    return true;
}

static bool read_attribute(struct reader *r, struct attributes *a)
{
    struct node_attr *attr = &a->list[a->n];
    if (a->n == ATTR_MAX || !read_name(r, &attr->name))
        return false;
    attr->ns = SLICE_LIT("");
    if (r->p < r->end && *r->p == ':' && !read_lang(r, attr))
        return false;
    if (!read_value(r, &attr->value))
        return false;
    if (!attr->ns.n && slice_eq_str(attr->name, "xmlns"))
        return declare(r, a, attr->value);
    a->n++;
    return !is_repeated(a, attr);
}

/* What there is to a tag behind its name, up to `>` or `/>`. */
static bool read_attributes(struct reader *r, struct attributes *a)
{
    for (;;) {
        const char *begin = r->p;
        r->p = skip(begin, r->end, SPACE);
        if (r->p == r->end)
            return false;
        if (*r->p == '>' || *r->p == '/')
            return true;
        if (r->p == begin || !read_attribute(r, a))
            return false;
    }
}

static bool is_within_limits(struct reader *r, const struct attributes *a, size_t tag_bytes)
{
    const struct stream_limits *limits = r->limits;
    size_t attributes = a->n + a->has_ns;
    r->names += 1 + (unsigned)attributes;
    return tag_bytes <= limits->tag_bytes && attributes <= limits->attributes &&
           (!limits->names || r->names <= limits->names) && r->builder->depth < limits->depth;
}

static bool read_start_tag(struct reader *r)
{
    const char *begin = r->p++;
    unsigned depth = r->builder->depth;
    struct attributes a;
    struct slice name;
    a.n = 0;
    a.has_ns = false;
    a.ns = depth ? r->open[depth - 1].ns : SLICE_LIT(NS_CLIENT);
    if (depth == OPEN_MAX || !read_name(r, &name) || !read_attributes(r, &a))
        return false;
    bool empty = *r->p == '/';
    r->p += 1 + empty;
    if (r->p > r->end || r->p[-1] != '>' || !is_within_limits(r, &a, (size_t)(r->p - begin)))
        return false;
    a.list[a.n] = (struct node_attr){.name = SLICE_NONE};
    size_t end = (size_t)(r->p - r->begin);
    element_builder_open(r->builder, &(struct tag){.ns = a.ns, .name = name, .attrs = a.list},
                         (size_t)(begin - r->begin), end);
    r->open[depth].name = name;
    r->open[depth].ns = a.ns;
    if (empty)
        element_builder_end(r->builder, end, end);
    return true;
}

static bool read_end_tag(struct reader *r)
{
    struct slice name = r->open[r->builder->depth - 1].name;
    size_t at = (size_t)(r->p - r->begin), n = name.n + 3;
    if ((size_t)(r->end - r->p) < n || memcmp(r->p + 2, name.p, name.n) != 0 || r->p[n - 1] != '>')
        return false;
    r->p += n;
    element_builder_end(r->builder, at, at + n);
    return true;
}

/* ---- what is between tags ---- */

/* Behind a character that needs a look; NULL if it is not plain. */
static const char *skip_special(const struct reader *r, const char *p)
{
    struct slice rest = slice_of(p, (size_t)(r->end - p));
    size_t n = 0;
    if (*p == '\n' || *p == '\t' || (*p == ']' && !slice_starts(rest, SLICE_LIT("]]"))))
        n = 1;
    else if (*p == '&' && !element_builder_reads_text(r->builder))
        n = entity_size(rest);
    else if (is_between(*p, 0x80, 0xff))
        n = xml_char_size(p, r->end);
    return n ? p + n : NULL;
}

/* Up to the next tag. */
static bool read_text(struct reader *r)
{
    const char *begin = r->p, *p = begin;
    while (p && (p = skip_to_special(p, r->end, ']')) < r->end && *p != '<')
        p = skip_special(r, p);
    if (!p || r->end - p < 2)
        return false;
    r->p = p;
    element_builder_text(r->builder, begin, (size_t)(p - begin));
    return true;
}

size_t plain_read(struct slice bytes, const struct stream_limits *limits, struct element_builder *builder)
{
    struct reader r;
    r.p = r.begin = bytes.p;
    r.end = bytes.p + bytes.n;
    r.limits = limits;
    r.builder = builder;
    r.names = 0;
    bool good = bytes.n && *r.p == '<' && read_start_tag(&r);
    while (good && builder->depth)
        good = read_text(&r) && (r.p[1] == '/' ? read_end_tag(&r) : read_start_tag(&r));
    size_t n = (size_t)(r.p - r.begin);
    if (good && n <= limits->stanza_bytes)
        return n;
    element_builder_reset(builder);
    return 0;
}
