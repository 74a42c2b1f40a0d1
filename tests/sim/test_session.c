/* Whole sessions in random weather: clients and a server exchange numbered messages, while connections break at any
 * byte, come back on other workers, are slow, or end, and the server dies, stays away, forgets. An oracle looks on:
 * nothing is lost, order is kept, doubles come only where XEP-0198 allows them, each receipt is true and there is one
 * for each that was asked for, and the books are balanced at any time. Contacts come and go, also while the server is
 * away; requests wait for answers; a room talks: each client sees who is there, gets one answer to each request, and
 * each message of the room once.
 *
 * SEED=n runs one seed; SEEDS=n that many of each weather. LOG=1 shows the proxy's log. */
#include "client.h"
#include "server.h"
#include "xmpp/sm.h"
#include "xmpp/xml.h"

#define MAX_MESSAGES 4000
#define ACCOUNTS     2
#define DEVICES      3
#define TICKS        250
#define CONTACTS     6
#define HISTORY      100 /* messages that the room gives to those who join */

/* Chances, in a thousand for each tick (and device). */
#define REQUEST "<request xmlns='urn:xmpp:receipts'/>"
/* What a server would send at a change of the roster: x may see the presence. */
#define PUSH                                                                                                           \
    "<iq type='set' id='push'><query xmlns='jabber:iq:roster'><item jid='x@example.org' "                              \
    "subscription='both'/></query></iq>"

struct weather {
    const char *name;
    unsigned cut, end, abandon, logout, slow, lazy, long_away, hold_pings, server_dies, no_resume, flood;
    unsigned server_leaves; /* it dies, and cannot be reached for a while */
    unsigned login_rate;
    bool tight, evict, away, slowed, forgetful;
    bool anyone; /* gets receipts: a session may be over before it has seen the roster */
};

static const struct weather weathers[] = {
    {.name = "calm"},
    {.name = "cuts", .cut = 30, .end = 10, .abandon = 15, .lazy = 200},
    {.name = "slow", .cut = 10, .abandon = 5, .slow = 60, .lazy = 300, .hold_pings = 60, .flood = 30},
    {.name = "slowed", .cut = 15, .abandon = 5, .lazy = 300, .flood = 50, .slowed = true},
    {.name = "expiry",
     .cut = 20,
     .abandon = 20,
     .long_away = 500,
     .lazy = 200,
     .logout = 10,
     .no_resume = 150,
     .evict = true,
     .anyone = true},
    {.name = "deaths", .cut = 20, .abandon = 10, .server_dies = 12, .hold_pings = 20, .lazy = 100},
    {.name = "outages", .cut = 10, .abandon = 5, .server_dies = 5, .server_leaves = 8, .hold_pings = 30, .lazy = 100},
    {.name = "forgetful",
     .cut = 20,
     .abandon = 10,
     .logout = 10,
     .server_dies = 15,
     .hold_pings = 20,
     .forgetful = true},
    {.name = "queues", .cut = 30, .server_dies = 10, .server_leaves = 3, .logout = 5, .login_rate = 2},
    {.name = "tight",
     .cut = 20,
     .end = 5,
     .abandon = 5,
     .slow = 40,
     .lazy = 300,
     .flood = 100,
     .hold_pings = 20,
     .tight = true,
     .server_dies = 3,
     .anyone = true},
    {.name = "storm",
     .cut = 40,
     .end = 10,
     .abandon = 30,
     .logout = 10,
     .slow = 30,
     .lazy = 300,
     .long_away = 200,
     .hold_pings = 30,
     .server_dies = 8,
     .no_resume = 100,
     .flood = 20,
     .tight = true,
     .evict = true,
     .away = true,
     .anyone = true},
};

/* What an account's clients have got of what the server sent it. */
struct account {
    char name[16];
    unsigned sent;
    bool handed[MAX_MESSAGES]; /* the proxy has read it */
    bool got[MAX_MESSAGES], acked[MAX_MESSAGES];
    char resource[MAX_MESSAGES][8]; /* to which it was sent */
    bool asks[MAX_MESSAGES];        /* for a receipt */
    bool told[MAX_MESSAGES];        /* a client has said that it has it, by an <a/> or an h on <resume/> */
    unsigned receipts[MAX_MESSAGES], own_receipts[MAX_MESSAGES]; /* that the server got: the proxy's, the client's */
};

/* What a client may send, as it stands in device.up: a kind, and a number. */
#define KIND(up)   ((up)&0xff000000u)
#define NUMBER(up) ((up)&0x00ffffffu)
enum {
    UP_MESSAGE = 0,
    UP_PRESENCE = 1 << 24,
    UP_REQUEST = 2 << 24,
    UP_JOIN = 3 << 24,
    UP_DIRECTED = 4 << 24,
    UP_RECEIPT = 5 << 24
};

enum step { OFFLINE, CONNECTING, AUTHENTICATING, RESUMING, BINDING, ENABLING, ONLINE, LEAVING };

struct ack {
    uint32_t h;
    unsigned long long offset; /* in what we sent on this connection */
};

struct received {
    uint32_t number;
    unsigned message;
};

struct device {
    struct sim *sim;
    struct client c;
    struct account *account;
    unsigned index;
    enum step step;
    usec back_at;
    unsigned long long written; /* on this connection */
    uint32_t resume_h;

