/* Features are rewritten by cutting byte ranges. The cutter walks the tree in document order, so that the ranges come
 * in order too, and what lies between them is copied. */
#include "xmpp/features.h"
#include "xmpp/stanza.h"

#define NS_REGISTER_FEATURE "http://jabber.org/features/iq-register"

struct cutter {
    struct buf *out;   /* NULL: only read */
    const char *done;  /* everything before it was copied or cut */
};

static void cut(struct cutter *c, const struct node *n)
{
    if (c->out)
        buf_append(c->out, c->done, (size_t)(n->bytes.p - c->done));
    c->done = n->bytes.p + n->bytes.n;
}

static bool node_is(const struct node *n, const char *ns, const char *name)
{
    return slice_eq_str(n->name, name) && slice_eq_str(n->ns, ns);
}

static bool ends_with(struct slice s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

static struct slice trimmed(struct slice s)
{
    while (s.n && slice_is_space(slice_of(s.p, 1)))
        s = slice_skip(s, 1);
    while (s.n && slice_is_space(slice_of(s.p + s.n - 1, 1)))
        s.n--;
    return s;
}

/* Mechanisms that need the client's own TLS connection: channel binding, and certificates. */
static bool is_bound_to_tls(struct slice mechanism, struct features_offer *offer)
{
    bool plus = ends_with(mechanism, "-PLUS"), external = slice_eq_str(mechanism, "EXTERNAL");
    offer->plus_offered |= plus;
    offer->external_offered |= external;
    return plus || external;
}

static void count_mechanisms(const struct node *mechanisms, struct features_offer *offer)
{
    for (const struct node *n = mechanisms->first_child; n; n = n->next) {
        if (!node_is(n, NS_SASL, "mechanism"))
            continue;
        offer->mechanisms++;
        if (!is_bound_to_tls(trimmed(n->text), offer))
            offer->mechanisms_left++;
    }
}

static void walk_mechanisms(struct cutter *c, const struct node *mechanisms, struct features_offer *offer)
{
    unsigned left_before = offer->mechanisms_left;
    count_mechanisms(mechanisms, offer);
    if (offer->mechanisms_left == left_before) { /* an empty list would not be valid */
        cut(c, mechanisms);
        return;
    }
    for (const struct node *n = mechanisms->first_child; n; n = n->next) {
        bool binding = slice_eq_str(n->ns, NS_SASL_CB);
        offer->plus_offered |= binding;
        if (binding || (node_is(n, NS_SASL, "mechanism") && is_bound_to_tls(trimmed(n->text), offer)))
            cut(c, n);
    }
}

/* Notes one feature; true when the client must not see it. */
static bool read_owned(const struct node *n, struct features_offer *offer)
{
    bool *owned = NULL;
    if (node_is(n, NS_TLS, "starttls"))
        owned = &offer->starttls;
    else if (slice_eq_str(n->ns, NS_OLD_ACK))
        owned = &offer->old_ack;
    else if (node_is(n, NS_COMPRESS_FEATURE, "compression"))
        owned = &offer->compression;
    else if (node_is(n, NS_SM2, "sm"))
        owned = &offer->sm2;
    else if (node_is(n, NS_SM3, "sm"))
        owned = &offer->sm3;
    else if (slice_eq_str(n->ns, NS_SASL2) || slice_eq_str(n->ns, NS_BIND2)) /* Bind2 comes inside SASL2 */
        owned = &offer->sasl2;
    else if (slice_eq_str(n->ns, NS_SASL_CB))
        owned = &offer->plus_offered;
    if (owned)
        *owned = true;
    if (owned == &offer->starttls)
        offer->starttls_required = node_child(n, NS_TLS, "required") != NULL;
    return owned != NULL;
}

static void read_passing(const struct node *n, struct features_offer *offer)
{
    if (node_is(n, NS_BIND, "bind")) {
        offer->bind = true;
    } else if (node_is(n, NS_SESSION, "session")) {
        offer->session = true;
        offer->session_optional = node_child(n, NS_SESSION, "optional") != NULL;
    } else if (node_is(n, NS_IQ_AUTH_FEATURE, "auth")) {
        offer->iq_auth = true;
    } else if (node_is(n, NS_REGISTER_FEATURE, "register")) {
        offer->registration = true;
    }
}

static void walk(struct cutter *c, const struct element *e, struct features_offer *offer)
{
    *offer = (struct features_offer){0};
    for (const struct node *n = e->tree ? e->tree->first_child : NULL; n; n = n->next) {
        if (node_is(n, NS_SASL, "mechanisms"))
            walk_mechanisms(c, n, offer);
        else if (read_owned(n, offer))
            cut(c, n);
        else
            read_passing(n, offer);
    }
}

static void add_own(struct buf *out, const struct features_change *change)
{
    if (change->add_starttls && change->starttls_required)
        BUF_LIT(out, "<starttls xmlns='" NS_TLS "'><required/></starttls>");
    else if (change->add_starttls)
        BUF_LIT(out, "<starttls xmlns='" NS_TLS "'/>");
    if (change->add_sm)
        BUF_LIT(out, "<sm xmlns='" NS_SM3 "'/><sm xmlns='" NS_SM2 "'/>");
}

void features_read(const struct element *e, struct features_offer *offer)
{
    struct cutter c = {.out = NULL, .done = e->bytes.p};
    walk(&c, e, offer);
}

void features_rewrite(struct buf *out, const struct element *e, const struct features_change *change,
                      struct features_offer *offer)
{
    struct buf cleaned = {0}, declared = {0}, own = {0};
    struct cutter c = {.out = &cleaned, .done = e->bytes.p};
    walk(&c, e, offer);
    struct stanza_bytes s = stanza_bytes_of(e);
    buf_append(&cleaned, c.done, (size_t)(e->bytes.p + e->bytes.n - c.done));
    s.close_at -= e->bytes.n - cleaned.n; /* whatever was cut lay before the end tag */
    s.bytes = buf_slice(&cleaned);

    size_t added = stanza_write_declared(&declared, &s, change->extra_ns);
    s = (struct stanza_bytes){buf_slice(&declared), s.open_end + added, s.close_at + added, s.name_end};
    add_own(&own, change);
    if (own.n)
        stanza_write_with_child(out, &s, buf_slice(&own));
    else
        buf_add(out, s.bytes);
    buf_free(&cleaned);
    buf_free(&declared);
    buf_free(&own);
}
