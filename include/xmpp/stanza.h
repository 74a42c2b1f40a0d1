/* Small writers of stanzas: the few changes that stanzas get on their way, and the few stanzas that the proxy sends
 * itself. */
#ifndef HOLDFAST_XMPP_STANZA_H
#define HOLDFAST_XMPP_STANZA_H

#include "base/buf.h"
#include "xmpp/element.h"

/* The bytes of a stanza and the places where something can be put in, as in struct element. Enough to keep in a
 * queue. */
struct stanza_bytes {
    struct slice bytes;
    size_t open_end, close_at, name_end;
};

static inline struct stanza_bytes stanza_bytes_of(const struct element *e)
{
    return (struct stanza_bytes){e->bytes, e->open_end, e->close_at, e->name_end};
}

/* The stanza with xml put in as its last child. */
void stanza_write_with_child(struct buf *out, const struct stanza_bytes *s, struct slice xml);
/* The stanza with a XEP-0203 delay as its last child; from.p may be NULL; stamp as clock_stamp writes it. */
void stanza_write_delayed(struct buf *out, const struct stanza_bytes *s, struct slice from, const char *stamp);
/* The stanza with namespace declarations (as stream_header.extra_ns) in its root tag; those that it makes itself are
 * left out. Returns how many bytes were put in, all of them at name_end: open_end and close_at move by as many. */
size_t stanza_write_declared(struct buf *out, const struct stanza_bytes *s, struct slice extra_ns);

/* Offset behind the name of the root. */
size_t stanza_name_end(struct slice bytes);
/* tag: what follows a name in its start tag; more may follow that. */
bool stanza_has_attribute(struct slice tag, struct slice wanted);

/* Attributes whose .p is NULL are left out, in all of these. */
/* An error in answer to an iq get or set. type: wait, cancel, …; condition: a name of RFC 6120 8.3.3. */
void stanza_write_iq_error(struct buf *out, struct slice id, struct slice from, struct slice to, const char *type,
                           const char *condition);
/* An empty result: the answer to a XEP-0199 ping. */
void stanza_write_pong(struct buf *out, struct slice id, struct slice from, struct slice to);
void stanza_write_ping(struct buf *out, struct slice id, struct slice from, struct slice to);

#endif
