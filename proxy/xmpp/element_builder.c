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

/* What is not going to last is copied. */
static struct slice keep(struct element_builder *b, const struct tag *tag, struct slice s)
{
    return tag->atts && s.p ? arena_copy(&b->arena, s) : s;
}

/* Where the value of that attribute belongs; NULL for one that is not noted. */
static struct slice *slot_of(struct element *e, struct slice name)
{
    if (slice_eq_str(name, "to"))
        return &e->to;
    if (slice_eq_str(name, "id"))
        return &e->id;
    if (slice_eq_str(name, "type"))
        return &e->type;
    return slice_eq_str(name, "from") ? &e->from : NULL;
}

static void note_attrs(struct element_builder *b, const struct tag *tag)
{
    struct slice *slot;
    for (const char **atts = tag->atts; atts && *atts; atts += 2)
        if ((slot = slot_of(&b->element, slice_str(atts[0]))))
            *slot = keep(b, tag, slice_str(atts[1]));
    for (const struct node_attr *a = tag->attrs; a && a->name.p; a++)
        if (a->ns.n == 0 && (slot = slot_of(&b->element, a->name)))
            *slot = a->value;
}

static void start_root(struct element_builder *b, const struct tag *tag)
{
    struct element *e = &b->element;
    e->kind = kind_of(tag->ns, tag->name);
    e->ns = keep(b, tag, tag->ns);
    e->name = keep(b, tag, tag->name);
    note_attrs(b, tag);
    if (slice_eq_str(tag->ns, NS_STREAMS) && slice_eq_str(tag->name, "error"))
        e->facts |= FACT_STREAM_ERROR;
}

static struct slice id_of(const struct tag *tag)
{
    for (const char **atts = tag->atts; atts && *atts; atts += 2)
        if (strcmp(atts[0], "id") == 0)
            return slice_str(atts[1]);
    for (const struct node_attr *a = tag->attrs; a && a->name.p; a++)
        if (a->ns.n == 0 && slice_eq_str(a->name, "id"))
            return a->value;
    return SLICE_NONE;
}

/* Some clients send several forms in one stanza, for the same message. */
static void add_receipt(struct element_builder *b, struct slice id)
{
    struct element *e = &b->element;
    if (!e->receipt_id.p)
        e->receipt_id = id;
    else if (!slice_eq(e->receipt_id, id))
        e->beside_receipt = true;
}

static void start_child(struct element_builder *b, const struct tag *tag)
{
    struct element *e = &b->element;
    struct slice ns = tag->ns, name = tag->name;
    uint32_t facts = facts_of_child(e->kind, ns, name);
    e->facts |= facts;
    b->child = CHILD_OTHER;
    if (facts_is_body(ns, name)) {
        b->child = CHILD_BODY;
    } else if (e->kind == ELEMENT_MESSAGE && facts_is_thread(ns, name)) {
        b->child = CHILD_THREAD;
        e->thread = slice_of("", 0);
        b->thread_cap = 0;
    } else if (facts & FACT_EVENT) {
        b->child = CHILD_EVENT;
        b->event_tags = 0;
        b->event_id = slice_of("", 0);
        b->event_id_cap = 0;
    } else if (e->kind == ELEMENT_PRESENCE && slice_eq_str(name, "priority") && slice_eq_str(ns, NS_CLIENT)) {
        b->child = CHILD_PRIORITY;
        b->priority_n = 0;
    }
    if (e->kind == ELEMENT_MESSAGE && (facts & FACT_CHAT_STATE))
        e->chat_state = facts_chat_state(ns, name);
    if (facts & (FACT_RECEIPT | FACT_OLD_RECEIPT))
        add_receipt(b, keep(b, tag, id_of(tag)));
    else if (facts & (FACT_PAYLOAD | FACT_CHAT_STATE))
        e->beside_receipt = true;
}

static void start_event_tag(struct element_builder *b, const struct tag *tag, size_t at)
{
    b->event_tag = event_tag_of(tag->ns, tag->name);
    b->event_tags |= b->event_tag;
    if (b->event_tag == EVENT_OFFLINE)
        b->element.offline_at = at - b->start;
}