    /* uplink: what the proxy has not acked */
    unsigned up[MAX_MESSAGES], up_first, up_end;
    uint32_t up_acked; /* h of this session */
    unsigned up_next;
    bool up_done[MAX_MESSAGES]; /* the server has processed it */
    usec up_time[MAX_MESSAGES]; /* when */
    /* requests of this session: those behind `requests_past` */
    unsigned requests, requests_past;
    bool request_done[MAX_MESSAGES], answered[MAX_MESSAGES];
    /* of this session */
    bool sees[CONTACTS], in_room, directed;
    unsigned room_last, subjects;
    /* downlink */
    struct received received[MAX_MESSAGES];
    unsigned received_n, told_n;
    struct ack acks[MAX_MESSAGES];
    unsigned acks_first, acks_end;
    bool owes_ack;
    unsigned last_direct;
    bool answers; /* sends receipts of its own, in its time */
    unsigned owed[MAX_MESSAGES], owed_n;
};

struct sim {
    struct world w;
    struct server server;
    struct account accounts[ACCOUNTS];
    struct device devices[DEVICES];
    const struct weather *weather;
    bool calm; /* the storm is over */
    bool social;
    bool present[CONTACTS];
    unsigned room_messages;
    usec back_at; /* the server cannot be reached until then; 0: it can */
};

static bool chance(struct sim *sim, unsigned of_thousand)
{
    return !sim->calm && world_random(&sim->w, 1000) < of_thousand;
}

/* ---- the server's end ---- */

/* What was written to a connection, and how far into it that is. */
struct sent {
    struct account *account;
    bool in_room, directed, carbons;
    struct buf answers; /* that the client waits for */
    unsigned n, first, last_up;
    struct {
        unsigned message;
        unsigned long long end;
    } of[MAX_MESSAGES];
};

static void note_handed(struct server_conn *conn)
{
    struct sent *sent = conn->user;
    while (sent && sent->first < sent->n && sent->of[sent->first].end <= conn->wire->delivered)
        sent->account->handed[sent->of[sent->first++].message] = true;
}

static void on_conn_gone(void *ctx, struct server_conn *conn)
{
    (void)ctx;
    struct sent *sent = conn->user;
    note_handed(conn);
    if (sent)
        buf_free(&sent->answers);
    free(sent);
}

static struct sent *sent_of(struct sim *sim, struct server_conn *conn)
{
    if (!conn->user) {
        struct sent *sent = MEM_NEW(struct sent);
        for (unsigned i = 0; i < ACCOUNTS; i++)
            if (slice_starts(slice_str(conn->account), slice_str(sim->accounts[i].name)))
                sent->account = &sim->accounts[i];
        assert_non_null(sent->account);
        conn->user = sent;
    }
    return conn->user;
}

/* Written, or put where it will be: what the client says from here on, it says about these as well. */
static void note_told(struct device *d)
{
    while (d->told_n < d->received_n)
        d->account->told[d->received[d->told_n++].message] = true;
}

static void on_receipt(struct sim *sim, struct server_conn *conn, const struct element *e)
{
    char id[64], resource[32];
    unsigned message;
    struct account *a = sent_of(sim, conn)->account;
    bool ours = slice_starts(e->id, SLICE_LIT("hfr-"));
    client_copy(id, sizeof id, e->receipt_id);
    if (sim->weather->anyone && strcmp(id, "stranger") == 0)
        return;
    if (sscanf(id, "d-%u-%31s", &message, resource) != 2 || strcmp(a->resource[message], resource) != 0)
        fail_msg("a receipt for what asked for none: %.*s", SLICE_ARG(e->bytes));
    if (!a->asks[message] || !a->got[message] || !slice_eq_str(e->to, "x@example.org/y") ||
        !slice_eq_str(e->type, "chat"))
        fail_msg("a wrong receipt: %.*s", SLICE_ARG(e->bytes));
    if (ours && !a->told[message])
        fail_msg("a receipt before the client has acked: %.*s", SLICE_ARG(e->bytes));
    ++*(ours ? &a->receipts[message] : &a->own_receipts[message]);
    if (a->receipts[message] > 1 && !sim->weather->server_dies) /* one that may be lost is repeated */
        fail_msg("message %u: %u receipts", message, a->receipts[message]);
}

static void tell_contact(struct sim *sim, struct server_conn *conn, unsigned i)
{
    server_printf(conn, "<presence from='c%u@example.org/1'%s/>", i, sim->present[i] ? "" : " type='unavailable'");
}

/* With an id, or without: then every third says the same. */
static void tell_room_message(struct server_conn *conn, unsigned n, bool history)
{
    char id[32] = "";
    if (n % 3)
        snprintf(id, sizeof id, " id='g%u'", n);
    server_printf(conn, "<message from='r@muc.example.org/bot' type='groupchat'%s><body>g-%u</body>%s</message>", id, n,
                  history ? "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20Z'/>" : "");
}

static void on_join(struct sim *sim, struct server_conn *conn, struct slice to)
{
    struct sent *sent = sent_of(sim, conn);
    sent->in_room = true;
    server_printf(conn,
                  "<presence from='%.*s'><x xmlns='http://jabber.org/protocol/muc#user'><item role='participant'/>"
                  "<status code='110'/></x></presence>",
                  SLICE_ARG(to));
    unsigned first = sim->room_messages > HISTORY ? sim->room_messages - HISTORY + 1 : 1;
    for (unsigned n = first; n <= sim->room_messages; n++)
        tell_room_message(conn, n, true);
    server_send(conn, "<message from='r@muc.example.org' type='groupchat'><subject>all</subject></message>");
}

