/* A session as bytes, to be kept over a stop of the node: numbers and texts in a fixed order, each with its length in
 * front, so that it can be looked at. What is read is never trusted: a reader that meets anything odd goes bad, and
 * gives zeros and empty texts from then on. */
#ifndef HOLDFAST_SESSION_RECORD_H
#define HOLDFAST_SESSION_RECORD_H

#include "base/buf.h"
#include "xmpp/queue.h"

void record_number(struct buf *out, int64_t n);
void record_text(struct buf *out, struct slice text);      /* .p == NULL and empty are the same */
void record_entry(struct buf *out, const struct entry *e); /* but its origin */
void record_queue(struct buf *out, const struct queue *q);

struct record_reader {
    struct slice rest;
    bool bad;
};

int64_t record_take_number(struct record_reader *r);
/* How many of something follow. No more than the bytes that are left can hold. */
size_t record_take_count(struct record_reader *r);
struct slice record_take_text(struct record_reader *r);   /* points into the record */
struct entry *record_take_entry(struct record_reader *r); /* NULL when bad; the caller's to free */

#endif
