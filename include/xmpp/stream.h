/* XML stream framing (RFC 6120 4, 11): bytes in, events out. No sockets, no clock, no settings but its limits.
 *
 * Stanzas come out as the bytes that went in: offsets are taken inside expat's handlers. What straddles two reads is
 * put together in a buffer of the stream's; everything else is a slice of the caller's bytes.
 *
 * A parser is borrowed from the pool only while an element is incomplete. What is whole and plainly written is read
 * without expat, to the same result. */
#ifndef HOLDFAST_XMPP_STREAM_H
#define HOLDFAST_XMPP_STREAM_H

#include "base/slab.h"
#include "base/slice.h"
#include "xmpp/element.h"
#include "xmpp/stream_error.h"
#include <stdbool.h>
#include <stddef.h>

struct stream;
struct parser_pool; /* one per worker */

struct parser_pool *parser_pool_new(void);
void parser_pool_free(struct parser_pool *pool);

struct stream_limits {
    size_t stanza_bytes; /* one element at stream level */
    size_t tag_bytes;    /* one tag (16 KiB) */
    unsigned depth;      /* nesting below the stream's root */
    unsigned attributes; /* of one tag */
    unsigned names; /* tags and attributes of one element in all, 0 = no limit: expat keeps a record of each new name */
    unsigned namespace_bytes; /* expat repeats the namespace with every element: a long one costs again and again */
};

/* The opening tag of a stream (RFC 6120 4.7). Slices valid during the upcall. */
struct stream_header {
    struct slice ns, name; /* expanded name of the root, `stream` in NS_STREAMS for XMPP */
    struct slice default_ns;
    struct slice to, from, id, version, lang;
    bool has_version; /* version >= 1.0 (RFC 6120 4.7.5) */
    /* Declarations beyond xmlns='jabber:client' and xmlns:stream: ready to be put into a tag, each with a leading
     * space, e.g. " xmlns:ack='…'". A stanza of this stream needs them wherever it travels without its header. */
    struct slice extra_ns;
};

enum stream_next {
    STREAM_GO,    /* go on */
    STREAM_PAUSE, /* stop behind this element or header; stream_feed returns, the rest is fed again later */
};

struct stream_events {
    enum stream_next (*opened)(void *ctx, const struct stream_header *h);
    enum stream_next (*element)(void *ctx, const struct element *e);
    void (*closed)(void *ctx); /* the end tag of the stream; nothing behind it is looked at */
    /* What came is not XMPP; nothing more is reported until stream_restart. text explains, in English. */
    void (*failed)(void *ctx, enum stream_error error, const char *text);
};

/* The pool must outlive it; limits are copied. life: of the connection. */
struct stream *stream_new(enum slab_life life, struct parser_pool *pool, const struct stream_limits *limits,
                          const struct stream_events *events, void *ctx);
void stream_free(struct stream *s); /* NULL is fine; may be called inside an upcall (takes effect when it returns) */

/* Before the first byte: the stream comes over a transport that delimits messages (RFC 7395). `<open/>` and `<close/>`
 * are what a header and an end tag are elsewhere, and each message holds one element. What is fed then is the messages
 * with a STREAM_MESSAGE_END behind each, which no XML can contain. An element that leaves out xmlns='jabber:client',
 * which its message should have, is taken for what it would be in any other stream. */
#define STREAM_MESSAGE_END '\0'
void stream_set_framed(struct stream *s);

/* Feeds n bytes; returns how many were used: n, or fewer after STREAM_PAUSE, `closed` or `failed` (white space behind
 * an element may or may not count as used); 0 from then on once it has closed or failed. Never call it from an upcall
 * of the same stream. */
size_t stream_feed(struct stream *s, const char *p, size_t n);

/* The next bytes begin a new stream (after STARTTLS, after SASL success). Forgets all, also an incomplete element.
 * May be called from within an upcall. */
void stream_restart(struct stream *s);

/* Bytes of an element that is not complete yet (0 between elements). */
size_t stream_pending(const struct stream *s);
/* As header.extra_ns of the current stream; kept by the stream; empty for nearly all. */
struct slice stream_extra_ns(const struct stream *s);
/* Another worker goes on with it: its pool is used from now on (a bound parser goes along). */
void stream_set_pool(struct stream *s, struct parser_pool *pool);
/* From now on. */
void stream_set_limits(struct stream *s, const struct stream_limits *limits);
void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx);

#endif