static void on_server_presence(struct sim *sim, struct server_conn *conn, const struct element *e)
{
    if (!e->to.n && !e->type.p)
        server_send(conn, PUSH);
    if (!sim->social || e->type.p)
        return;
    for (unsigned i = 0; i < CONTACTS && !e->to.n && !conn->available; i++)
        if (sim->present[i])
            tell_contact(sim, conn, i);
    if (slice_starts(e->to, SLICE_LIT("r@muc")))
        on_join(sim, conn, e->to);
    else if (e->to.n)
        sent_of(sim, conn)->directed = true;
}

/* Requests are "q-DEVICE-NUMBER"; every fifth one enables carbons. */
static void on_request(struct sim *sim, struct server_conn *conn, const struct element *e, const char *id)
{
    unsigned device, number;
    if (sscanf(id, "q-%u-%u", &device, &number) != 2)
        return;
    struct sent *sent = sent_of(sim, conn);
    sim->devices[device].request_done[number] = true;
    sent->carbons |= slice_eq_str(e->type, "set");
    buf_printf(&sent->answers, "<iq type='result' id='%s'", id);
    xml_attr(&sent->answers, "from", e->to);
    BUF_LIT(&sent->answers, "/>");
}

static void on_uplink_message(struct sim *sim, struct server_conn *conn, unsigned device, unsigned number, bool late)
{
    struct sent *sent = sent_of(sim, conn);
    struct device *d = &sim->devices[device];
    d->up_done[number] = true;
    d->up_time[number] = sim->w.clock.mono;
    if (late) /* from the outbox, perhaps at a login of the account's other device */
        return;
    if (number <= sent->last_up)
        fail_msg("device %u: message %u came behind %u on one connection", device, number, sent->last_up);
    /* the first of a connection may be any that the client has not got an ack for */
    if (sent->last_up && number != sent->last_up + 1)
        fail_msg("device %u: message %u came right behind %u", device, number, sent->last_up);
    sent->last_up = number;
}

/* An uplink message: "u-DEVICE-NUMBER". On one connection numbers only grow: no loss, no double, no disorder. What
 * comes late from the outbox aside. */
static void on_server_stanza(void *ctx, struct server_conn *conn, const struct element *e)
{
    unsigned device, number;
    char id[64];
    client_copy(id, sizeof id, e->id);
    if (e->kind == ELEMENT_PRESENCE)
        on_server_presence(ctx, conn, e);
    else if (e->kind == ELEMENT_MESSAGE && e->receipt_id.n)
        on_receipt(ctx, conn, e);
    else if (e->kind == ELEMENT_IQ)
        on_request(ctx, conn, e, id);
    else if (e->kind == ELEMENT_MESSAGE && sscanf(id, "u-%u-%u", &device, &number) == 2)
        on_uplink_message(ctx, conn, device, number, e->facts & FACT_DELAY);
}

static void send_numbered(struct sim *sim, struct account *a)
{
    struct server_conn *to = NULL;
    if (a->sent + 1 >= MAX_MESSAGES)
        return;
    LIST_FOREACH_SAFE(it, next, &sim->server.conns)
    {
        struct server_conn *conn = CONTAINER_OF(it, struct server_conn, link);
        bool fits = conn->available && !conn->ended && conn->account &&
                    slice_starts(slice_str(conn->account), slice_str(a->name));
        if (fits && (!to || world_random(&sim->w, 2)))
            to = conn;
    }
    if (!to)
        return;
    struct sent *sent = sent_of(sim, to);
    unsigned message = ++a->sent;
    a->asks[message] = world_random(&sim->w, 3) == 0;
    snprintf(a->resource[message], sizeof *a->resource, "%s", to->resource);
    server_printf(to,
                  "<message from='x@example.org/y' to='%s/%s' type='chat' id='d-%u-%s'><body>%0*u</body>%s</message>",
                  to->account, to->resource, message, to->resource, world_random(&sim->w, 8) ? 1 : 900, message,
                  a->asks[message] ? REQUEST : "");
    sent->of[sent->n].message = message;
    sent->of[sent->n++].end = to->written;
}

static void send_noise(struct sim *sim, struct server_conn *conn)
{
    static const char *const noise[] = {
        "<presence from='x@example.org/1'/>",
        "<presence from='x@example.org/1' type='unavailable'/>",
        "<presence from='y@example.org' type='subscribed'/>",
        "<presence from='z@example.org' type='subscribe'/>",
        "<message from='x@example.org/1' type='chat'><composing "
        "xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message from='room@muc.example.org/n' type='groupchat'><body>hi</body></message>",
        "<message from='x@example.org' type='headline'><body>news</body></message>",
        /* these get no receipts, the first one unless anyone may have them */
        "<message from='s@example.org/1' type='chat' id='stranger'><body>hi</body>" REQUEST "</message>",
        "<message from='room@muc.example.org/n' type='groupchat' id='room'><body>hi</body>" REQUEST "</message>",
        "<message from='x@example.org/y' type='error' id='error'><body>hi</body>" REQUEST "</message>",
        "<message from='x@example.org/y' type='chat'><body>hi</body>" REQUEST "</message>",
        "<iq type='get' id='n1' from='x@example.org/1'><query xmlns='jabber:iq:version'/></iq>",
        "<iq type='result' id='n2' from='x@example.org/1'/>",
        "<iq type='get' id='n3' from='example.org'><ping xmlns='urn:xmpp:ping'/></iq>",
        " ",
    };
    server_send(conn, noise[world_random(&sim->w, sizeof noise / sizeof *noise)]);
}

