/* The short way for elements that are written plainly, as nearly all are: whole, in ASCII names without prefixes,
 * with attributes in the usual spelling, and nothing in them but tags and text. It is a part of XML, read by the same
 * rules and with the same limits as by expat; whatever else comes, right or wrong, is left to expat to judge. So an
 * element takes a tenth of the time, and there is still one place that refuses. */
#ifndef HOLDFAST_XMPP_PLAIN_H
#define HOLDFAST_XMPP_PLAIN_H

#include "element_builder.h"
#include "xmpp/stream.h"

/* Reads the element that the bytes begin with, as a child of a stream with the standard header, into the builder, which
 * is idle. Returns its length; or 0 if it is not plain, not whole, or beyond the limits, with the builder reset. */
size_t plain_read(struct slice bytes, const struct stream_limits *limits, struct element_builder *builder);

#endif
