/* Finds where the elements of an XML stream end, and no more: no names, no entities, no checks. Right for streams whose
 * writers escape > in attribute values, as XMPP software does. */
#ifndef BENCH_SCAN_H
#define BENCH_SCAN_H

#include "base/slice.h"

enum scan_item {
    SCAN_MORE,    /* the rest is incomplete */
    SCAN_STREAM,  /* the opening tag of the stream */
    SCAN_ELEMENT, /* a whole element inside it */
    SCAN_END,     /* its end tag */
};

/* {0} in front of a stream. Offsets are those of the caller's buffer; scan_forget moves them along with it. */
struct scan {
    size_t at;    /* looked at up to here */
    size_t start; /* of the element that is incomplete */
    size_t keep;  /* what lies in front of it is done with */
    unsigned depth;
};

/* The next item in `bytes`, the same ones as last time and perhaps more; `found` points into them. */
enum scan_item scan_next(struct scan *s, struct slice bytes, struct slice *found);

/* Bytes that may be dropped from the front of the buffer, from now on. */
size_t scan_forget(struct scan *s);

/* The value of an attribute in the first tag of an element; empty without one. `name` with a blank in front and =
 * behind
 * (" to="). */
struct slice scan_attribute(struct slice element, struct slice name);

/* Whether the element's name, with its prefix, is `name`. */
bool scan_is(struct slice element, struct slice name);

#endif