static bool is_listening(const struct server_conn *conn)
{
    return conn->available && !conn->ended;
}

/* Somebody comes or goes, the room talks; also while the server is away (then its clients learn it later). */
static void social_tick(struct sim *sim)
{
    unsigned who = world_random(&sim->w, CONTACTS);
    bool moves = sim->social && chance(sim, 150), talks = sim->social && chance(sim, 250);
    sim->present[who] ^= moves;
    sim->room_messages += talks;
    LIST_FOREACH_SAFE(it, next, &sim->server.conns)
    {
        struct server_conn *conn = CONTAINER_OF(it, struct server_conn, link);
        struct sent *sent = conn->user;
        if (moves && is_listening(conn))
            tell_contact(sim, conn, who);
        if (talks && sent && sent->in_room && !conn->ended)
            tell_room_message(conn, sim->room_messages, false);
        if (!sent || conn->ended || !sent->answers.n || chance(sim, 500))
            continue;
        char *answers = buf_steal(&sent->answers);
        server_send(conn, answers);
        free(answers);
    }
}

/* What it has done in the last seconds it may not have written down. */
static void forget_lately(struct sim *sim)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *d = &sim->devices[i];
        for (unsigned m = 1; m <= d->up_next; m++)
            if (sim->w.clock.mono - d->up_time[m] < 3 * USEC_S)
                d->up_done[m] = false;
    }
}

static void death_tick(struct sim *sim)
{
    const struct weather *weather = sim->weather;
    if (sim->back_at && (sim->calm || sim->w.clock.mono >= sim->back_at)) {
        sim->back_at = 0;
        sim->w.refuse_dial = sim->w.upstream.down = false;
    }
    bool leaves = chance(sim, weather->server_leaves);
    if (!leaves && !chance(sim, weather->server_dies))
        return;
    if (weather->forgetful && server_count(&sim->server)) /* else nobody is there to notice */
        forget_lately(sim);
    server_die(&sim->server);
    if (!leaves)
        return;
    sim->w.refuse_dial = true;
    sim->back_at = sim->w.clock.mono + world_random(&sim->w, 15) * USEC_S;
}

static void server_tick(struct sim *sim)
{
    social_tick(sim);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        for (unsigned n = chance(sim, sim->weather->flood) ? 30 : world_random(&sim->w, 3); n && !sim->calm; n--)
            send_numbered(sim, &sim->accounts[i]);
    LIST_FOREACH_SAFE(it, next, &sim->server.conns)
    {
        struct server_conn *conn = CONTAINER_OF(it, struct server_conn, link);
        note_handed(conn);
        if (conn->available && !conn->ended && chance(sim, 150))
            send_noise(sim, conn);
    }
    if (chance(sim, sim->weather->hold_pings))
        sim->server.hold_pings = !sim->server.hold_pings;
    if (!sim->server.hold_pings || chance(sim, 100))
        server_answer_pings(&sim->server);
    death_tick(sim);
}

/* ---- a device ---- */

