/* Reading what Redis answered; whatever is missing or of another type reads as empty. */
#ifndef HOLDFAST_STORE_REDIS_REPLY_H
#define HOLDFAST_STORE_REDIS_REPLY_H

#include "base/slice.h"
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdlib.h>

static inline struct slice reply_text(const struct redisReply *r)
{
    bool text = r && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS || r->type == REDIS_REPLY_ERROR);
    return text ? slice_of(r->str, (size_t)r->len) : SLICE_NONE;
}

static inline size_t reply_count(const struct redisReply *r)
{
    return r && r->type == REDIS_REPLY_ARRAY ? r->elements : 0;
}

static inline const struct redisReply *reply_at(const struct redisReply *r, size_t i)
{
    return i < reply_count(r) ? r->element[i] : NULL;
}

/* hiredis ends its texts with a NUL. */
static inline uint64_t reply_number(const struct redisReply *r)
{
    if (r && r->type == REDIS_REPLY_INTEGER)
        return r->integer < 0 ? 0 : (uint64_t)r->integer;
    struct slice text = reply_text(r);
    return text.n ? strtoull(text.p, NULL, 10) : 0;
}

static inline bool reply_is(const struct redisReply *r, const char *word)
{
    return slice_eq_str(reply_text(r), word);
}

static inline bool reply_is_nil(const struct redisReply *r)
{
    return !r || r->type == REDIS_REPLY_NIL;
}

/* EPOCH-NUMBER */
struct stream_id {
    uint64_t epoch, number;
};
static inline struct stream_id reply_id(const struct redisReply *r)
{
    struct stream_id id = {0};
    struct slice text = reply_text(r);
    char *end = NULL;
    if (text.n)
        id.epoch = strtoull(text.p, &end, 10);
    if (end && *end == '-')
        id.number = strtoull(end + 1, NULL, 10);
    return id;
}

/* A stanza as an entry of a stream [id, [class, bytes, "o", origin]], in any order; without an origin where it was
 * never in a box. "-" is the class of a mere number, without bytes. */
struct stanza_fields {
    struct slice class, payload, origin;
};

static inline struct stanza_fields reply_stanza(const struct redisReply *entry)
{
    struct stanza_fields f = {0};
    const struct redisReply *fields = reply_at(entry, 1);
    for (size_t i = 0; i + 1 < reply_count(fields); i += 2) {
        struct slice value = reply_text(fields->element[i + 1]);
        if (reply_is(fields->element[i], "o")) {
            f.origin = value;
        } else {
            f.class = reply_text(fields->element[i]);
            f.payload = value;
        }
    }
    return f;
}

#endif