static void end_event(struct element_builder *b)
{
    struct element *e = &b->element;
    uint32_t facts = facts_of_event(b->event_tags);
    e->facts |= facts;
    if (facts & FACT_DELIVERED)
        add_receipt(b, b->event_id);
    if (b->event_tags != (EVENT_DELIVERED | EVENT_ID))
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

static const struct node_attr *keep_attrs(struct element_builder *b, const struct tag *tag)
{
    if (tag->atts)
        return copy_attrs(b, tag->atts);
    size_t n = 0;
    while (tag->attrs && tag->attrs[n].name.p)
        n++;
    if (n == 0)
        return no_attrs;
    size_t bytes = (n + 1) * sizeof *tag->attrs;
    return memcpy(arena_alloc(&b->arena, bytes), tag->attrs, bytes);
}

static void start_node(struct element_builder *b, const struct tag *tag, size_t at)
{
    struct tree_node *n = arena_alloc(&b->arena, sizeof *n), *parent = b->open;
    n->node.ns = parent && slice_eq(parent->node.ns, tag->ns) ? parent->node.ns : keep(b, tag, tag->ns);
    n->node.name = keep(b, tag, tag->name);
    n->node.attrs = keep_attrs(b, tag);
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

void element_builder_open(struct element_builder *b, const struct tag *tag, size_t at, size_t end)
{
    if (b->depth == 0) {
        element_builder_reset(b);
        b->start = at;
        start_root(b, tag);
        b->element.open_end = end - at;
    } else if (b->depth == 1 && element_is_stanza(&b->element)) {
        start_child(b, tag);
    } else if (b->depth == 2 && b->child == CHILD_EVENT) {
        start_event_tag(b, tag, at);
    }
    if (b->beyond || b->node_count == ELEMENT_NODES) {
        b->beyond++;
        b->element.tree_cut = true;
    } else if (b->always_tree || b->element.kind == ELEMENT_IQ || b->element.kind == ELEMENT_OTHER) {
        start_node(b, tag, at);
    }
    b->depth++;
}

void element_builder_start(struct element_builder *b, const char *full, const char **atts, size_t at, size_t end)
{
    struct tag tag = {.atts = atts};
    expat_name_split(full, &tag.ns, &tag.name);
    element_builder_open(b, &tag, at, end);
}

/* Text comes in pieces (lines, entities); room grows by doubling, so that many pieces cost no more than few. */
static void add_text(struct element_builder *b, struct slice *text, size_t *cap, const char *p, size_t n)
{
    if (text->n + n > *cap) {
        *cap = text->n ? 2 * (text->n + n) : n;
        char *room = arena_bytes(&b->arena, *cap);
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
        add_text(b, &b->open->node.text, &b->open->text_cap, p, n);
    if (b->depth == 3 && b->event_tag == EVENT_ID)
        add_text(b, &b->event_id, &b->event_id_cap, p, n);
    if (b->depth != 2)
        return;
    if (b->child == CHILD_BODY) {
        b->element.facts |= FACT_BODY | FACT_PAYLOAD;
        b->element.beside_receipt = true;
    } else if (b->child == CHILD_THREAD) {
        add_text(b, &b->element.thread, &b->thread_cap, p, n);
    } else if (b->child == CHILD_PRIORITY) {
        size_t room = sizeof b->priority - b->priority_n;
        memcpy(b->priority + b->priority_n, p, n < room ? n : room);
        b->priority_n += n < room ? n : room;
    }
}

bool element_builder_reads_text(const struct element_builder *b)
{
    return (b->open && !b->beyond) || (b->depth == 2 && (b->child == CHILD_PRIORITY || b->child == CHILD_THREAD)) ||
           (b->depth == 3 && b->event_tag == EVENT_ID);
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
    if (b->depth == 2 && b->child == CHILD_EVENT)
        end_event(b);
    if (b->depth == 2)
        b->child = CHILD_OTHER;
    if (b->depth == 3 && b->event_tag == EVENT_OFFLINE)
        b->element.offline_end = end - b->start;
    if (b->depth == 3)
        b->event_tag = 0;
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
    b->event_tag = 0;
    b->open = b->nodes = NULL;
    b->node_count = b->beyond = 0;
}

void element_builder_free(struct element_builder *b)
{
    element_builder_reset(b);
    arena_free(&b->arena);
}
