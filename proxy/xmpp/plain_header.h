/* The short way for stream headers, and their ends, that are written as nearly all are. As plain.h for elements: read
 * by the rules of XML, with the same limits as by expat, to the same result; whatever else comes, right or wrong, is
 * left to expat. A parser that is made for one header alone costs more than all else that a login needs beside TLS. */
#ifndef HOLDFAST_XMPP_PLAIN_HEADER_H
#define HOLDFAST_XMPP_PLAIN_HEADER_H

#include "xmpp/stream.h"

/* Reads the header that the bytes begin with: the standard one, behind which elements need nothing of it. Returns its
 * length; 0 if it is not plain, not whole, or beyond the limits. The header's slices are of the bytes. */
size_t plain_header_read(struct slice bytes, const struct stream_limits *limits, struct stream_header *h);
/* The end tag of such a stream: its length, or 0. */
size_t plain_header_end(struct slice bytes);

#endif
