/* Message events (XEP-0022) on behalf of a client: delivered by the rules of receipts, which are in test_receipts.c,
 * and offline, as a server tells it. */
#include "receipts.h"

#define EVENT(tags) "<x xmlns='jabber:x:event'>" tags "</x>"
#define REQUEST     "<request xmlns='urn:xmpp:receipts'/>"
#define JULIET      "juliet@example.org/x"

#define EVENTS(name) cmocka_unit_test_setup_teardown(name, setup_contact, teardown)

static void ask_from(struct fixture *f, const char *from, const char *id, const char *children)
{
    server_printf(f->conn, "<message from='%s' type='chat' id='%s'><body>x</body>%s</message>", from, id, children);
    world_run(&f->w);
}

static void ask(struct fixture *f, const char *id, const char *children)
{
    ask_from(f, JULIET, id, children);
}

static void expect(struct fixture *f, const char *child)
{
    char *got = heard_take(&f->conn->heard, "the server", "<message ");
    char *end = mem_printf("'>%s</message>", child);
    const char *start = "<message to='" JULIET "' type='chat' id='hfr-";
    if (strncmp(got, start, strlen(start)) != 0 || !strstr(got, end))
        fail_msg("%s\n is not %s…%s", got, start, end);
    free(got);
    free(end);
}

#define DELIVERED(id) EVENT("<delivered/><id>" id "</id>")
#define OFFLINE(id)   EVENT("<offline/><id>" id "</id>")
#define RECEIVED(id)  "<received xmlns='urn:xmpp:receipts' id='" id "'/>"

static void own(struct fixture *f, const char *child)
{
    client_printf(&f->c, "<message to='" JULIET "'>%s</message>", child);
    world_run(&f->w);
}

static void wait_grace(struct fixture *f)
{
    world_wait(&f->w, GRACE + USEC_MS);
}

/* ---- delivered ---- */

static void test_delivered_after_ack_and_grace(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", EVENT("<offline/><delivered/><composing/>"));
    ask(f, "d2", EVENT("<displayed/><composing/>")); /* unsolicited event information is illegal */
    wait_nothing(f);
    ack_all(f);
    world_wait(&f->w, GRACE - USEC_MS);
    server_hears_nothing(f);
    world_wait(&f->w, USEC_MS);
    expect(f, DELIVERED("d1"));
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_message_events_delivered_proxy), 1);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 0);
}

static void test_both_are_two(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", REQUEST EVENT("<delivered/>"));
    ack_all(f);
    wait_grace(f);
    expect(f, RECEIVED("d1"));
    expect(f, DELIVERED("d1"));
    ask(f, "d1", REQUEST EVENT("<delivered/>")); /* and never again */
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_repeated), 2);
}

/* Whoever speaks the one language for itself is spoken for in the other. */
static void test_own_of_the_other_kind(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", REQUEST EVENT("<delivered/>"));
    own(f, RECEIVED("d1"));
    server_hears(f, "<message to='" JULIET "'><received");
    ack_all(f);
    wait_grace(f);
    expect(f, DELIVERED("d1"));
    ask(f, "d2", EVENT("<delivered/>"));
    ask(f, "d3", REQUEST);
    ack_all(f);
    wait_grace(f);
    expect(f, DELIVERED("d2"));
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_client), 1);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 0);
    assert_int_equal(sum(f, METRIC_message_events_delivered_proxy), 2);
    assert_int_equal(sum(f, METRIC_receipts_withheld_client), 2);
}

static void test_own_delivered_comes_first(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", EVENT("<delivered/>"));
    ask(f, "d2", EVENT("<delivered/>"));
    ask(f, "d3", REQUEST);
    ack_all(f);
    own(f, DELIVERED("d1"));
    server_hears(f, "<message to='" JULIET "'><x xmlns='jabber:x:event'><delivered/>");
    wait_grace(f);
    expect(f, RECEIVED("d3")); /* a client of old times sends none of these */
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_message_events_delivered_client), 1);
    assert_int_equal(sum(f, METRIC_message_events_delivered_proxy), 0);
}

static void test_late_own_is_swallowed(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", EVENT("<delivered/><displayed/>"));
    ack_all(f);
    wait_grace(f);
    expect(f, DELIVERED("d1"));
    own(f, DELIVERED("d1"));
    wait_nothing(f);
    own(f, EVENT("<displayed/><id>d1</id>"));
    server_hears(f, "<message to='" JULIET "'><x xmlns='jabber:x:event'><displayed/>");
    own(f, RECEIVED("d1")); /* ours was no such one */
    server_hears(f, "<message to='" JULIET "'><received");
    assert_int_equal(sum(f, METRIC_receipts_swallowed_late), 1);
}

