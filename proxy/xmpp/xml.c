#include "xmpp/xml.h"
#include "base/mem.h"
#include "element_builder.h"
#include "parser_pool.h"
#include <stdlib.h>

/* White space other than the blank would not survive in an attribute, were it not escaped. */
static const char *escape_of(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\'':
        return "&apos;";
    case '"':
        return "&quot;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    case '\t':
        return "&#9;";
    default:
        return NULL;
    }
}

void xml_escape(struct buf *out, struct slice text)
{
    size_t done = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *escape = escape_of(text.p[i]);
        if (escape) {
            buf_append(out, text.p + done, i - done);
            buf_add_str(out, escape);
            done = i + 1;
        }
    }
    if (text.n)
        buf_append(out, text.p + done, text.n - done);
}

void xml_attr(struct buf *out, const char *name, struct slice value)
{
    if (value.p) {
        BUF_LIT(out, " ");
        buf_add_str(out, name);
        BUF_LIT(out, "='");
        xml_escape(out, value);
        BUF_LIT(out, "'");
    }
}

struct xml_tree {
    XML_Parser expat;
    struct element_builder builder;
    struct slice bytes;
    size_t base; /* index of the first byte of bytes */
    const struct node *root;
    bool bad;
};

static void on_start(void *ctx, const char *name, const char **atts)
{
    struct xml_tree *t = ctx;
    size_t at = (size_t)XML_GetCurrentByteIndex(t->expat) - t->base;
    t->bad |= t->root != NULL; /* a second element beside the first */
    if (!t->bad)
        element_builder_start(&t->builder, name, atts, at, at + (size_t)XML_GetCurrentByteCount(t->expat));
}

static void on_end(void *ctx, const char *name)
{
    struct xml_tree *t = ctx;
    (void)name;
    size_t at = (size_t)XML_GetCurrentByteIndex(t->expat) - t->base;
    size_t end = at + (size_t)XML_GetCurrentByteCount(t->expat);
    t->bad |= t->builder.depth == 0; /* an end tag of nothing in these bytes */
    if (!t->bad && element_builder_end(&t->builder, at, end)) {
        size_t start = t->builder.start;
        t->root = element_builder_finish(&t->builder, slice_of(t->bytes.p + start, end - start))->tree;
    }
}

static void on_text(void *ctx, const char *p, int n)
{
    struct xml_tree *t = ctx;
    if (t->builder.depth)
        element_builder_text(&t->builder, p, (size_t)n);
    else
        t->bad |= !slice_is_space(slice_of(p, (size_t)n));
}

struct xml_tree *xml_tree_parse(struct slice bytes, const struct node **root_r)
{
    struct xml_tree *t = MEM_NEW(struct xml_tree);
    struct parser *parser = parser_new(PARSER_STANDARD_HEADER);
    t->bytes = bytes;
    t->builder.always_tree = true;
    t->expat = parser->expat;
    t->base = parser->fed;
    XML_SetUserData(t->expat, t);
    XML_SetElementHandler(t->expat, on_start, on_end);
    XML_SetCharacterDataHandler(t->expat, on_text);
    bool whole = parser_feed(parser, bytes) == XML_STATUS_OK && t->root;
    XML_SetElementHandler(t->expat, NULL, NULL);
    if (!whole || parser_feed(parser, SLICE_LIT(PARSER_STANDARD_END)) != XML_STATUS_OK ||
        XML_Parse(t->expat, NULL, 0, XML_TRUE) != XML_STATUS_OK)
        t->bad = true;
    parser_free(parser);
    t->expat = NULL;
    if (t->bad) {
        xml_tree_free(t);
        t = NULL;
    }
    *root_r = t ? t->root : NULL;
    return t;
}

const struct element *xml_tree_element(const struct xml_tree *t)
{
    return &t->builder.element;
}

void xml_tree_free(struct xml_tree *t)
{
    if (t) {
        element_builder_free(&t->builder);
        free(t);
    }
}
