#include "element_builder.h"
#include "facts.h"
#include "xmpp/stanza.h"
#include <stdlib.h>

struct tree_node {
    struct node node; /* first: the outside sees only this */
    struct tree_node *parent, *last_child, *older;
    size_t at, end; /* bytes, as offsets in the element: where these will lie is known only at its end */
    size_t text_cap;
};

static const struct node_attr no_attrs[1];

void expat_name_split(const char *full, struct slice *ns, struct slice *name)
{
    const char *separator = strchr(full, EXPAT_SEPARATOR);
    *ns = separator ? slice_of(full, (size_t)(separator - full)) : slice_of(full, 0);
    *name = slice_str(separator ? separator + 1 : full);
}

static enum element_kind kind_of(struct slice ns, struct slice name)
{
    if (!slice_eq_str(ns, NS_CLIENT))
        return ELEMENT_OTHER;
    if (slice_eq_str(name, "message"))
        return ELEMENT_MESSAGE;
    if (slice_eq_str(name, "presence"))
        return ELEMENT_PRESENCE;
    return slice_eq_str(name, "iq") ? ELEMENT_IQ : ELEMENT_OTHER;
}

static const char *attr_value(const char **atts, const char *name)
{
    for (; *atts; atts += 2)
        if (strcmp(atts[0], name) == 0)
            return atts[1];
    return NULL;
}

static struct slice keep_attr(struct element_builder *b, const char **atts, const char *name)
{
    const char *value = attr_value(atts, name);
    return value ? arena_copy(&b->arena, slice_str(value)) : SLICE_NONE;
}

static void start_root(struct element_builder *b, struct slice ns, struct slice name, const char **atts)
{
    struct element *e = &b->element;
    *e = (struct element){.kind = kind_of(ns, name)};
    e->ns = arena_copy(&b->arena, ns);
    e->name = arena_copy(&b->arena, name);
    e->id = keep_attr(b, atts, "id");
    e->to = keep_attr(b, atts, "to");
    e->from = keep_attr(b, atts, "from");
    e->type = keep_attr(b, atts, "type");
    if (slice_eq_str(ns, NS_STREAMS) && slice_eq_str(name, "error"))
        e->facts |= FACT_STREAM_ERROR;
}

/* Some clients send both forms in one stanza, for the same message. */
static void add_receipt(struct element_builder *b, const char **atts)
{
    struct element *e = &b->element;
    if (!e->receipt_id.p)
        e->receipt_id = keep_attr(b, atts, "id");
    else if (!slice_eq(e->receipt_id, slice_str(attr_value(atts, "id"))))
        e->beside_receipt = true;
}

static void start_child(struct element_builder *b, struct slice ns, struct slice name, const char **atts)
{
    struct element *e = &b->element;
    uint32_t facts = facts_of_child(e->kind, ns, name);
    e->facts |= facts;
    b->child = CHILD_OTHER;
    if (facts_is_body(ns, name)) {
        b->child = CHILD_BODY;
    } else if (e->kind == ELEMENT_PRESENCE && slice_eq_str(name, "priority") && slice_eq_str(ns, NS_CLIENT)) {
        b->child = CHILD_PRIORITY;
        b->priority_n = 0;
    }
    if (facts & (FACT_RECEIPT | FACT_OLD_RECEIPT))
        add_receipt(b, atts);
    else if (facts & (FACT_PAYLOAD | FACT_CHAT_STATE))
        e->beside_receipt = true;
}

static const struct node_attr *copy_attrs(struct element_builder *b, const char **atts)
{
    size_t n = 0;
    while (atts[2 * n])
        n++;
    if (n == 0)
        return no_attrs;
    struct node_attr *attrs = arena_alloc(&b->arena, (n + 1) * sizeof *attrs);
    for (size_t i = 0; i < n; i++) {
        expat_name_split(atts[2 * i], &attrs[i].ns, &attrs[i].name);
        attrs[i].ns = arena_copy(&b->arena, attrs[i].ns);
        attrs[i].name = arena_copy(&b->arena, attrs[i].name);
        attrs[i].value = arena_copy(&b->arena, slice_str(atts[2 * i + 1]));
    }
    return attrs;
}

