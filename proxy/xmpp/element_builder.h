/* Makes a struct element of what expat reports: facts always, the tree for all but messages and presence. */
#ifndef HOLDFAST_XMPP_ELEMENT_BUILDER_H
#define HOLDFAST_XMPP_ELEMENT_BUILDER_H

#include "arena.h"
#include "xmpp/element.h"

/* Between namespace and local name in the names that expat gives: no byte of XML can be it. */
#define EXPAT_SEPARATOR '\x01'
void expat_name_split(const char *full, struct slice *ns, struct slice *name);

/* A start tag: as expat tells it, or as plain.c has read it. */
struct tag {
    struct slice ns, name;
    const char **atts;             /* expat's: nothing of it outlives the handler. NULL: */
    const struct node_attr *attrs; /* what the slices here and above point to lasts as long as the element */
};

struct tree_node;
struct element_builder { /* {0} is a valid idle one */
    struct arena arena;
    struct element element;
    bool always_tree; /* also for messages and presence */
    unsigned depth;   /* open tags; 0 while idle */
    size_t start;     /* index of the element's first byte */
    enum { CHILD_OTHER, CHILD_BODY, CHILD_PRIORITY, CHILD_EVENT, CHILD_THREAD } child; /* the direct one that is open */
    char priority[8]; /* its text so far; what is longer is no number that counts */
    size_t priority_n;
    unsigned event_tags;   /* enum event_tag: in the x that is open */
    unsigned event_tag;    /* the one of them that is open, 0: none */
    struct slice event_id; /* text of its id so far */
    size_t event_id_cap, thread_cap;
    struct tree_node *open;  /* innermost node whose end tag is still to come */
    struct tree_node *nodes; /* all of them, newest first */
    unsigned node_count;
    unsigned beyond; /* open tags that got no node, as the tree was full */
};

/* Positions are indexes into one and the same sequence of bytes. `end` lies behind the tag. */
void element_builder_open(struct element_builder *b, const struct tag *tag, size_t at, size_t end);
/* The same, of what expat gives. */
void element_builder_start(struct element_builder *b, const char *full, const char **atts, size_t at, size_t end);
void element_builder_text(struct element_builder *b, const char *p, size_t n);
/* Whether text is read here; if not, all that counts is whether there is any. */
bool element_builder_reads_text(const struct element_builder *b);
/* True when that was the end tag of the element's root. */
bool element_builder_end(struct element_builder *b, size_t at, size_t end);
/* The finished element; bytes are those from start to the end of its end tag. Valid until the next reset or start. */
const struct element *element_builder_finish(struct element_builder *b, struct slice bytes);
void element_builder_reset(struct element_builder *b);
void element_builder_free(struct element_builder *b);

#endif
