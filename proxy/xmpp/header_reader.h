/* The opening tag of a stream: what it says, and how later elements can be parsed without it. */
#ifndef HOLDFAST_XMPP_HEADER_READER_H
#define HOLDFAST_XMPP_HEADER_READER_H

#include "base/buf.h"
#include "xmpp/stream.h"

struct header_reader { /* {0} is a valid fresh one */
    char *default_ns;
    bool standard_stream; /* xmlns:stream is declared as everybody does */
    struct buf extra_ns;
};

/* A namespace declaration of the root; prefix NULL for the default, uri NULL for none. They come before the tag
 * itself. */
void header_reader_declare(struct header_reader *r, const char *prefix, const char *uri);
/* The root itself, as expat gives it. False when it does not open an XMPP stream: then *error and *text tell why. */
bool header_reader_finish(struct header_reader *r, const char *name, const char **atts, struct stream_header *out,
                          enum stream_error *error, const char **text);
/* The tag that puts a parser inside such a stream, free() it; NULL when the standard one does. raw_name as it was
 * written. */
char *header_reader_prime(const struct header_reader *r, struct slice raw_name);
/* RFC 6120 4.7.5: major and minor are numbers of their own; anything from 1.0 on is version 1 or later. */
bool header_is_version_1(struct slice version);
void header_reader_free(struct header_reader *r);

#endif
