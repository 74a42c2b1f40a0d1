/* Small writers and readers of XML text. */
#ifndef HOLDFAST_XMPP_XML_H
#define HOLDFAST_XMPP_XML_H

#include "base/buf.h"
#include "base/slice.h"
#include "xmpp/element.h"

/* Appends text with & < > ' " escaped: fit for content and for attributes in either quote. */
void xml_escape(struct buf *out, struct slice text);
/* ` name='value'` when value.p is not NULL. */
void xml_attr(struct buf *out, const char *name, struct slice value);
/* Parses one element that stands alone (default namespace jabber:client, prefix stream declared around it) into a
 * tree that xml_tree_free releases; NULL when it is not well-formed. The bytes must outlive it. For rare things: stored
 * stanzas. */
struct xml_tree;
struct xml_tree *xml_tree_parse(struct slice bytes, const struct node **root_r);
/* The same as an element, with its facts. */
const struct element *xml_tree_element(const struct xml_tree *tree);
void xml_tree_free(struct xml_tree *tree);

#endif
