#include "xmpp/element.h"

const struct node *node_child(const struct node *n, const char *ns, const char *name)
{
    for (const struct node *child = n ? n->first_child : NULL; child; child = child->next)
        if (slice_eq_str(child->name, name) && slice_eq_str(child->ns, ns))
            return child;
    return NULL;
}

struct slice node_attr(const struct node *n, const char *name)
{
    for (const struct node_attr *a = n ? n->attrs : NULL; a && a->name.p; a++)
        if (a->ns.n == 0 && slice_eq_str(a->name, name))
            return a->value;
    return SLICE_NONE;
}
