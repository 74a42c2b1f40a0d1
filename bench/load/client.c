#include "load/client.h"
#include "base/mem.h"
#include "common/sockets.h"
#include "load/load.h"
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { BODY_MAX = 300000, SECRET_MAX = 128 };

static void open_stream(struct client *c)
{
    const char *form = c->load->over_web
                           ? "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='%s' version='1.0'/>"
                           : "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' "
                             "xmlns:stream='http://etherx.jabber.org/streams'>";
    buf_printf(&c->link.out, form, c->load->domain);
    load_dirty(c->load, c);
}

void client_login(struct client *c)
{
    struct load *l = c->load;
    c->began = now_ns();
    link_connect(&c->link, l->epoll, c, l->port, l->tls == TLS_DIRECT ? l->ssl : NULL, l->over_web);
    c->state = l->tls == TLS_STARTTLS ? CLIENT_OPENING : CLIENT_SECURE;
}

void client_cut(struct client *c)
{
    link_reset(&c->link);
    c->state = CLIENT_OFF;
}

void client_logout(struct client *c)
{
    buf_add_str(&c->link.out,
                c->load->over_web ? "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>" : "</stream:stream>");
    c->state = CLIENT_LEAVING;
    load_dirty(c->load, c);
}

static void on_open(void *owner)
{
    open_stream(owner);
}

static void on_lost(void *owner)
{
    struct client *c = owner;
    struct load *l = c->load;
    bool left = c->state == CLIENT_LEAVING;
    if (left) {
        client_cut(c);
        free(c->previd);
        c->previd = NULL;
        l->left++;
    } else if (!l->on_lost || !l->on_lost(l, c)) {
        load_fail(l, c, "lost its connection");
    }
}

static void ready(struct client *c)
{
    c->state = CLIENT_READY;
    c->load->ready++;
}

/* ---- one function for each answer that is waited for ---- */