static void device_send(struct device *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void device_send(struct device *d, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->written += (unsigned)n;
    client_send(&d->c, text);
}

static void go_offline(struct device *d)
{
    d->step = OFFLINE;
    d->acks_first = d->acks_end = 0;
    d->owes_ack = false;
    usec away = world_random(&d->sim->w, 2500) * USEC_MS;
    if (chance(d->sim, d->sim->weather->long_away))
        away += 15 * USEC_S;
    d->back_at = d->sim->w.clock.mono + (d->sim->calm ? 0 : away);
}

static void write_message(struct device *d, unsigned number)
{
    device_send(d, "<message to='x@example.org' type='chat' id='u-%u-%u'><body>%0*u</body></message>", d->index, number,
                world_random(&d->sim->w, 10) ? 1 : 800, number);
}

static void write_receipt(struct device *d, unsigned message)
{
    device_send(d,
                "<message to='x@example.org/y' type='chat' id='r-%u'><received xmlns='urn:xmpp:receipts' "
                "id='d-%u-%s'/></message>",
                message, message, d->account->resource[message]);
}

static void write_stanza(struct device *d, unsigned up)
{
    unsigned n = NUMBER(up);
    if (KIND(up) == UP_MESSAGE)
        write_message(d, n);
    else if (KIND(up) == UP_PRESENCE)
        device_send(d, "<presence/>");
    else if (KIND(up) == UP_RECEIPT)
        write_receipt(d, n);
    else if (KIND(up) == UP_DIRECTED)
        device_send(d, "<presence to='gate.example.org/d'/>");
    else if (KIND(up) == UP_JOIN)
        device_send(d, "<presence to='r@muc.example.org/d%u'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
                    d->index);
    else if (n % 5 == 0)
        device_send(d, "<iq type='set' id='q-%u-%u'><enable xmlns='urn:xmpp:carbons:2'/></iq>", d->index, n);
    else
        device_send(d, "<iq type='get' id='q-%u-%u' to='x@example.org/y'><query xmlns='jabber:iq:version'/></iq>",
                    d->index, n);
}

static void send_stanza(struct device *d, unsigned up)
{
    if (d->up_end + DEVICES >= MAX_MESSAGES)
        return;
    d->up[d->up_end++] = up;
    write_stanza(d, up);
}

static void send_presence(struct device *d)
{
    send_stanza(d, UP_PRESENCE);
}

static void social_device_tick(struct device *d)
{
    if (!d->in_room && chance(d->sim, 100)) {
        d->in_room = true;
        send_stanza(d, UP_JOIN);
    }
    if (!d->directed && chance(d->sim, 50)) {
        d->directed = true;
        send_stanza(d, UP_DIRECTED);
    }
    if (chance(d->sim, 150) && d->requests + 1 < MAX_MESSAGES)
        send_stanza(d, UP_REQUEST | ++d->requests);
}

static void send_receipts(struct device *d)
{
    while (d->owed_n && d->up_end + DEVICES < MAX_MESSAGES) {
        unsigned message = d->owed[--d->owed_n];
        send_stanza(d, UP_RECEIPT | message);
    }
}

static void send_message(struct device *d)
{
    if (d->up_end + DEVICES >= MAX_MESSAGES || d->up_next + 1 >= MAX_MESSAGES)
        return;
    send_stanza(d, ++d->up_next);
}

static void send_ack(struct device *d)
{
    note_told(d);
    device_send(d, "<a xmlns='urn:xmpp:sm:3' h='%u'/>", (unsigned)d->c.h);
    if (d->acks_end < MAX_MESSAGES)
        d->acks[d->acks_end++] = (struct ack){d->c.h, d->written};
    d->owes_ack = false;
}

/* The proxy has taken over what is up to h: the server has it. */
static void up_acked(struct device *d, uint32_t h)
{
    uint32_t n = h - d->up_acked;
    if (n > d->up_end - d->up_first)
        fail_msg("device %u: h=%u, but only %u beyond %u were sent", d->index, h, d->up_end - d->up_first, d->up_acked);
    for (; n; n--) {
        unsigned up = d->up[d->up_first++], number = NUMBER(up);
        if (KIND(up) == UP_MESSAGE && !d->up_done[number] && !d->sim->weather->forgetful)
            fail_msg("device %u: message %u was acked, but the server has not got it", d->index, number);
        if (KIND(up) == UP_REQUEST && !d->request_done[number])
            fail_msg("device %u: request %u was acked, but the server has not got it", d->index, number);
    }
    d->up_acked = h;
}

/* The client's word has reached the proxy: these must not come again. */
static void down_acked(struct device *d, uint32_t h)
{
    for (unsigned i = 0; i < d->received_n; i++)
        if (d->received[i].number <= h)
            d->account->acked[d->received[i].message] = true;
}

static void note_acks(struct device *d)
{
    struct wire *x = d->c.wire;
    while (x && x->reading && !x->over && d->acks_first < d->acks_end && d->acks[d->acks_first].offset <= x->delivered)
        down_acked(d, d->acks[d->acks_first++].h);
}

/* Each message of the room once, in order, from the first one that the session got. */
static void on_room_message(struct device *d, const struct element *e)
{
    char text[256];
    unsigned n;
    client_copy(text, sizeof text, e->bytes);
    const char *body = strstr(text, "<body>g-");
    d->subjects += strstr(text, "<subject>") != NULL;
    if (d->subjects > 1)
        fail_msg("device %u: the subject came again", d->index);
    if (!body || sscanf(body, "<body>g-%u", &n) != 1)
        return;
    if (d->room_last && n != d->room_last + 1)
        fail_msg("device %u: the room's message %u came behind %u", d->index, n, d->room_last);
    d->room_last = n;
}

static void on_answer(struct device *d, const struct element *e)
{
    unsigned device, n;
    char id[64];
    client_copy(id, sizeof id, e->id);
    if (sscanf(id, "q-%u-%u", &device, &n) != 2)
        return;
    if (device != d->index || n <= d->requests_past || n > d->requests)
        fail_msg("device %u: an answer to %s, which it has not asked in this session", d->index, id);
    if (d->answered[n])
        fail_msg("device %u: request %u was answered twice", d->index, n);
    d->answered[n] = true;
}

static void on_contact(struct device *d, const struct element *e)
{
    unsigned i;
    char from[64];
    client_copy(from, sizeof from, e->from);
    if (sscanf(from, "c%u@", &i) == 1)
        d->sees[i] = !e->type.p;
    if (slice_starts(e->from, SLICE_LIT("r@muc")) && e->type.p)
        fail_msg("device %u: out of the room: %.*s", d->index, SLICE_ARG(e->bytes));
}

static void on_message(struct device *d, const struct element *e)
{
    if (slice_starts(e->from, SLICE_LIT("r@muc")))
        on_room_message(d, e);
    char id[64], resource[32];
    unsigned message;
    client_copy(id, sizeof id, e->id);
    if (sscanf(id, "d-%u-%31s", &message, resource) != 2)
        return;
    /* on a connection that the proxy has given up long ago there may be more copies under way */
    if (d->account->acked[message] && !d->c.wire->freed)
        fail_msg("device %u: message %u came again after it was acked", d->index, message);
    const char *own = strchr(d->c.jid, '/');
    if (own && strcmp(own + 1, resource) == 0) {
        if (message <= d->last_direct)
            fail_msg("device %u: message %u came behind %u in one session", d->index, message, d->last_direct);
        d->last_direct = message;
    }
    if (d->answers && d->account->asks[message] && !d->account->got[message])
        d->owed[d->owed_n++] = message;
    d->account->got[message] = true;
    d->received[d->received_n++] = (struct received){d->c.h, message};
}

/* All that was not acked is sent again, the new session counts from nothing. */
static void begin_session(struct device *d)
{
    unsigned left = 0;
    for (unsigned i = d->up_first; i < d->up_end; i++)
        if (KIND(d->up[i]) == UP_MESSAGE || KIND(d->up[i]) == UP_RECEIPT)
            d->up[left++] = d->up[i];
    d->requests_past = d->requests;
    d->in_room = d->directed = false;
    d->room_last = d->subjects = 0;
    memset(d->sees, 0, sizeof d->sees);
    d->up_first = 0;
    d->up_acked = 0;
    d->received_n = d->told_n = 0;
    d->last_direct = 0;
    if (chance(d->sim, 500)) { /* presence first, or last */
        memmove(d->up + 1, d->up, left * sizeof *d->up);
        d->up[0] = UP_PRESENCE;
        d->up_end = left + 1;
        device_send(d, "<presence/>");
        for (unsigned i = 1; i <= left; i++)
            write_stanza(d, d->up[i]);
    } else {
        d->up_end = left;
        for (unsigned i = 0; i < left; i++)
            write_stanza(d, d->up[i]);
        send_presence(d);
    }
    d->step = ONLINE;
}

static void resumed(struct device *d, uint32_t h)
{
    down_acked(d, d->resume_h);
    up_acked(d, h);
    for (unsigned i = d->up_first; i < d->up_end; i++)
        write_stanza(d, d->up[i]);
    d->step = ONLINE;
}

static void bind(struct device *d)
{
    device_send(d, CLIENT_BIND);
    d->step = BINDING;
}

static void on_features(struct device *d)
{
    if (d->step == CONNECTING) {
        char plain[128];
        client_plain(plain, d->account->name, "secret");
        device_send(d, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>" CLIENT_HEADER,
                    plain);
        d->step = AUTHENTICATING;
    } else if (d->c.previd[0]) {
        d->resume_h = d->c.h;
        note_told(d);
        device_send(d, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%u'/>", d->c.previd, (unsigned)d->c.h);
        d->step = RESUMING;
    } else {
        bind(d);
    }
}

static uint32_t h_of(const struct element *e)
{
    uint32_t h;
    if (!sm_parse_h(node_attr(e->tree, "h"), &h))
        fail_msg("no h in %.*s", SLICE_ARG(e->bytes));
    return h;
}

static void on_device_element(void *ctx, const struct element *e)
{
    struct device *d = ctx;
    if (e->kind == ELEMENT_MESSAGE) {
        on_message(d, e);
    } else if (slice_eq_str(e->name, "features")) {
        on_features(d);
    } else if (slice_eq_str(e->name, "failed")) {
        if (node_attr(e->tree, "h").p)
            up_acked(d, h_of(e));
        d->c.previd[0] = '\0';
        bind(d);
    } else if (d->step == BINDING && e->kind == ELEMENT_IQ) {
        device_send(d, chance(d->sim, d->sim->weather->no_resume) ? "<enable xmlns='urn:xmpp:sm:3'/>" : CLIENT_ENABLE);
        d->step = ENABLING;
    } else if (e->kind == ELEMENT_IQ) {
        on_answer(d, e);
    } else if (e->kind == ELEMENT_PRESENCE) {
        on_contact(d, e);
    } else if (slice_eq_str(e->name, "enabled")) {
        begin_session(d);
    } else if (slice_eq_str(e->name, "resumed")) {
        resumed(d, h_of(e));
    } else if (slice_eq_str(e->name, "a")) {
        up_acked(d, h_of(e));
    } else if (slice_eq_str(e->name, "r")) {
        d->owes_ack = true;
    } else if (slice_eq_str(e->name, "error") && d->step >= RESUMING &&
               !node_child(e->tree, NS_STREAM_ERRORS, "remote-connection-failed") &&
               !node_child(e->tree, NS_STREAM_ERRORS, "connection-timeout")) {
        fail_msg("device %u at step %d got %.*s", d->index, (int)d->step, SLICE_ARG(e->bytes));
    }
}

static void device_connect(struct device *d)
{
    d->written = 0;
    d->acks_first = d->acks_end = 0;
    client_connect(&d->c, (int)world_random(&d->sim->w, WORLD_WORKERS));
    if (chance(d->sim, d->sim->weather->slow))
        d->c.wire->window = 1500;
    device_send(d, CLIENT_HEADER);
    d->step = CONNECTING;
}

static void online_tick(struct device *d)
{
    struct sim *sim = d->sim;
    for (unsigned n = world_random(&sim->w, chance(sim, sim->weather->flood) ? 40 : 3); n && !sim->calm; n--)
        send_message(d);
    if (sim->social)
        social_device_tick(d);
    if (d->owes_ack && !chance(sim, sim->weather->lazy))
        send_ack(d);
    if (chance(sim, 50))
        send_ack(d);
    if (chance(sim, 200) || sim->calm)
        send_receipts(d);
    if (chance(sim, 200) || (sim->calm && d->up_first != d->up_end))
        device_send(d, CLIENT_R);
    if (chance(sim, sim->weather->logout)) {
        device_send(d, "</stream:stream>");
        d->c.previd[0] = '\0';
        d->step = LEAVING;
    }
}

static void device_tick(struct device *d)
{
    struct sim *sim = d->sim;
    note_acks(d);
    if (d->step == OFFLINE) {
        if (sim->w.clock.mono >= d->back_at)
            device_connect(d);
        return;
    }
    if (!d->c.wire) { /* the proxy has ended it */
        go_offline(d);
        return;
    }
    if (d->c.ended) {
        client_cut(&d->c);
        go_offline(d);
        return;
    }
    if (sim->calm)
        d->c.wire->stuck = false;
    if (d->step == ONLINE)
        online_tick(d);
    if (chance(sim, sim->weather->slow))
        d->c.wire->stuck = !d->c.wire->stuck;
    if (chance(sim, sim->weather->cut)) {
        client_cut(&d->c);
        go_offline(d);
    } else if (chance(sim, sim->weather->end)) {
        wire_end(d->c.wire);
        d->c.wire->peer = NULL;
        client_forget_wire(&d->c);
        go_offline(d);
    } else if (chance(sim, sim->weather->abandon)) {
        client_abandon(&d->c, chance(sim, 500));
        go_offline(d);
    }
}

/* ---- a run ---- */

static void configure(struct sim *sim)
{
    struct settings *set = &sim->w.settings;
    set->sm.max = 12 * USEC_S;
    set->sm.request_delay = 300 * USEC_MS;
    set->sm.ack_timeout = 8 * USEC_S;
    set->sm.answer_delay = 500 * USEC_MS;
    set->sm.confirm_delay = 500 * USEC_MS;
    set->sm.confirm_timeout = 10 * USEC_S;
    set->sm.probe = 5 * USEC_S;
    set->sm.full_grace = 3 * USEC_S;
    set->receipts.grace = 500 * USEC_MS;
    set->receipts.to = sim->weather->anyone ? RECEIPTS_TO_ANYONE : RECEIPTS_TO_CONTACTS;
    set->limits.login_timeout = 10 * USEC_S;
    if (sim->weather->tight) {
        set->sm.queue_stanzas = 15;
        set->sm.queue_bytes = 12000;
        set->limits.memory = 60000;
    }
    if (sim->weather->slowed) { /* far below what the clients send */
        set->limits.stanzas_per_second = 5;
        set->limits.bytes_per_second = 1000;
    }
    set->login_rate = sim->weather->login_rate;
    if (sim->weather->forgetful)
        set->sm.confirm_linger = 5 * USEC_S;
    if (sim->weather->evict)
        set->sm.sessions_per_account = 1;
    if (sim->weather->away)
        set->sm.detached_presence = PRESENCE_AWAY;
}

static struct sim *sim_new(const struct weather *weather, uint64_t seed)
{
    struct sim *sim = MEM_NEW(struct sim);
    world_init(&sim->w);
    sim->w.seed = seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < 20; i++)
        world_random(&sim->w, 2);
    sim->weather = weather;
    sim->social = !weather->tight; /* a node that is full does not remember who was there */
    configure(sim);
    server_init(&sim->server, &sim->w);
    sim->server.stanza = on_server_stanza;
    sim->server.gone = on_conn_gone;
    sim->server.ctx = sim;
    strcpy(sim->accounts[0].name, "romeo");
    strcpy(sim->accounts[1].name, "juliet");
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *d = &sim->devices[i];
        d->sim = sim;
        d->index = i;
        d->account = &sim->accounts[i % ACCOUNTS];
        d->answers = i == 1; /* all of juliet's, none of romeo's */
        d->back_at = sim->w.clock.mono;
        client_init(&d->c, &sim->w);
        d->c.element = on_device_element;
        d->c.ctx = d;
    }
    return sim;
}