/* What the client has told of is not mailed. */
static void test_own_confirms_the_message(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", EVENT("<delivered/><offline/>"));
    own(f, DELIVERED("d1"));
    heard_clear(&f->conn->heard);
    client_cut(&f->c);
    world_wait(&f->w, 700 * USEC_S);
    assert_int_equal(sum(f, METRIC_session_end_expired), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 0);
    assert_int_equal(sum(f, METRIC_message_events_offline_proxy), 0);
}

static void test_off(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.events = false;
    ask(f, "d1", REQUEST EVENT("<delivered/>"));
    ack_all(f);
    wait_grace(f);
    expect(f, RECEIVED("d1"));
    client_cut(&f->c);
    ask(f, "d2", EVENT("<offline/>"));
    wait_nothing(f);
}

static void test_strangers_and_rooms_get_none(void **state)
{
    struct fixture *f = *state;
    ask_from(f, "mallory@example.org/x", "d1", EVENT("<offline/><delivered/>"));
    ack_all(f);
    client_cut(&f->c);
    ask_from(f, "mallory@example.org/x", "d2", EVENT("<offline/><delivered/>"));
    server_printf(f->conn, "<message from='juliet@example.org/r' type='groupchat' id='d3'><body>x</body>"
                           "<x xmlns='jabber:x:event'><offline/><delivered/></x></message>");
    wait_nothing(f);
}

static void test_errors_are_swallowed(void **state)
{
    struct fixture *f = *state;
    ask(f, "d1", EVENT("<delivered/>"));
    ack_all(f);
    wait_grace(f);
    char *event = heard_take(&f->conn->heard, "the server", "<message "), id[40];
    assert_int_equal(sscanf(event, "<message to='juliet@example.org/x' type='chat' id='%38[^']'", id), 1);
    free(event);
    server_printf(f->conn, "<message from='" JULIET "' id='%s' type='error'><error type='cancel'/></message>", id);
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_receipts_swallowed_error), 1);
}

/* ---- offline ---- */

static void test_offline_then_delivered(void **state)
{
    struct fixture *f = *state;
    uint32_t h = f->c.h;
    client_cut(&f->c);
    ask(f, "d1", EVENT("<offline/><delivered/>"));
    world_wait(&f->w, GRACE - USEC_MS);
    server_hears_nothing(f);
    world_wait(&f->w, USEC_MS);
    expect(f, OFFLINE("d1"));
    wait_nothing(f);
    client_resume(&f->c, 0, "romeo", h);
    client_hears(&f->c, "<resumed");
    client_hears(&f->c, "<message from='" JULIET "' type='chat' id='d1'><body>x</body><x xmlns='jabber:x:event'>"
                        "          <delivered/></x>"); /* the question is taken out of it */
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    ack_all(f);
    wait_grace(f);
    expect(f, DELIVERED("d1"));
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_message_events_offline_proxy), 1);
}

/* Away for a moment: it did not wait. */
static void test_not_for_a_moment(void **state)
{
    struct fixture *f = *state;
    uint32_t h = f->c.h;
    client_cut(&f->c);
    ask(f, "d1", EVENT("<offline/>"));
    world_wait(&f->w, GRACE / 2);
    client_resume(&f->c, 0, "romeo", h);
    client_hears(&f->c, "<resumed");
    client_hears(&f->c, "<message from='" JULIET "' type='chat' id='d1'>");
    heard_clear(&f->conn->heard);
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_unacked), 0);
}

static void look_at_the_last_words(void *ctx, struct server_conn *conn)
{
    struct fixture *f = ctx;
    expect(f, OFFLINE("d1"));
    heard_expect(&conn->heard, "the server", "END");
    f->conn = NULL;
}

/* Written to a client that never came back: known when it goes to the mailbox; of the other one it was told before. */
static void test_offline_at_the_mailbox(void **state)
{
    struct fixture *f = *state;
    f->server.gone = look_at_the_last_words;
    f->server.ctx = f;
    ask(f, "d1", EVENT("<offline/><delivered/>"));
    client_cut(&f->c);
    ask(f, "d2", EVENT("<offline/>"));
    wait_grace(f);
    expect(f, OFFLINE("d2"));
    world_wait(&f->w, 700 * USEC_S);
    assert_null(f->conn);
    assert_int_equal(sum(f, METRIC_session_end_expired), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 2);
    assert_int_equal(sum(f, METRIC_message_events_offline_proxy), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVENTS(test_delivered_after_ack_and_grace),
        EVENTS(test_both_are_two),
        EVENTS(test_own_of_the_other_kind),
        EVENTS(test_own_delivered_comes_first),
        EVENTS(test_late_own_is_swallowed),
        EVENTS(test_own_confirms_the_message),
        EVENTS(test_off),
        EVENTS(test_strangers_and_rooms_get_none),
        EVENTS(test_errors_are_swallowed),
        EVENTS(test_offline_then_delivered),
        EVENTS(test_not_for_a_moment),
        EVENTS(test_offline_at_the_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
