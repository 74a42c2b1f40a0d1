#include "parser_pool.h"
#include "base/mem.h"
#include <stdlib.h>

#define WORN_BYTES    (64 * 1024)
#define WORN_ELEMENTS 500
#define POOL_MAX      64 /* idle ones: as many as can be needed in one turn, not as there were at the worst time */
#define HOLD_KEPT     (16 * 1024) /* an idle parser holds no more than that from its last element */

/* Not every expat that defers has the number of a version that does, nor the declaration: ask the linker. */
extern XML_Bool XML_SetReparseDeferralEnabled(XML_Parser parser, XML_Bool enabled) __attribute__((weak));

struct parser_pool {
    struct parser *idle;
    unsigned n;
};

struct parser *parser_new(const char *header)
{
    struct parser *p = MEM_NEW(struct parser);
    p->expat = XML_ParserCreateNS("UTF-8", EXPAT_SEPARATOR);
    if (!p->expat)
        abort(); /* out of memory */
    if (header) {
        if (parser_feed(p, slice_str(header)) != XML_STATUS_OK)
            p->spoiled = true; /* cannot be: such a header has been parsed before */
        p->event_end = p->fed;
    }
    return p;
}

void parser_free(struct parser *p)
{
    if (p) {
        XML_ParserFree(p->expat);
        element_builder_free(&p->builder);
        buf_free(&p->hold);
        free(p);
    }
}

enum XML_Status parser_feed(struct parser *p, struct slice bytes)
{
    /* A token that was incomplete is looked at again only when much more has come, unless told otherwise: `<r/` and `>`
     * in two reads would wait. Without a `>` no tag can end, so that nothing is lost by leaving the deferral on, which
     * keeps a tag that comes byte by byte from costing the square of its length. */
    if (XML_SetReparseDeferralEnabled)
        XML_SetReparseDeferralEnabled(p->expat, memchr(bytes.p, '>', bytes.n) == NULL);
    p->fed += bytes.n;
    enum XML_Status status = XML_Parse(p->expat, bytes.p, (int)bytes.n, XML_FALSE);
    if (status != XML_STATUS_OK)
        p->spoiled = true;
    return status;
}

enum XML_Error parser_finish(struct parser *p)
{
    if (XML_SetReparseDeferralEnabled)
        XML_SetReparseDeferralEnabled(p->expat, XML_FALSE);
    p->spoiled = true;
    return XML_Parse(p->expat, "", 0, XML_TRUE) == XML_STATUS_OK ? XML_ERROR_NONE : XML_GetErrorCode(p->expat);
}

bool parser_is_worn(const struct parser *p)
{
    return p->deep || p->fed > WORN_BYTES || p->elements > WORN_ELEMENTS;
}

struct parser_pool *parser_pool_new(void)
{
    return MEM_NEW(struct parser_pool);
}

void parser_pool_free(struct parser_pool *pool)
{
    if (!pool)
        return;
    while (pool->idle) {
        struct parser *p = pool->idle;
        pool->idle = p->next;
        parser_free(p);
    }
    free(pool);
}

struct parser *parser_pool_get(struct parser_pool *pool)
{
    struct parser *p = pool->idle;
    if (p) {
        pool->idle = p->next;
        pool->n--;
        return p;
    }
    p = parser_new(PARSER_STANDARD_HEADER);
    p->standard = true;
    return p;
}

void parser_pool_put(struct parser_pool *pool, struct parser *p)
{
    bool between = p->builder.depth == 0 && p->event_end == p->fed;
    if (!p->standard || p->spoiled || !between || parser_is_worn(p) || pool->n >= POOL_MAX) {
        parser_free(p);
        return;
    }
    element_builder_reset(&p->builder);
    if (p->hold.cap > HOLD_KEPT)
        buf_free(&p->hold);
    buf_clear(&p->hold);
    p->next = pool->idle;
    pool->idle = p;
    pool->n++;
}