static void tick(struct sim *sim)
{
    usec step =
        world_random(&sim->w, 20) ? world_random(&sim->w, 150) * USEC_MS : world_random(&sim->w, 2000) * USEC_MS;
    sim->w.clock.mono += step;
    sim->w.clock.wall += step;
    server_tick(sim);
    for (unsigned i = 0; i < DEVICES; i++)
        device_tick(&sim->devices[i]);
    for (unsigned n = 1 + world_random(&sim->w, 16); n; n--)
        world_turn(&sim->w, &sim->w.worker[world_random(&sim->w, WORLD_WORKERS)]);
    world_check_fates(&sim->w);
}

/* A node that is full delivers mail a few messages at a time. */
static bool has_mail(const struct sim *sim)
{
    return memory_store_figures(sim->w.memory_store).messages != 0;
}

/* The storm is over: everyone comes back and everything arrives. */
static void calm_down(struct sim *sim)
{
    sim->calm = true;
    sim->server.hold_pings = false;
    uint64_t seed = sim->w.seed;
    int seconds = sim->weather->slowed ? 900 : 40; /* who is slowed has much to say yet */
    for (int i = 0; i < seconds || (i < 200 && has_mail(sim)); i++) {
        sim->w.seed = seed + 1; /* device_tick wants to choose; bytes go whole */
        server_tick(sim);
        for (unsigned k = 0; k < DEVICES; k++)
            device_tick(&sim->devices[k]);
        sim->w.seed = 0;
        for (unsigned round = 0; round < 6; round++) { /* who connects needs some steps */
            world_run(&sim->w);
            for (unsigned k = 0; k < DEVICES; k++)
                if (sim->devices[k].owes_ack && sim->devices[k].step == ONLINE)
                    send_ack(&sim->devices[k]);
        }
        world_wait(&sim->w, USEC_S);
        world_check_fates(&sim->w);
    }
}

