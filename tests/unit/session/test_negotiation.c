/* From the first header to the session: what may come when, however the bytes are cut. */
#include "../../sim/client.h"
#include "../../sim/server.h"
#include "base/buf.h"

struct fixture {
    struct world w;
    struct server server;
    struct client c;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    world_init(&f->w);
    server_init(&f->server, &f->w);
    client_init(&f->c, &f->w);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    client_free(&f->c);
    world_free(&f->w);
    server_free(&f->server);
    free(f);
    return 0;
}

static struct server_conn *conn(struct fixture *f)
{
    return server_newest(&f->server);
}

static void server_hears(struct fixture *f, const char *start)
{
    world_run(&f->w);
    heard_expect(&conn(f)->heard, "the server", start);
}

static void server_hears_nothing(struct fixture *f)
{
    world_run(&f->w);
    heard_nothing(&conn(f)->heard, "the server");
}

#define AUTH     "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>"
#define BAD_AUTH "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>"
#define STARTTLS "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
#define EVERYTHING                                                                                                     \
    "<?xml version='1.0'?>" CLIENT_HEADER AUTH CLIENT_HEADER CLIENT_BIND CLIENT_ENABLE                                 \
    "<presence/><message to='juliet@example.org' id='m1'><body>x</body></message>" CLIENT_R                            \
    "<message to='juliet@example.org' id='m2'/></stream:stream>"

/* ---- all of it, however it is cut ---- */

static void everything(struct fixture *f, const char *name)
{
    world_run(&f->w);
    world_wait(&f->w, 5 * USEC_S);
    static const char *const wanted[] = {
        "HEADER id=stream-1-1 from=example.org version=1.0",
        "<stream:features",
        "<success ",
        "HEADER id=stream-1-2 from=example.org version=1.0",
        "<stream:features",
        "<iq type='result' id='bind'>",
        "<enabled xmlns='urn:xmpp:sm:3' id='tag-of-",
        "<a xmlns='urn:xmpp:sm:3' h='",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        heard_expect(&f->c.heard, name, wanted[i]);
    char *last = NULL; /* how many answers came depends on how the bytes were cut; the last one tells all */
    for (struct list *it; (it = list_first(&f->c.heard));) {
        char *text = heard_take(&f->c.heard, name, "");
        if (strcmp(text, "END") == 0) {
            free(text);
            break;
        }
        free(last);
        last = text;
    }
    heard_nothing(&f->c.heard, name);
    if (last)
        assert_string_equal(last, "<a xmlns='urn:xmpp:sm:3' h='3'/>");
    free(last);
    assert_true(f->c.ended && f->c.closed && f->c.in_order);
    assert_int_equal(world_sum(&f->w, METRIC_up_confirmed), 3);
    assert_int_equal(world_sum(&f->w, METRIC_stanzas_up_message), 2);
    assert_int_equal(server_count(&f->server), 0);
}

static void with_everything(void **state, size_t portion, size_t split)
{
    static const char text[] = EVERYTHING;
    char name[64];
    setup(state);
    struct fixture *f = *state;
    f->w.portion = portion;
    client_connect(&f->c, 0);
    wire_send(f->c.wire, text, split);
    if (split < sizeof text - 1) {
        world_run(&f->w);
        wire_send(f->c.wire, text + split, sizeof text - 1 - split);
    }
    snprintf(name, sizeof name, "the client (portions of %zu, split at %zu)", portion, split);
    everything(f, name);
    teardown(state);
}

static void test_pipelined_in_one(void **state)
{
    with_everything(state, 0, sizeof EVERYTHING - 1);
}

static void test_byte_by_byte(void **state)
{
    with_everything(state, 1, sizeof EVERYTHING - 1);
    with_everything(state, 7, sizeof EVERYTHING - 1);
}

static void test_split_at_every_offset(void **state)
{
    for (size_t split = 1; split < sizeof EVERYTHING - 1; split++)
        with_everything(state, 0, split);
}

/* The server cannot be given more than one step at a time, whatever the client sends. */
static void test_one_step_at_a_time(void **state)
{
    struct fixture *f = *state;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER AUTH CLIENT_HEADER CLIENT_BIND "<presence/>");
    while (list_is_empty(&f->server.conns))
        world_turn(&f->w, &f->w.worker[0]);
    conn(f)->wire->delayed = true; /* it is silent */
    world_run(&f->w);
    assert_int_equal(conn(f)->streams, 0);
    conn(f)->wire->delayed = false;
    world_run(&f->w);
    assert_int_equal(conn(f)->streams, 2);
    server_hears(f, "<presence/>");
    server_hears_nothing(f);
}

