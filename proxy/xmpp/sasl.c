#include "xmpp/sasl.h"
#include "base/mem.h"
#include <stdlib.h>
#include <strings.h>

/* ---- base64 ---- */

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, the last of which may be padding; returns how many bytes they stand for, 0 for bad ones. */
static size_t decode_quad(const char *p, bool last, unsigned char out[3])
{
    size_t padding = last ? (size_t)(p[3] == '=') + (size_t)(p[3] == '=' && p[2] == '=') : 0;
    unsigned bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int v = i < 4 - padding ? sextet(p[i]) : 0;
        if (v < 0)
            return 0;
        bits = bits << 6 | (unsigned)v;
    }
    if (bits & ((1u << 8 * padding) - 1))
        return 0;
    out[0] = (unsigned char)(bits >> 16);
    out[1] = (unsigned char)(bits >> 8);
    out[2] = (unsigned char)bits;
    return 3 - padding;
}

bool sasl_base64_decode(struct buf *out, struct slice base64)
{
    if (base64.n % 4)
        return false;
    size_t cap = base64.n / 4 * 3, n = 0;
    if (!cap)
        return true;
    unsigned char *to = (unsigned char *)buf_reserve(out, cap);
    for (size_t i = 0; i < base64.n; i += 4) {
        unsigned char quad[3];
        size_t got = decode_quad(base64.p + i, i + 4 == base64.n, quad);
        if (!got) {
            explicit_bzero(to, n);
            return false;
        }
        memcpy(to + n, quad, got);
        n += got;
    }
    buf_commit(out, n);
    return true;
}

/* ---- small readers ---- */

/* Cuts text at the first c: returns what is before it, text becomes what is behind; without c, all of it. */
static struct slice cut_at(struct slice *text, char c, bool *found)
{
    const char *at = text->n ? memchr(text->p, c, text->n) : NULL;
    struct slice before = at ? slice_of(text->p, (size_t)(at - text->p)) : *text;
    *text = at ? slice_skip(*text, before.n + 1) : slice_of(text->p + text->n, 0);
    *found = at != NULL;
    return before;
}

static char *name_of(struct slice s)
{
    return s.n && !memchr(s.p, '\0', s.n) ? mem_dup(s) : NULL;
}

/* ---- mechanisms: each takes the client's first message, and returns whether it was understood ---- */

/* RFC 4616: [authzid] NUL authcid NUL passwd */
static bool take_plain(struct sasl_identity *id, struct slice message)
{
    bool first, second, third;
    struct slice authzid = cut_at(&message, '\0', &first);
    struct slice authcid = cut_at(&message, '\0', &second);
    cut_at(&message, '\0', &third);
    if (!first || !second || third)
        return false;
    id->authzid = name_of(authzid);
    id->authcid = name_of(authcid);
    return true;
}

/* RFC 5802 saslname: `=2C` and `=3D` stand for comma and equals sign. NULL for what is no such name. */
static char *saslname(struct slice s)
{
    if (s.n == 0 || memchr(s.p, '\0', s.n))
        return NULL;
    struct buf name = {0};
    for (size_t i = 0; i < s.n; i++) {
        struct slice escape = slice_of(s.p + i, s.n - i < 3 ? s.n - i : 3);
        if (s.p[i] != '=') {
            buf_append(&name, s.p + i, 1);
        } else if (slice_eq_str(escape, "=2C") || slice_eq_str(escape, "=3D")) {
            buf_append(&name, s.p[i + 1] == '2' ? "," : "=", 1);
            i += 2;
        } else {
            buf_free(&name);
            return NULL;
        }
    }
    return buf_steal(&name);
}

/* RFC 5802: ("n" | "y" | "p=" type) "," ["a=" saslname] "," "n=" saslname ",r=" nonce [extensions] */
static bool take_scram(struct sasl_identity *id, struct slice message)
{
    bool more;
    struct slice binding = cut_at(&message, ',', &more);
    if (!more || !(slice_eq_str(binding, "n") || slice_eq_str(binding, "y") || slice_starts(binding, SLICE_LIT("p="))))
        return false;
    struct slice authzid = cut_at(&message, ',', &more);
    if (!more || (authzid.n && !slice_starts(authzid, SLICE_LIT("a="))))
        return false;
    struct slice user = cut_at(&message, ',', &more);
    if (!more || !slice_starts(user, SLICE_LIT("n=")) || !slice_starts(message, SLICE_LIT("r=")))
        return false;
    while (message.n) { /* a second name: who knows which one the server takes */
        struct slice attribute = cut_at(&message, ',', &more);
        if (slice_starts(attribute, SLICE_LIT("n=")) || slice_starts(attribute, SLICE_LIT("a=")))
            return false;
    }
    id->authcid = saslname(slice_skip(user, 2));
    id->authzid = saslname(slice_skip(authzid, 2));
    return authzid.n == 0 || id->authzid;
}

static struct slice skip_space(struct slice s)
{
    while (s.n && slice_is_space(slice_of(s.p, 1)))
        s = slice_skip(s, 1);
    return s;
}

/* A value of RFC 2831 off the front: a token, or a quoted string, whose quotes and backslashes are taken off. */
static bool take_value(struct slice *text, struct buf *value)
{
    struct slice rest = *text;
    bool quoted = rest.n && rest.p[0] == '"', closed = !quoted;
    if (quoted)
        rest = slice_skip(rest, 1);
    while (rest.n && !(quoted ? rest.p[0] == '"' : rest.p[0] == ',' || slice_is_space(slice_of(rest.p, 1)))) {
        if (quoted && rest.p[0] == '\\' && rest.n > 1)
            rest = slice_skip(rest, 1);
        buf_append(value, rest.p, 1);
        rest = slice_skip(rest, 1);
    }
    if (quoted && rest.n) {
        closed = true;
        rest = slice_skip(rest, 1);
    }
    *text = skip_space(rest);
    return closed && (text->n == 0 || text->p[0] == ',');
}

