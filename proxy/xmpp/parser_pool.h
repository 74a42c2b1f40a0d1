/* expat parsers that stand inside an open stream, ready for its next element; shared by the streams of a worker.
 * With a parser goes all that is needed only while an element is incomplete. */
#ifndef HOLDFAST_XMPP_PARSER_POOL_H
#define HOLDFAST_XMPP_PARSER_POOL_H

#include "base/buf.h"
#include "element_builder.h"
#include "xmpp/stream.h"
#include <expat.h>

#define PARSER_STANDARD_HEADER "<stream:stream xmlns='" NS_CLIENT "' xmlns:stream='" NS_STREAMS "'>"
#define PARSER_STANDARD_END "</stream:stream>"

struct header_reader;

struct parser {
    XML_Parser expat;
    struct header_reader *reader; /* of the header of its stream, while it stands in that; its stream's to free */
    struct parser *next;  /* in the pool */
    bool standard;        /* primed with the header above */
    bool deep;            /* has seen an element with a great many levels */
    bool spoiled;         /* stopped or failed: of no more use */
    size_t fed;           /* bytes given to expat in all: the index of the next one */
    size_t event_end;     /* index behind the last thing that expat reported */
    unsigned elements;    /* stream-level elements it has seen */
    unsigned names;        /* tags and attributes of the element at hand */
    unsigned declarations; /* namespaces declared by the tag at hand */
    struct element_builder builder;
    struct buf hold;      /* bytes of the incomplete element that came with earlier reads */
    size_t hold_at;       /* their index */

    /* While its stream is fed: */
    struct slice in;      /* the bytes being fed, whose first has index in_at */
    size_t in_at;
    size_t halt_at;       /* everything before it is used */
    enum stream_error error;
    const char *text;
};

/* A parser that stands behind header (NULL: at the very beginning); no handlers are set. */
struct parser *parser_new(const char *header);
void parser_free(struct parser *p);
/* Gives bytes to expat so that every tag that is complete is reported now. */
enum XML_Status parser_feed(struct parser *p, struct slice bytes);
/* No more will come: what is wrong with what it has put off, or with the end. */
enum XML_Error parser_finish(struct parser *p);
/* expat's tables of names only grow: true when it should be replaced at the next opportunity. */
bool parser_is_worn(const struct parser *p);

/* A parser that stands behind the standard header. */
struct parser *parser_pool_get(struct parser_pool *pool);
/* Takes any parser back, between elements or not; keeps it if it can serve again. */
void parser_pool_put(struct parser_pool *pool, struct parser *p);

#endif