static void check_all_arrived(struct sim *sim)
{
    for (unsigned i = 0; i < ACCOUNTS; i++)
        for (unsigned m = 1; m <= sim->accounts[i].sent; m++)
            if (sim->accounts[i].handed[m] && !sim->accounts[i].got[m])
                fail_msg("message %u of %u to %s is lost", m, sim->accounts[i].sent, sim->accounts[i].name);
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *d = &sim->devices[i];
        if (d->step != ONLINE)
            fail_msg("device %u could not come back: step %d", i, (int)d->step);
        if (d->up_first != d->up_end)
            fail_msg("device %u: %u messages were never acked", i, d->up_end - d->up_first);
        for (unsigned m = 1; m <= d->up_next; m++)
            if (!d->up_done[m])
                fail_msg("device %u: message %u is lost", i, m);
    }
}

/* Each that was asked for came, and in fair weather once. A session that ends without a server takes with it what that
 * did not live to hear; these are counted. */
static void check_receipts(struct sim *sim)
{
    int64_t missing = 0;
    bool fair = !sim->weather->server_dies && !sim->weather->cut;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        struct account *a = &sim->accounts[i];
        for (unsigned m = 1; m <= a->sent; m++) {
            unsigned n = a->receipts[m] + a->own_receipts[m];
            missing += a->asks[m] && a->got[m] && !n;
            if (a->asks[m] && a->got[m] && fair && n != 1)
                fail_msg("message %u to %s: %u receipts of ours, %u of its own", m, a->name, a->receipts[m],
                         a->own_receipts[m]);
        }
    }
    if (missing > world_sum(&sim->w, METRIC_receipts_withheld_upstream))
        fail_msg("%lld receipts never came", (long long)missing);
}