/* One `name=value` off the front. False at the end (*bad tells whether by an error). */
static bool next_directive(struct slice *text, struct slice *name, struct buf *value, bool *bad)
{
    bool equals;
    buf_clear(value);
    while (text->n && (text->p[0] == ',' || slice_is_space(slice_of(text->p, 1))))
        *text = slice_skip(*text, 1);
    if (text->n == 0)
        return false;
    *name = cut_at(text, '=', &equals);
    while (name->n && slice_is_space(slice_of(name->p + name->n - 1, 1)))
        name->n--;
    *text = skip_space(*text);
    *bad = !equals || name->n == 0 || !take_value(text, value);
    return !*bad;
}

static char *utf8_of_latin1(const char *text)
{
    struct buf out = {0};
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        unsigned char two[2] = {(unsigned char)(0xc0 | *p >> 6), (unsigned char)(0x80 | (*p & 0x3f))};
        buf_append(&out, *p < 0x80 ? p : two, *p < 0x80 ? 1 : 2);
    }
    return buf_steal(&out);
}

static void to_utf8(char **name)
{
    char *utf8 = *name ? utf8_of_latin1(*name) : NULL;
    free(*name);
    *name = utf8;
}

struct digest {
    char **names[3]; /* where username, realm, authzid go */
    bool utf8;
    unsigned seen;
};

/* False for what makes the message ambiguous. Names of directives are case-insensitive. */
static bool take_directive(struct digest *d, struct slice name, struct slice value)
{
    static const char *const wanted[] = {"username", "realm", "authzid", "charset"};
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (name.n != strlen(wanted[i]) || strncasecmp(name.p, wanted[i], name.n) != 0)
            continue;
        if (d->seen >> i & 1)
            return false; /* twice */
        d->seen |= 1u << i;
        if (i < 3)
            *d->names[i] = name_of(value);
        else
            d->utf8 = value.n == 5 && strncasecmp(value.p, "utf-8", 5) == 0;
        return i < 3 || d->utf8;
    }
    return true;
}

/* RFC 2831 2.1.2 digest-response: without charset=utf-8 it is ISO 8859-1. */
static bool take_digest_md5(struct sasl_identity *id, struct slice message)
{
    struct digest d = {.names = {&id->authcid, &id->realm, &id->authzid}};
    struct slice name;
    struct buf value = {0};
    bool bad = false;
    while (!bad && next_directive(&message, &name, &value, &bad))
        bad = !take_directive(&d, name, buf_slice(&value));
    buf_free(&value);
    for (size_t i = 0; i < 3 && !d.utf8; i++)
        to_utf8(d.names[i]);
    return !bad;
}

static const struct {
    enum sasl_mechanism mechanism;
    bool (*take)(struct sasl_identity *id, struct slice message);
    unsigned messages; /* of the client in the whole exchange, empty ones not counted */
} readers[] = {
    {SASL_PLAIN, take_plain, 1},
    {SASL_SCRAM, take_scram, 2},
    {SASL_DIGEST_MD5, take_digest_md5, 1},
};

static enum sasl_mechanism mechanism_of(struct slice name)
{
    if (slice_eq_str(name, "PLAIN"))
        return SASL_PLAIN;
    if (slice_starts(name, SLICE_LIT("SCRAM-")))
        return SASL_SCRAM;
    if (slice_eq_str(name, "DIGEST-MD5"))
        return SASL_DIGEST_MD5;
    return slice_eq_str(name, "ANONYMOUS") ? SASL_ANONYMOUS : SASL_UNKNOWN;
}

/* ---- the exchange ---- */

static void forget_names(struct sasl_identity *id)
{
    free(id->authcid);
    free(id->authzid);
    free(id->realm);
    id->authcid = id->authzid = id->realm = NULL;
    id->known = false;
}

void sasl_begin(struct sasl_identity *id, struct slice mechanism)
{
    sasl_reset(id);
    id->mechanism = mechanism_of(mechanism);
    id->anonymous = id->mechanism == SASL_ANONYMOUS;
}

static void wipe(struct buf *b)
{
    mem_wipe_free(b->data, b->cap);
}

void sasl_feed(struct sasl_identity *id, struct slice base64)
{
    if (base64.n == 0 || slice_eq_str(base64, "="))
        return;
    id->messages++;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        if (readers[i].mechanism != id->mechanism)
            continue;
        if (id->messages == 1) {
            struct buf message = {0};
            bool ok = sasl_base64_decode(&message, base64) && readers[i].take(id, buf_slice(&message));
            wipe(&message);
            id->known = ok && id->authcid;
        }
        if (!id->known || id->messages > readers[i].messages)
            forget_names(id);
    }
}

void sasl_feed_challenge(struct sasl_identity *id, struct slice base64)
{
    struct buf message = {0};
    if (id->mechanism != SASL_SCRAM || !sasl_base64_decode(&message, base64)) {
        wipe(&message);
        return;
    }
    struct slice text = buf_slice(&message);
    bool more = slice_starts(text, SLICE_LIT("r=")); /* server-first-message */
    while (more && text.n)
        id->downgrade_hash |= slice_starts(cut_at(&text, ',', &more), SLICE_LIT("h="));
    wipe(&message);
}

void sasl_reset(struct sasl_identity *id)
{
    forget_names(id);
    *id = (struct sasl_identity){0};
}
