#include "plain_header.h"
#include "header_reader.h"

/* What may stand in a plain header. */
enum { DEFAULT_NS, STREAM_NS, TO, FROM, ID, VERSION, LANG, ATTRIBUTES };
static const char *const names[ATTRIBUTES] = {
    [DEFAULT_NS] = "xmlns", [STREAM_NS] = "xmlns:stream", [TO] = "to", [FROM] = "from", [ID] = "id",
    [VERSION] = "version",  [LANG] = "xml:lang",
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct slice skip_space(struct slice s)
{
    while (s.n && is_space(*s.p))
        s = slice_skip(s, 1);
    return s;
}

static bool take(struct slice *rest, struct slice word)
{
    bool there = slice_starts(*rest, word);
    if (there)
        *rest = slice_skip(*rest, word.n);
    return there;
}

/* The declaration ahead of it, in its usual spellings. False: there is something else. */
static bool take_declaration(struct slice *rest)
{
    static const char *const usual[] = {
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\"?>",
        "<?xml version='1.0' encoding='UTF-8'?>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    };
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        if (take(rest, slice_str(usual[i]))) {
            *rest = skip_space(*rest);
            break;
        }
    }
    return !slice_starts(*rest, SLICE_LIT("<?"));
}

/* `='value'`, of printable ASCII without references. */
static bool take_value(struct slice *rest, struct slice *value)
{
    if (rest->n < 2 || rest->p[0] != '=' || (rest->p[1] != '\'' && rest->p[1] != '"'))
        return false;
    char quote = rest->p[1];
    const char *begin = rest->p + 2, *end = rest->p + rest->n, *p = begin;
    while (p < end && *p >= ' ' && *p < 0x7f && *p != quote && *p != '<' && *p != '&')
        p++;
    if (p == end || *p != quote)
        return false;
    *value = slice_of(begin, (size_t)(p - begin));
    *rest = slice_skip(*rest, value->n + 3);
    return true;
}

/* Each at most once. */
static bool take_attribute(struct slice *rest, struct slice values[ATTRIBUTES])
{
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        struct slice at = *rest;
        if (!values[i].p && take(&at, slice_str(names[i])) && take_value(&at, &values[i])) {
            *rest = at;
            return true;
        }
    }
    return false;
}

size_t plain_header_read(struct slice bytes, const struct stream_limits *limits, struct stream_header *h)
{
    struct slice rest = bytes, values[ATTRIBUTES] = {{0}};
    unsigned n = 0;
    if (!take_declaration(&rest))
        return 0;
    const char *tag = rest.p;
    if (!take(&rest, SLICE_LIT("<stream:stream")))
        return 0;
    for (;; n++) {
        struct slice behind = skip_space(rest);
        if (slice_starts(behind, SLICE_LIT(">")))
            break;
        if (behind.p == rest.p || !take_attribute(&behind, values))
            return 0;
        rest = behind;
    }
    const char *end = skip_space(rest).p + 1;
    if (!slice_eq_str(values[DEFAULT_NS], NS_CLIENT) || !slice_eq_str(values[STREAM_NS], NS_STREAMS) ||
        (size_t)(end - tag) > limits->tag_bytes || n > limits->attributes || (limits->names && n + 1 > limits->names) ||
        values[STREAM_NS].n > limits->namespace_bytes)
        return 0;
    *h = (struct stream_header){
        .ns = SLICE_LIT(NS_STREAMS),
        .name = SLICE_LIT("stream"),
        .default_ns = SLICE_LIT(NS_CLIENT),
        .to = values[TO],
        .from = values[FROM],
        .id = values[ID],
        .version = values[VERSION],
        .lang = values[LANG],
        .has_version = header_is_version_1(values[VERSION]),
    };
    return (size_t)(end - bytes.p);
}

size_t plain_header_end(struct slice bytes)
{
    struct slice end = SLICE_LIT("</stream:stream>");
    return slice_starts(bytes, end) ? end.n : 0;
}