static struct sent *sent_to(struct sim *sim, const struct device *d)
{
    const char *own = strchr(d->c.jid, '/') + 1;
    LIST_FOREACH_SAFE(it, next, &sim->server.conns)
    {
        struct server_conn *conn = CONTAINER_OF(it, struct server_conn, link);
        if (conn->resource && strcmp(conn->resource, own) == 0)
            return sent_of(sim, conn);
    }
    fail_msg("device %u has no connection to the server", d->index);
    return NULL;
}

/* The client and the server think the same of each other. */
static void check_in_step(struct sim *sim, struct device *d)
{
    const struct sent *sent = sent_to(sim, d);
    for (unsigned i = 0; i < CONTACTS; i++)
        if (d->sees[i] != sim->present[i])
            fail_msg("device %u takes contact %u for %s", d->index, i, d->sees[i] ? "present" : "absent");
    bool carbons = false;
    for (unsigned n = d->requests_past + 1; n <= d->requests; n++) {
        if (!d->answered[n])
            fail_msg("device %u: request %u was never answered", d->index, n);
        carbons |= n % 5 == 0;
    }
    if (sent->in_room != d->in_room || sent->directed != d->directed || sent->carbons != carbons)
        fail_msg("device %u: room %d/%d, directed presence %d/%d, carbons %d/%d", d->index, sent->in_room, d->in_room,
                 sent->directed, d->directed, sent->carbons, carbons);
    if (d->in_room && d->room_last != sim->room_messages)
        fail_msg("device %u: got %u messages of the room, of %u", d->index, d->room_last, sim->room_messages);
}

static void log_out(struct sim *sim)
{
    for (unsigned i = 0; i < DEVICES; i++)
        device_send(&sim->devices[i], "</stream:stream>");
    world_wait(&sim->w, 30 * USEC_S);
    for (unsigned i = 0; i < DEVICES; i++)
        assert_true(sim->devices[i].c.ended && sim->devices[i].c.closed);
}

static void sim_free(struct sim *sim)
{
    for (unsigned i = 0; i < DEVICES; i++)
        client_free(&sim->devices[i].c);
    world_free(&sim->w);
    server_free(&sim->server);
    free(sim);
}

static void run_seed(const struct weather *weather, uint64_t seed)
{
    struct sim *sim = sim_new(weather, seed);
    for (int i = 0; i < TICKS; i++)
        tick(sim);
    calm_down(sim);
    check_all_arrived(sim);
    for (unsigned i = 0; sim->social && i < DEVICES; i++)
        check_in_step(sim, &sim->devices[i]);
    log_out(sim);
    check_receipts(sim);
    assert_int_equal(memory_store_figures(sim->w.memory_store).messages, 0); /* all mail was delivered, and acked */
    sim_free(sim);
}

/* ---- cmocka ---- */

struct progress {
    const struct weather *weather;
    uint64_t seed;
    bool running;
};

static void test_weather(void **state)
{
    struct progress *p = *state;
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, n = one ? 1 : many ? strtoull(many, NULL, 10) : 22;
    p->running = true;
    for (p->seed = first; p->seed < first + n; p->seed++)
        run_seed(p->weather, p->seed);
    p->running = false;
}

static int tell_seed(void **state)
{
    struct progress *p = *state;
    if (p->running)
        print_error("weather %s: SEED=%llu\n", p->weather->name, (unsigned long long)p->seed);
    return 0;
}

int main(void)
{
    enum { N = sizeof weathers / sizeof *weathers };
    struct CMUnitTest tests[N];
    struct progress progress[N];
    for (int i = 0; i < N; i++) {
        progress[i] = (struct progress){.weather = &weathers[i]};
        tests[i] = (struct CMUnitTest){weathers[i].name, test_weather, NULL, tell_seed, &progress[i]};
    }
    if (getenv("WEATHER"))
        cmocka_set_test_filter(getenv("WEATHER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