static void ask_tls(struct client *c, struct slice features)
{
    (void)features;
    BUF_LIT(&c->link.out, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    c->state = CLIENT_STARTTLS;
}

static void begin_tls(struct client *c, struct slice proceed)
{
    (void)proceed;
    c->state = CLIENT_SECURE;
    link_start_tls(&c->link, c->load->ssl);
}

/* The accounts are those of the tests: user0 with secret-0, and so on. */
static void send_auth(struct client *c, struct slice features)
{
    (void)features;
    unsigned char secret[SECRET_MAX], coded[2 * SECRET_MAX];
    int n = snprintf((char *)secret, sizeof(secret), "%cuser%u%csecret-%u", 0, c->account, 0, c->account);
    EVP_EncodeBlock(coded, secret, n);
    buf_printf(&c->link.out, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", coded);
    c->state = CLIENT_AUTH;
}

static void restart(struct client *c, struct slice success)
{
    (void)success;
    c->state = CLIENT_PROVEN;
    link_restart(&c->link);
    open_stream(c);
}

static void bind_or_resume(struct client *c, struct slice features)
{
    (void)features;
    if (c->previd) {
        buf_printf(&c->link.out, "<resume xmlns='urn:xmpp:sm:3' h='%" PRIu32 "' previd='%s'/>", c->got, c->previd);
        c->state = CLIENT_RESUME;
        c->asked = now_ns();
        return;
    }
    c->enabled = false;
    c->got = c->sent = c->acked = c->unasked = c->told = 0;
    buf_printf(&c->link.out,
               "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource>"
               "</bind></iq>");
    c->state = CLIENT_BIND;
}

static void take_jid(struct client *c, struct slice result)
{
    const char *begin = memmem(result.p, result.n, "<jid>", 5), *end = memmem(result.p, result.n, "</jid>", 6);
    if (!begin || !end) {
        load_fail(c->load, c, "cannot bind: %.*s", SLICE_ARG(result));
        return;
    }
    free(c->jid);
    c->jid = mem_dup(slice_of(begin + 5, (size_t)(end - begin - 5)));
    if (!c->load->stream_management) {
        ready(c);
        return;
    }
    BUF_LIT(&c->link.out, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    c->state = CLIENT_ENABLE;
}

static void take_previd(struct client *c, struct slice enabled)
{
    free(c->previd);
    c->previd = mem_dup(scan_attribute(enabled, SLICE_LIT(" id=")));
    c->enabled = true;
    ready(c);
}

static uint32_t h_of(struct slice element)
{
    struct slice h = scan_attribute(element, SLICE_LIT(" h="));
    return h.n ? (uint32_t)strtoul(h.p, NULL, 10) : 0;
}

/* Nothing is under way when these clients are cut, so that nothing has to be sent again by them. */
static void take_resumed(struct client *c, struct slice resumed)
{
    c->acked = h_of(resumed);
    if (c->acked != c->sent) {
        load_fail(c->load, c, "sent %" PRIu32 " stanzas, of which %" PRIu32 " arrived", c->sent, c->acked);
        return;
    }
    c->load->resumed++;
    if (c->load->on_resumed)
        c->load->on_resumed(c->load, c);
    ready(c);
}

static void take_message(struct client *c, struct slice message)
{
    c->got++;
    if (c->load->on_message)
        c->load->on_message(c->load, c, message);
}

static void take_iq(struct client *c, struct slice iq)
{
    c->got++;
    struct slice type = scan_attribute(iq, SLICE_LIT(" type=")), from = scan_attribute(iq, SLICE_LIT(" from="));
    if (c->attacker || (!slice_eq_str(type, "get") && !slice_eq_str(type, "set")))
        return;
    buf_printf(&c->link.out, "<iq type='result' id='%.*s'", SLICE_ARG(scan_attribute(iq, SLICE_LIT(" id="))));
    if (from.n)
        buf_printf(&c->link.out, " to='%.*s'", SLICE_ARG(from));
    BUF_LIT(&c->link.out, "/>");
    c->sent++;
}

static void take_presence(struct client *c, struct slice presence)
{
    (void)presence;
    c->got++;
}

static void answer_request(struct client *c, struct slice request)
{
    (void)request;
    if (!c->attacker && !c->holds)
        client_ack(c, c->got);
}

static void take_ack(struct client *c, struct slice ack)
{
    uint32_t h = h_of(ack);
    if (!c->attacker && (h - c->acked > c->sent - c->acked))
        load_fail(c->load, c, "ack %" PRIu32 " with %" PRIu32 " sent and %" PRIu32 " acked", h, c->sent, c->acked);
    c->acked = h;
    if (c->load->on_ack)
        c->load->on_ack(c->load, c);
}

static const struct rule {
    enum client_state state;
    struct slice name;
    void (*act)(struct client *c, struct slice element);
} rules[] = {
    {CLIENT_READY, {"message", 7}, take_message},
    {CLIENT_READY, {"r", 1}, answer_request},
    {CLIENT_READY, {"a", 1}, take_ack},
    {CLIENT_READY, {"iq", 2}, take_iq},
    {CLIENT_READY, {"presence", 8}, take_presence},
    {CLIENT_OPENING, {"stream:features", 15}, ask_tls},
    {CLIENT_STARTTLS, {"proceed", 7}, begin_tls},
    {CLIENT_SECURE, {"stream:features", 15}, send_auth},
    {CLIENT_AUTH, {"success", 7}, restart},
    {CLIENT_PROVEN, {"stream:features", 15}, bind_or_resume},
    {CLIENT_BIND, {"iq", 2}, take_jid},
    {CLIENT_ENABLE, {"enabled", 7}, take_previd},
    {CLIENT_RESUME, {"resumed", 7}, take_resumed},
};

static bool on_item(void *owner, enum scan_item item, struct slice bytes)
{
    struct client *c = owner;
    bool web = c->load->over_web;
    if (item == SCAN_STREAM || (web && scan_is(bytes, SLICE_LIT("open"))))
        return true;
    if (item == SCAN_END || (web && scan_is(bytes, SLICE_LIT("close")))) {
        c->link.state = LINK_LOST;
        on_lost(c);
        return false;
    }
    if (c->state == CLIENT_LEAVING || c->state == CLIENT_INTRUDING)
        return true;
    const struct rule *end = rules + sizeof(rules) / sizeof(*rules), *rule = rules;
    while (rule < end && !(rule->state == c->state && scan_is(bytes, rule->name)))
        rule++;
    if (rule == end)
        load_fail(c->load, c, "in state %d: %.*s", c->state, SLICE_ARG(bytes));
    else
        rule->act(c, bytes);
    if (c->link.out.n)
        load_dirty(c->load, c);
    return c->link.state == LINK_OPEN;
}

const struct link_upcalls client_upcalls = {.open = on_open, .item = on_item, .lost = on_lost};

/* ---- messages ---- */

void client_ask(struct client *c)
{
    BUF_LIT(&c->link.out, "<r xmlns='urn:xmpp:sm:3'/>");
    c->unasked = 0;
    load_dirty(c->load, c);
}

void client_ack(struct client *c, uint32_t h)
{
    buf_printf(&c->link.out, "<a xmlns='urn:xmpp:sm:3' h='%" PRIu32 "'/>", h);
    c->told = h;
    load_dirty(c->load, c);
}

void client_send_message(struct client *c, const char *to, unsigned body, uint64_t stamp)
{
    static char letters[BODY_MAX];
    if (!letters[0])
        memset(letters, 'm', sizeof(letters));
    struct buf *out = &c->link.out;
    buf_printf(out, "<message to='%s' type='chat' id='b%08" PRIx32 "%016" PRIx64 "'><body>", to, c->next_number++,
               stamp);
    buf_append(out, letters, body < BODY_MAX ? body : BODY_MAX);
    BUF_LIT(out, "</body>");
    if (c->load->asks_receipts)
        BUF_LIT(out, "<request xmlns='urn:xmpp:receipts'/>");
    BUF_LIT(out, "</message>");
    c->sent++;
    if (c->enabled && c->load->ask_every && ++c->unasked >= c->load->ask_every)
        client_ask(c);
    load_dirty(c->load, c);
}

bool client_read_message(struct slice message, uint32_t *number, uint64_t *stamp)
{
    struct slice id = scan_attribute(message, SLICE_LIT(" id="));
    if (id.n != 25 || id.p[0] != 'b')
        return false;
    char part[9];
    memcpy(part, id.p + 1, 8);
    part[8] = 0;
    *number = (uint32_t)strtoul(part, NULL, 16);
    *stamp = strtoull(id.p + 9, NULL, 16);
    return true;
}