/* ---- headers ---- */

static void test_headers(void **state)
{
    struct fixture *f = *state;
    client_connect(&f->c, 0);
    client_send(&f->c, "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' to='example.org' "
                       "from='romeo@example.org' xml:lang='de' version='1.0'>");
    client_hears(&f->c, "HEADER id=stream-1-1 from=example.org version=1.0");
    client_expect(&f->c, "<stream:features><mechanisms");
    assert_string_equal(conn(f)->header, "to=example.org from=romeo@example.org lang=de");
}

static void expect_stream_error(struct fixture *f, const char *condition)
{
    char *text;
    for (;;) {
        world_run(&f->w);
        text = heard_take(&f->c.heard, "the client", "");
        if (strncmp(text, "<stream:error", 13) == 0)
            break;
        free(text);
    }
    if (!strstr(text, condition))
        fail_msg("%s is not %s", text, condition);
    free(text);
    client_expect(&f->c, "END");
    assert_true(f->c.closed && f->c.in_order);
}

static void test_bad_headers(void **state)
{
    static const struct {
        const char *header, *condition;
    } rows[] = {
        {"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='else.org' "
         "version='1.0'>",
         "host-unknown"},
        {"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='example.org' "
         "version='1.0'>",
         "invalid-namespace"},
        {"<stream:stream xmlns='jabber:client' xmlns:stream='urn:else' to='example.org' version='1.0'>",
         "invalid-namespace"},
        {"<!DOCTYPE x><stream:stream>", "restricted-xml"},
        {"GET / HTTP/1.1\r\n\r\n", "not-well-formed"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        client_connect(&f->c, 0);
        client_send(&f->c, rows[i].header);
        expect_stream_error(f, rows[i].condition);
        heard_clear(&f->c.heard);
        assert_int_equal(f->server.opened, 0);
    }
}

static void test_another_domain_later(void **state)
{
    struct fixture *f = *state;
    client_connect(&f->c, 0);
    client_send(&f->c,
                CLIENT_HEADER AUTH "<stream:stream xmlns='jabber:client' "
                                   "xmlns:stream='http://etherx.jabber.org/streams' to='else.org' version='1.0'>");
    expect_stream_error(f, "host-unknown");
}

static void test_server_unreachable(void **state)
{
    struct fixture *f = *state;
    f->w.refuse_dial = true;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    expect_stream_error(f, "remote-connection-failed");
    assert_true(f->w.upstream.down);
    assert_int_equal(world_sum(&f->w, METRIC_upstream_dials_failed), 1);
    f->w.refuse_dial = false;
    heard_clear(&f->c.heard);
    client_login(&f->c, 0, "romeo");
    assert_false(f->w.upstream.down);
}

static void test_login_timeout(void **state)
{
    struct fixture *f = *state;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    world_wait(&f->w, 29 * USEC_S);
    assert_non_null(f->c.wire);
    world_wait(&f->w, 2 * USEC_S);
    expect_stream_error(f, "connection-timeout");
    assert_int_equal(world_sum(&f->w, METRIC_limit_login_timeout), 1);
}

static void test_login_bytes(void **state)
{
    struct fixture *f = *state;
    f->w.settings.limits.login_bytes = 1000;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    world_run(&f->w);
    for (int i = 0; i < 1000; i++)
        client_send(&f->c, " ");
    expect_stream_error(f, "policy-violation");
}

/* ---- features ---- */

static void test_features_of_the_proxy(void **state)
{
    struct fixture *f = *state;
    f->server.features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
                         "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism>"
                         "<mechanism>PLAIN</mechanism></mechanisms><x xmlns='urn:unknown'/></stream:features>";
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    client_hears(&f->c, "HEADER");
    char *text = heard_take(&f->c.heard, "the client", "<stream:features");
    assert_null(strstr(text, "starttls"));
    assert_null(strstr(text, "PLUS"));
    assert_non_null(strstr(text, "<mechanism>PLAIN</mechanism>"));
    assert_non_null(strstr(text, "<x xmlns='urn:unknown'/>"));
    assert_null(strstr(text, "urn:xmpp:sm"));
    free(text);
    assert_true(f->w.upstream.reported);
    client_send(&f->c, AUTH CLIENT_HEADER);
    client_hears(&f->c, "<success");
    client_expect(&f->c, "HEADER");
    text = heard_take(&f->c.heard, "the client", "<stream:features");
    assert_non_null(strstr(text, "<sm xmlns='urn:xmpp:sm:3'/>"));
    assert_non_null(strstr(text, "<sm xmlns='urn:xmpp:sm:2'/>"));
    assert_null(strstr(text, "xep-0198.html#ns"));
    free(text);
}

/* ---- STARTTLS ---- */

static void test_starttls_required(void **state)
{
    struct fixture *f = *state;
    f->w.settings.tls_available = f->w.settings.tls_required = true;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    client_hears(&f->c, "HEADER");
    client_expect(&f->c, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>");
    assert_int_equal(f->server.opened, 0);
    client_send(&f->c, STARTTLS);
    client_hears(&f->c, "<proceed");
    assert_int_equal(f->w.starttls, 1);
    assert_int_equal(world_sum(&f->w, METRIC_connections_tls), 1);
    client_send(&f->c, CLIENT_HEADER);
    client_hears(&f->c, "HEADER id=stream-1-1");
    assert_int_equal(f->server.opened, 1);
    client_expect(&f->c, "<stream:features><mechanisms");
}

/* Optional TLS: the upstream leg that was opened in clear is not used for what comes inside. */
static void test_starttls_optional(void **state)
{
    struct fixture *f = *state;
    f->w.settings.tls_available = true;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    client_hears(&f->c, "HEADER id=stream-1-1");
    char *text = heard_take(&f->c.heard, "the client", "<stream:features");
    assert_non_null(strstr(text, "<starttls"));
    free(text);
    client_send(&f->c, STARTTLS);
    client_hears(&f->c, "<proceed");
    client_send(&f->c, CLIENT_HEADER);
    client_hears(&f->c, "HEADER id=stream-2-1");
    text = heard_take(&f->c.heard, "the client", "<stream:features");
    assert_null(strstr(text, "<starttls"));
    free(text);
    assert_int_equal(server_count(&f->server), 1);
    client_send(&f->c, STARTTLS); /* a second one has nothing to start */
    client_hears(&f->c, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    client_expect(&f->c, "END");
}

/* Bytes in clear behind <starttls/> are somebody else's. */
static void test_starttls_injection(void **state)
{
    static const char *const behind[] = {"<", " ", CLIENT_HEADER AUTH};
    struct fixture *f = *state;
    f->w.settings.tls_available = f->w.settings.tls_required = true;
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        client_connect(&f->c, 0);
        client_send(&f->c, CLIENT_HEADER STARTTLS);
        client_send(&f->c, behind[i]);
        world_run(&f->w);
        if (!f->c.closed)
            fail_msg("'%s' behind <starttls/> was let through", behind[i]);
        heard_clear(&f->c.heard);
        assert_int_equal(f->w.starttls, 0);
    }
}

static void test_clear_where_tls_is_required(void **state)
{
    struct fixture *f = *state;
    f->w.settings.tls_available = f->w.settings.tls_required = true;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER AUTH);
    client_hears(&f->c, "HEADER");
    client_expect(&f->c, "<stream:features");
    client_expect(&f->c, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>");
    client_expect(&f->c, "END");
    static const char *const out_of_place[] = {CLIENT_BIND, "<message/>", CLIENT_ENABLE,
                                               "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>"};
    for (size_t i = 0; i < sizeof out_of_place / sizeof *out_of_place; i++) {
        heard_clear(&f->c.heard);
        client_connect(&f->c, 0);
        client_send(&f->c, CLIENT_HEADER);
        client_send(&f->c, out_of_place[i]);
        expect_stream_error(f, "not-authorized");
    }
    heard_clear(&f->c.heard);
    client_connect(&f->c, 0);
    client_send(
        &f->c,
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org'>");
    expect_stream_error(f, "policy-violation");
    assert_int_equal(f->server.opened, 0);
}

/* ---- the table of what may come when ---- */

enum where { BEFORE_LOGIN, AFTER_LOGIN, WITH_SESSION, MANAGED };

static void go_to(struct fixture *f, enum where where)
{
    heard_clear(&f->c.heard);
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    if (where >= AFTER_LOGIN)
        client_send(&f->c, AUTH CLIENT_HEADER);
    if (where >= WITH_SESSION)
        client_send(&f->c, CLIENT_BIND);
    if (where >= MANAGED)
        client_send(&f->c, CLIENT_ENABLE);
    client_forget_heard(&f->c);
}

#define REFUSED3                                                                                                       \
    "<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
#define REFUSED2                                                                                                       \
    "<failed xmlns='urn:xmpp:sm:2'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
#define RESUME(n) "<resume xmlns='urn:xmpp:sm:" n "' previd='nothing' h='0'/>"
#define COMPRESS  "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"
#define PASSED    NULL

static void test_legality(void **state)
{
    static const struct {
        enum where where;
        const char *said, *answer; /* PASSED: the server hears it */
    } rows[] = {
        {BEFORE_LOGIN, CLIENT_ENABLE, REFUSED3},
        {BEFORE_LOGIN, "<enable xmlns='urn:xmpp:sm:2'/>", REFUSED2},
        {BEFORE_LOGIN, RESUME("3"), REFUSED3},
        {BEFORE_LOGIN, RESUME("2"), REFUSED2},
        {BEFORE_LOGIN, CLIENT_R, REFUSED3},
        {BEFORE_LOGIN, "<a xmlns='urn:xmpp:sm:3' h='0'/>", REFUSED3},
        {BEFORE_LOGIN, COMPRESS, "<failure xmlns='http://jabber.org/protocol/compress'><setup-failed/></failure>"},
        {BEFORE_LOGIN, "<iq type='get' id='1' to='example.org'><query xmlns='jabber:iq:register'/></iq>", PASSED},
        {BEFORE_LOGIN, "<message to='x@example.org'/>", PASSED},
        {BEFORE_LOGIN, "<x xmlns='urn:unknown'/>", PASSED},
        {BEFORE_LOGIN, BAD_AUTH, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"},
        {AFTER_LOGIN, CLIENT_ENABLE, REFUSED3},
        {AFTER_LOGIN, "<enable xmlns='urn:xmpp:sm:2'/>", REFUSED2},
        {AFTER_LOGIN, CLIENT_R, REFUSED3},
        {AFTER_LOGIN, RESUME("3"),
         "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"},
        {AFTER_LOGIN, RESUME("2"),
         "<failed xmlns='urn:xmpp:sm:2'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"},
        {AFTER_LOGIN, "<resume xmlns='urn:xmpp:sm:3' previd='x'/>",
         "<failed xmlns='urn:xmpp:sm:3'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"},
        {AFTER_LOGIN, "<resume xmlns='urn:xmpp:sm:3' previd='x' h='-1'/>",
         "<failed xmlns='urn:xmpp:sm:3'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"},
        {AFTER_LOGIN, "<resume xmlns='urn:xmpp:sm:3' h='0'/>",
         "<failed xmlns='urn:xmpp:sm:3'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"},
        {AFTER_LOGIN, COMPRESS, "<failure xmlns='http://jabber.org/protocol/compress'><setup-failed/></failure>"},
        {AFTER_LOGIN, "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>", PASSED},
        {AFTER_LOGIN, "<presence/>", PASSED},
        {WITH_SESSION, RESUME("3"), REFUSED3},
        {WITH_SESSION, CLIENT_R, REFUSED3},
        {WITH_SESSION, "<a xmlns='urn:xmpp:sm:3' h='0'/>", REFUSED3},
        {WITH_SESSION, "<enable xmlns='urn:xmpp:sm:3'/>", "<enabled xmlns='urn:xmpp:sm:3'/>"},
        {WITH_SESSION, "<enable xmlns='urn:xmpp:sm:2' resume='false'/>", "<enabled xmlns='urn:xmpp:sm:2'/>"},
        {WITH_SESSION, "<x xmlns='urn:unknown'/>", PASSED},
        {WITH_SESSION, "<message to='x@example.org'/>", PASSED},
        {MANAGED, CLIENT_ENABLE, REFUSED3},
        {MANAGED, "<enable xmlns='urn:xmpp:sm:2'/>", REFUSED2},
        {MANAGED, RESUME("3"), REFUSED3},
        {MANAGED, "<r xmlns='urn:xmpp:sm:2'/>", REFUSED2}, /* the other version */
        {MANAGED, CLIENT_R, "<a xmlns='urn:xmpp:sm:3' h='0'/>"},
        {MANAGED, "<x xmlns='urn:unknown'/>", PASSED},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        go_to(f, rows[i].where);
        client_send(&f->c, rows[i].said);
        if (rows[i].answer) {
            client_hears(&f->c, rows[i].answer);
            server_hears_nothing(f);
        } else {
            server_hears(f, rows[i].said);
        }
        client_hears_nothing(&f->c);
        assert_non_null(f->c.wire); /* it harms nothing */
        client_send(&f->c, "</stream:stream>");
        client_hears(&f->c, "END");
        assert_true(f->c.closed);
    }
}

static void test_login_again_after_failure(void **state)
{
    struct fixture *f = *state;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER BAD_AUTH BAD_AUTH AUTH CLIENT_HEADER CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->c, "HEADER");
    client_expect(&f->c, "<stream:features");
    client_expect(&f->c, "<failure");
    client_expect(&f->c, "<failure");
    client_expect(&f->c, "<success");
    client_expect(&f->c, "HEADER");
    client_expect(&f->c, "<stream:features");
    client_expect(&f->c, "<iq");
    client_expect(&f->c, "<enabled");
    assert_int_equal(world_sum(&f->w, METRIC_logins_failure), 2);
    assert_int_equal(world_sum(&f->w, METRIC_logins_success), 1);
}

static void test_refused_bind(void **state)
{
    struct fixture *f = *state;
    f->server.refuse_bind = true;
    client_login(&f->c, 0, "romeo");
    client_send(&f->c, CLIENT_BIND);
    client_hears(&f->c, "<iq type='error' id='bind'>");
    client_send(&f->c, CLIENT_ENABLE);
    client_hears(&f->c, REFUSED3);
    f->server.refuse_bind = false;
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->c, "<iq type='result' id='bind'>");
    client_expect(&f->c, "<enabled");
}

/* ---- enable ---- */

static void test_enabled(void **state)
{
    static const struct {
        const char *enable, *enabled;
    } rows[] = {
        {"<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "resume='true' max='600'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' resume='1'/>", "resume='true' max='600'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' resume='true' max='60'/>", "resume='true' max='60'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' resume='true' max='4000000000'/>", "resume='true' max='3600'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' resume='true' max='0'/>", "resume='true' max='600'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' resume='true' max='many'/>", "resume='true' max='600'/>"},
        {"<enable xmlns='urn:xmpp:sm:2' resume='true'/>", "resume='true' max='600'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' max='60'/>", "<enabled xmlns='urn:xmpp:sm:3'/>"},
        {"<enable xmlns='urn:xmpp:sm:3' resume='yes'/>", "<enabled xmlns='urn:xmpp:sm:3'/>"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        go_to(f, WITH_SESSION);
        client_send(&f->c, rows[i].enable);
        world_run(&f->w);
        char *text = heard_take(&f->c.heard, "the client", "<enabled xmlns='urn:xmpp:sm:");
        size_t n = strlen(text), end = strlen(rows[i].enabled);
        if (n < end || strcmp(text + n - end, rows[i].enabled) != 0)
            fail_msg("%s was answered with %s", rows[i].enable, text);
        free(text);
        client_send(&f->c, "</stream:stream>");
        client_hears(&f->c, "END");
    }
    char location[] = "[2001:db8::1]:5222";
    f->w.settings.sm.location = location;
    go_to(f, WITH_SESSION);
    client_send(&f->c, CLIENT_ENABLE);
    world_run(&f->w);
    char *text = heard_take(&f->c.heard, "the client", "<enabled ");
    assert_non_null(strstr(text, " location='[2001:db8::1]:5222'"));
    free(text);
}

static void test_anonymous_cannot_resume(void **state)
{
    struct fixture *f = *state;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>" CLIENT_HEADER CLIENT_BIND);
    client_forget_heard(&f->c);
    client_send(&f->c, CLIENT_ENABLE);
    client_hears(&f->c, "<enabled xmlns='urn:xmpp:sm:3'/>");
    client_cut(&f->c);
    world_run(&f->w);
    assert_int_equal(world_sum(&f->w, METRIC_session_end_client_gone), 1);
}

/* A server of before RFC 3920: no version, no features, no stream management. */
static void test_xep0078(void **state)
{
    struct fixture *f = *state;
    f->server.no_version = true;
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER "<iq type='get' id='a1'><query xmlns='jabber:iq:auth'/></iq>"
                                     "<iq type='set' id='a2'><query xmlns='jabber:iq:auth'><username>romeo</username>"
                                     "<resource>balcony</resource><password>secret</password></query></iq><presence/>");
    client_hears(&f->c, "HEADER id=stream-1-1 from=example.org version=");
    client_expect(&f->c, "<iq type='result' id='a1'/>");
    client_expect(&f->c, "<iq type='result' id='a2'/>");
    client_hears_nothing(&f->c);
    server_hears(f, "<presence/>");
    assert_int_equal(world_sum(&f->w, METRIC_sessions_unmanaged), 1);
    client_send(&f->c, "</stream:stream>");
    client_hears(&f->c, "END");
    assert_int_equal(server_count(&f->server), 0);
}

/* ---- the server speaks for itself ---- */

static void test_server_error_before_session(void **state)
{
    struct fixture *f = *state;
    client_login(&f->c, 0, "romeo");
    server_send(conn(f),
                "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    client_hears(&f->c, "<stream:error><policy-violation");
    client_expect(&f->c, "END");
    assert_true(f->c.closed);
}

static void test_server_dies_before_session(void **state)
{
    struct fixture *f = *state;
    client_login(&f->c, 0, "romeo");
    server_cut(conn(f));
    expect_stream_error(f, "remote-connection-failed");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelined_in_one),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_split_at_every_offset),
        TEST(test_one_step_at_a_time),
        TEST(test_headers),
        TEST(test_bad_headers),
        TEST(test_another_domain_later),
        TEST(test_server_unreachable),
        TEST(test_login_timeout),
        TEST(test_login_bytes),
        TEST(test_features_of_the_proxy),
        TEST(test_starttls_required),
        TEST(test_starttls_optional),
        TEST(test_starttls_injection),
        TEST(test_clear_where_tls_is_required),
        TEST(test_legality),
        TEST(test_login_again_after_failure),
        TEST(test_refused_bind),
        TEST(test_enabled),
        TEST(test_anonymous_cannot_resume),
        TEST(test_xep0078),
        TEST(test_server_error_before_session),
        TEST(test_server_dies_before_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
