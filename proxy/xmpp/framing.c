#include "xmpp/framing.h"
#include "xmpp/stanza.h"
#include "xmpp/xml.h"

char *framing_open(const struct stream_header *h)
{
    struct buf out = {0};
    BUF_LIT(&out, "<open xmlns='" NS_FRAMING "'");
    xml_attr(&out, "id", h->id);
    xml_attr(&out, "from", h->from);
    xml_attr(&out, "to", h->to);
    xml_attr(&out, "version", h->version);
    xml_attr(&out, "xml:lang", h->lang);
    BUF_LIT(&out, "/>");
    return buf_steal(&out);
}

/* A match inside text is harmless: a declaration too many changes no meaning. Colons are few. */
static bool uses_stream_prefix(struct slice element)
{
    static const struct slice prefix = {"stream", 6};
    for (struct slice left = element; left.n > prefix.n;) {
        const char *colon = memchr(left.p + prefix.n, ':', left.n - prefix.n);
        if (!colon || memcmp(colon - prefix.n, prefix.p, prefix.n) == 0)
            return colon;
        left = slice_skip(element, (size_t)(colon - prefix.n + 1 - element.p));
    }
    return false;
}

size_t framing_message(struct slice element, struct slice parts[FRAMING_PARTS])
{
    size_t n = 0, name_end = stanza_name_end(element);
    struct slice rest = slice_skip(element, name_end);
    parts[n++] = slice_of(element.p, name_end);
    if (!stanza_has_attribute(rest, SLICE_LIT("xmlns")))
        parts[n++] = SLICE_LIT(" xmlns='" NS_CLIENT "'");
    if (uses_stream_prefix(element) && !stanza_has_attribute(rest, SLICE_LIT("xmlns:stream")))
        parts[n++] = SLICE_LIT(" xmlns:stream='" NS_STREAMS "'");
    parts[n++] = rest;
    return n;
}