static void start_node(struct element_builder *b, struct slice ns, struct slice name, const char **atts, size_t at)
{
    struct tree_node *n = arena_alloc(&b->arena, sizeof *n), *parent = b->open;
    n->node.ns = parent && slice_eq(parent->node.ns, ns) ? parent->node.ns : arena_copy(&b->arena, ns);
    n->node.name = arena_copy(&b->arena, name);
    n->node.attrs = copy_attrs(b, atts);
    n->at = at - b->start;
    n->parent = parent;
    if (parent && parent->last_child)
        parent->last_child->node.next = &n->node;
    else if (parent)
        parent->node.first_child = &n->node;
    else
        b->element.tree = &n->node;
    if (parent)
        parent->last_child = n;
    n->older = b->nodes;
    b->open = b->nodes = n;
    b->node_count++;
}

void element_builder_start(struct element_builder *b, const char *full, const char **atts, size_t at, size_t end)
{
    struct slice ns, name;
    expat_name_split(full, &ns, &name);
    if (b->depth == 0) {
        element_builder_reset(b);
        b->start = at;
        start_root(b, ns, name, atts);
        b->element.open_end = end - at;
    } else if (b->depth == 1 && element_is_stanza(&b->element)) {
        start_child(b, ns, name, atts);
    }
    if (b->beyond || b->node_count == ELEMENT_NODES) {
        b->beyond++;
        b->element.tree_cut = true;
    } else if (b->always_tree || b->element.kind == ELEMENT_IQ || b->element.kind == ELEMENT_OTHER) {
        start_node(b, ns, name, atts, at);
    }
    b->depth++;
}

/* Text comes in pieces (lines, entities); room grows by doubling, so that many pieces cost no more than few. */
static void add_node_text(struct element_builder *b, struct tree_node *node, const char *p, size_t n)
{
    struct slice *text = &node->node.text;
    if (text->n + n > node->text_cap) {
        node->text_cap = text->n ? 2 * (text->n + n) : n;
        char *room = arena_bytes(&b->arena, node->text_cap);
        if (text->n)
            memcpy(room, text->p, text->n);
        text->p = room;
    }
    memcpy((char *)text->p + text->n, p, n);
    text->n += n;
}

void element_builder_text(struct element_builder *b, const char *p, size_t n)
{
    if (b->depth == 0 || n == 0)
        return;
    if (b->open && !b->beyond)
        add_node_text(b, b->open, p, n);
    if (b->depth != 2)
        return;
    if (b->child == CHILD_BODY) {
        b->element.facts |= FACT_BODY | FACT_PAYLOAD;
        b->element.beside_receipt = true;
    } else if (b->child == CHILD_PRIORITY) {
        size_t room = sizeof b->priority - b->priority_n;
        memcpy(b->priority + b->priority_n, p, n < room ? n : room);
        b->priority_n += n < room ? n : room;
    }
}

/* RFC 6121 4.7.2.3: an integer between -128 and +127. */
static int8_t priority_of(const char *text, size_t n)
{
    char number[sizeof((struct element_builder *)0)->priority + 1], *end;
    if (n >= sizeof number - 1)
        return 0;
    memcpy(number, text, n);
    number[n] = '\0';
    long value = strtol(number, &end, 10);
    return end != number && slice_is_space(slice_str(end)) && value >= -128 && value <= 127 ? (int8_t)value : 0;
}

bool element_builder_end(struct element_builder *b, size_t at, size_t end)
{
    if (b->depth == 2 && b->child == CHILD_PRIORITY)
        b->element.priority = priority_of(b->priority, b->priority_n);
    if (b->depth == 2)
        b->child = CHILD_OTHER;
    if (b->beyond) {
        b->beyond--;
    } else if (b->open) {
        b->open->end = end - b->start;
        b->open = b->open->parent;
    }
    b->element.close_at = at - b->start;
    return --b->depth == 0;
}

const struct element *element_builder_finish(struct element_builder *b, struct slice bytes)
{
    b->element.bytes = bytes;
    b->element.name_end = stanza_name_end(bytes);
    for (struct tree_node *n = b->nodes; n; n = n->older)
        n->node.bytes = slice_of(bytes.p + n->at, n->end - n->at);
    return &b->element;
}

void element_builder_reset(struct element_builder *b)
{
    arena_reset(&b->arena);
    b->element = (struct element){0};
    b->depth = 0;
    b->child = CHILD_OTHER;
    b->open = b->nodes = NULL;
    b->node_count = b->beyond = 0;
}

void element_builder_free(struct element_builder *b)
{
    element_builder_reset(b);
    arena_free(&b->arena);
}
