/* XMPP over a transport that delimits messages (RFC 7395): the stream has no markup of its own around its elements, so
 * each of them is written as a document that stands alone. */
#ifndef HOLDFAST_XMPP_FRAMING_H
#define HOLDFAST_XMPP_FRAMING_H

#include "xmpp/stream.h"

/* In the place of the stream's end tag. */
#define FRAMING_CLOSE "<close xmlns='" NS_FRAMING "'/>"

/* In the place of this header; free() it. */
char *framing_open(const struct stream_header *h);

#define FRAMING_PARTS 4
/* An element of a stream whose header declares the default namespace jabber:client and the prefix stream, as what is to
 * be written: the element with those declarations put in that it needs and does not make itself. The parts are slices
 * of it and of constants, so nothing is copied. Returns how many there are. */
size_t framing_message(struct slice element, struct slice parts[FRAMING_PARTS]);

#endif
