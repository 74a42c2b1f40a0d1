/* JSON strings, for logs and answers. */
#ifndef HOLDFAST_BASE_JSON_H
#define HOLDFAST_BASE_JSON_H

#include "base/buf.h"

/* The text in quotes, as one JSON string; logfmt reads the same escapes. Control characters are escaped and bytes that
 * are not UTF-8 replaced, so that nothing from outside breaks a line or its reader. */
void json_quote(struct buf *b, struct slice s);

#endif
