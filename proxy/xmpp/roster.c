#include "xmpp/roster.h"
#include "parser_pool.h"
#include "xmpp/xml.h"

typedef void item_fn(void *ctx, const struct roster_item *item);

static bool is_roster(struct slice ns, struct slice name, const char *wanted)
{
    return slice_eq_str(name, wanted) && slice_eq_str(ns, NS_ROSTER);
}

static void tell(const struct node *node, item_fn *item, void *ctx)
{
    struct roster_item it = {.jid = node_attr(node, "jid"), .node = node};
    struct slice subscription = node_attr(node, "subscription");
    it.removed = slice_eq_str(subscription, "remove");
    it.sees_us = slice_eq_str(subscription, "from") || slice_eq_str(subscription, "both");
    if (it.jid.n)
        item(ctx, &it);
}

/* ---- a roster too large for a tree: a small tree for each item ---- */

struct reader {
    struct parser *parser;
    struct element_builder builder;
    unsigned depth; /* open tags: 1 inside iq, 2 inside query */
    bool in_roster;
    item_fn *item;
    void *ctx;
};

static void on_start(void *ctx, const char *full, const char **atts)
{
    struct reader *r = ctx;
    struct slice ns, name;
    expat_name_split(full, &ns, &name);
    if (r->depth == 1)
        r->in_roster = is_roster(ns, name, "query");
    else if (r->depth >= 2 && r->in_roster)
        element_builder_start(&r->builder, full, atts, 0, 0);
    r->depth++;
}

static void on_end(void *ctx, const char *full)
{
    struct reader *r = ctx;
    (void)full;
    r->depth--;
    if (r->depth < 2 || !r->in_roster || !element_builder_end(&r->builder, 0, 0))
        return;
    const struct node *node = r->builder.element.tree;
    if (is_roster(node->ns, node->name, "item"))
        tell(node, r->item, r->ctx);
    element_builder_reset(&r->builder);
}

static void on_text(void *ctx, const char *p, int n)
{
    struct reader *r = ctx;
    element_builder_text(&r->builder, p, (size_t)n);
}

static bool read_again(struct slice bytes, item_fn *item, void *ctx)
{
    struct reader r = {.parser = parser_new(PARSER_STANDARD_HEADER), .item = item, .ctx = ctx};
    r.builder.always_tree = true;
    XML_SetUserData(r.parser->expat, &r);
    XML_SetElementHandler(r.parser->expat, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser->expat, on_text);
    bool whole = parser_feed(r.parser, bytes) == XML_STATUS_OK && r.depth == 0;
    element_builder_free(&r.builder);
    parser_free(r.parser);
    return whole;
}

bool roster_each(const struct element *iq, item_fn *item, void *ctx)
{
    if (iq->tree_cut)
        return read_again(iq->bytes, item, ctx);
    const struct node *query = node_child(iq->tree, NS_ROSTER, "query");
    for (const struct node *n = query ? query->first_child : NULL; n; n = n->next)
        if (is_roster(n->ns, n->name, "item"))
            tell(n, item, ctx);
    return query != NULL;
}

/* ---- one item ---- */

static uint64_t hash_pair(const struct hash_key *seed, struct slice name, struct slice value)
{
    uint64_t pair[2] = {hash_of(seed, name), hash_of(seed, value)};
    return hash_of(seed, slice_of((const char *)pair, sizeof pair));
}

uint64_t roster_digest(const struct hash_key *seed, const struct roster_item *item)
{
    uint64_t sum = 0; /* of hashes: the order does not matter */
    for (const struct node_attr *a = item->node->attrs; a->name.p; a++)
        if (!a->ns.n)
            sum += hash_pair(seed, a->name, a->value);
    for (const struct node *n = item->node->first_child; n; n = n->next)
        if (is_roster(n->ns, n->name, "group"))
            sum += hash_pair(seed, SLICE_LIT("<group>"), n->text);
    return sum;
}

void roster_write_item(struct buf *out, const struct roster_item *item)
{
    BUF_LIT(out, "<item");
    for (const struct node_attr *a = item->node->attrs; a->name.p; a++) {
        if (!a->ns.n) {
            buf_printf(out, " %.*s='", SLICE_ARG(a->name));
            xml_escape(out, a->value);
            BUF_LIT(out, "'");
        }
    }
    BUF_LIT(out, ">");
    for (const struct node *n = item->node->first_child; n; n = n->next) {
        if (is_roster(n->ns, n->name, "group")) {
            BUF_LIT(out, "<group>");
            xml_escape(out, n->text);
            BUF_LIT(out, "</group>");
        }
    }
    BUF_LIT(out, "</item>");
}
