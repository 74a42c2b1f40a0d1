#include "xmpp/stanza.h"
#include "xmpp/xml.h"

static bool is_empty(const struct stanza_bytes *s)
{
    return s->close_at == s->bytes.n;
}

void stanza_write_with_child(struct buf *out, const struct stanza_bytes *s, struct slice xml)
{
    const char *p = s->bytes.p;
    if (is_empty(s)) {
        buf_append(out, p, s->open_end - 2);
        BUF_LIT(out, ">");
        buf_add(out, xml);
        BUF_LIT(out, "</");
        buf_append(out, p + 1, s->name_end - 1);
        BUF_LIT(out, ">");
    } else {
        buf_append(out, p, s->close_at);
        buf_add(out, xml);
        buf_append(out, p + s->close_at, s->bytes.n - s->close_at);
    }
}

void stanza_write_delayed(struct buf *out, const struct stanza_bytes *s, struct slice from, const char *stamp)
{
    struct buf delay = {0};
    BUF_LIT(&delay, "<delay xmlns='" NS_DELAY "'");
    xml_attr(&delay, "from", from);
    xml_attr(&delay, "stamp", slice_str(stamp));
    BUF_LIT(&delay, "/>");
    stanza_write_with_child(out, s, buf_slice(&delay));
    buf_free(&delay);
}

/* Cuts the next ` name='value'` off the front of text (in either quote, white space around =); false at the end. */
static bool next_attribute(struct slice *text, struct slice *name, struct slice *whole)
{
    struct slice rest = *text;
    while (rest.n && slice_is_space(slice_of(rest.p, 1)))
        rest = slice_skip(rest, 1);
    size_t n = 0;
    while (n < rest.n && !memchr(" \t\r\n=/>", rest.p[n], 7))
        n++;
    *name = slice_of(rest.p, n);
    while (n < rest.n && rest.p[n] != '\'' && rest.p[n] != '"')
        n++;
    const char *close = n + 1 < rest.n ? memchr(rest.p + n + 1, rest.p[n], rest.n - n - 1) : NULL;
    if (name->n == 0 || !close)
        return false;
    *whole = slice_of(text->p, (size_t)(close + 1 - text->p));
    *text = slice_skip(*text, whole->n);
    return true;
}

bool stanza_has_attribute(struct slice tag, struct slice wanted)
{
    struct slice name, whole;
    while (next_attribute(&tag, &name, &whole))
        if (slice_eq(name, wanted))
            return true;
    return false;
}

static bool ends_name(char c)
{
    return c == '>' || c == '/' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

size_t stanza_name_end(struct slice bytes)
{
    size_t i = 1;
    while (i < bytes.n && !ends_name(bytes.p[i]))
        i++;
    return i;
}

size_t stanza_write_declared(struct buf *out, const struct stanza_bytes *s, struct slice extra_ns)
{
    struct slice tag = slice_of(s->bytes.p + s->name_end, s->open_end - s->name_end), name, whole;
    size_t added = 0;
    buf_append(out, s->bytes.p, s->name_end);
    while (next_attribute(&extra_ns, &name, &whole)) {
        if (!stanza_has_attribute(tag, name)) {
            buf_add(out, whole);
            added += whole.n;
        }
    }
    buf_add(out, slice_skip(s->bytes, s->name_end));
    return added;
}

static void write_iq(struct buf *out, const char *type, struct slice id, struct slice from, struct slice to)
{
    BUF_LIT(out, "<iq");
    xml_attr(out, "type", slice_str(type));
    xml_attr(out, "id", id);
    xml_attr(out, "from", from);
    xml_attr(out, "to", to);
}

void stanza_write_iq_error(struct buf *out, struct slice id, struct slice from, struct slice to, const char *type,
                           const char *condition)
{
    write_iq(out, "error", id, from, to);
    buf_printf(out, "><error type='%s'><%s xmlns='" NS_STANZA_ERRORS "'/></error></iq>", type, condition);
}

void stanza_write_pong(struct buf *out, struct slice id, struct slice from, struct slice to)
{
    write_iq(out, "result", id, from, to);
    BUF_LIT(out, "/>");
}

void stanza_write_ping(struct buf *out, struct slice id, struct slice from, struct slice to)
{
    write_iq(out, "get", id, from, to);
    BUF_LIT(out, "><ping xmlns='" NS_PING "'/></iq>");
}
