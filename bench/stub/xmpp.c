#include "base/mem.h"
#include "stub/stub.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

/* What a peer that does not read may have waiting; more messages to it are dropped, as nobody else can be held up. */
enum { OUT_MAX = 4 << 20, AUTH_MAX = 1024 };

static void on_header(struct peer *p, struct slice header)
{
    (void)header;
    buf_printf(&p->out,
               "<?xml version='1.0'?><stream:stream from='%s' id='%llx' version='1.0' xmlns='jabber:client' "
               "xmlns:stream='http://etherx.jabber.org/streams'><stream:features>",
               p->stub->domain, ++p->stub->streams);
    if (p->user)
        BUF_LIT(&p->out, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
    else
        BUF_LIT(&p->out,
                "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>");
    BUF_LIT(&p->out, "</stream:features>");
}

/* What stands between the tags of an element without children. */
static struct slice text_of(struct slice element)
{
    const char *begin = element.n ? memchr(element.p, '>', element.n) : NULL;
    if (!begin)
        return SLICE_NONE;
    const char *end = memchr(begin, '<', (size_t)(element.p + element.n - begin));
    return end ? slice_of(begin + 1, (size_t)(end - begin - 1)) : SLICE_NONE;
}

/* base64 of authzid NUL authcid NUL password; any password will do. */
static void on_auth(struct peer *p, struct slice auth)
{
    struct slice text = text_of(auth);
    unsigned char plain[AUTH_MAX];
    int n = text.n && text.n < AUTH_MAX ? EVP_DecodeBlock(plain, (const unsigned char *)text.p, (int)text.n) : -1;
    const unsigned char *name = n > 0 ? memchr(plain, 0, (size_t)n) : NULL;
    const unsigned char *end = name ? memchr(name + 1, 0, (size_t)(plain + n - name - 1)) : NULL;
    if (!end || p->user) {
        BUF_LIT(&p->out, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
        return;
    }
    p->user = mem_dup(slice_of((const char *)name + 1, (size_t)(end - name - 1)));
    p->scan = (struct scan){.at = p->scan.at, .keep = p->scan.keep};
    BUF_LIT(&p->out, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
}

void stub_unbind(struct peer *p)
{
    if (!p->jid)
        return;
    struct slice full = slice_str(p->jid), bare = slice_of(p->jid, strcspn(p->jid, "/"));
    if (map_get(p->stub->sessions, full) == p)
        map_remove(p->stub->sessions, full);
    if (map_get(p->stub->sessions, bare) == p)
        map_remove(p->stub->sessions, bare);
    free(p->jid);
    p->jid = NULL;
}

static void bind_resource(struct peer *p, struct slice iq, struct slice id)
{
    static const struct slice TAG = {"<resource>", 10};
    const char *at = memmem(iq.p, iq.n, TAG.p, TAG.n);
    struct slice rest = at ? slice_of(at, (size_t)(iq.p + iq.n - at)) : SLICE_NONE, resource = text_of(rest);
    stub_unbind(p);
    p->jid = resource.n ? mem_printf("%s@%s/%.*s", p->user, p->stub->domain, SLICE_ARG(resource))
                        : mem_printf("%s@%s/%llx", p->user, p->stub->domain, ++p->stub->streams);
    map_put(p->stub->sessions, slice_str(p->jid), p);
    map_put(p->stub->sessions, slice_of(p->jid, strcspn(p->jid, "/")), p);
    buf_printf(&p->out,
               "<iq type='result' id='%.*s'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>%s</jid></bind></iq>",
               SLICE_ARG(id), p->jid);
}

/* Passes a stanza on with its sender's address behind the name, which has `name` bytes. */
static void pass_on(struct peer *p, struct slice stanza, size_t name, struct slice to)
{
    struct peer *other = map_get(p->stub->sessions, to);
    if (!other || other->closing || other->out.n > OUT_MAX)
        return;
    buf_append(&other->out, stanza.p, 1 + name);
    BUF_LIT(&other->out, " from='");
    buf_add_str(&other->out, p->jid);
    BUF_LIT(&other->out, "'");
    buf_add(&other->out, slice_skip(stanza, 1 + name));
    stub_dirty(other);
}

/* Requests to the server are answered, whatever they ask for; the others are passed on. */
static void on_iq(struct peer *p, struct slice iq)
{
    struct slice id = scan_attribute(iq, SLICE_LIT(" id=")), to = scan_attribute(iq, SLICE_LIT(" to="));
    struct slice type = scan_attribute(iq, SLICE_LIT(" type="));
    bool asks = slice_eq_str(type, "get") || slice_eq_str(type, "set");
    if (to.n && !slice_eq_str(to, p->stub->domain)) {
        if (p->jid)
            pass_on(p, iq, 2, to);
    } else if (asks && memmem(iq.p, iq.n, "<bind ", 6)) {
        bind_resource(p, iq, id);
    } else if (asks && p->jid) {
        buf_printf(&p->out, "<iq type='result' from='%s' to='%s' id='%.*s'/>", p->stub->domain, p->jid, SLICE_ARG(id));
    }
}

static void on_element(struct peer *p, struct slice element)
{
    if (scan_is(element, SLICE_LIT("message"))) {
        if (p->jid)
            pass_on(p, element, 7, scan_attribute(element, SLICE_LIT(" to=")));
    } else if (scan_is(element, SLICE_LIT("iq"))) {
        if (p->user)
            on_iq(p, element);
    } else if (scan_is(element, SLICE_LIT("auth"))) {
        on_auth(p, element);
    }
}

void stub_take(struct peer *p, enum scan_item item, struct slice bytes)
{
    if (item == SCAN_STREAM) {
        on_header(p, bytes);
    } else if (item == SCAN_ELEMENT) {
        on_element(p, bytes);
    } else {
        BUF_LIT(&p->out, "</stream:stream>");
        p->closing = true;
    }
    if (p->out.n)
        stub_dirty(p);
}
