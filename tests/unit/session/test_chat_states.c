/* Chat states that are told for a client that has vanished: to whom, when, and that nothing is told twice. */
#include "fixture.h"

#define JULIET     "juliet@example.org/x"
#define STATE(s)   "<" s " xmlns='http://jabber.org/protocol/chatstates'/>"
#define AFTER      (30 * USEC_S)
#define CHAT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int64_t told(struct fixture *f, enum metric m)
{
    return world_sum(&f->w, m);
}

/* The client tells a state; the server has it. */
static void tell(struct fixture *f, const char *to, const char *type, const char *children)
{
    client_printf(&f->c, "<message to='%s'%s>%s</message>", to, type, children);
    world_wait(&f->w, 2 * USEC_S); /* with the barrier */
    heard_clear(&f->conn->heard);
}

static void composing(struct fixture *f, const char *to)
{
    tell(f, to, " type='chat'", STATE("composing"));
}

static void expect(struct fixture *f, const char *to, const char *type, const char *children)
{
    char *got = heard_take(&f->conn->heard, "the server", "<message ");
    char *start = mem_printf("<message to='%s'%s id='hft-", to, type), *end = mem_printf("'>%s</message>", children);
    if (strncmp(got, start, strlen(start)) != 0 || !strstr(got, end))
        fail_msg("%s\n is not %s…%s", got, start, end);
    free(got);
    free(start);
    free(end);
}

static void cut(struct fixture *f)
{
    client_cut(&f->c);
    world_run(&f->w);
}

static void wait_nothing(struct fixture *f, usec time)
{
    world_wait(&f->w, time);
    server_hears_nothing(f);
}

static void test_paused_after_a_while(void **state)
{
    struct fixture *f = *state;
    composing(f, JULIET);
    tell(f, "nurse@example.org", "", "<thread>&lt;1</thread>" STATE("composing"));
    tell(f, "tybalt@example.org/x", " type='chat'", STATE("inactive"));
    cut(f);
    wait_nothing(f, AFTER - USEC_MS);
    world_wait(&f->w, USEC_MS);
    expect(f, JULIET, " type='chat'", STATE("paused"));
    expect(f, "nurse@example.org", "", "<thread>&lt;1</thread>" STATE("paused"));
    wait_nothing(f, 500 * USEC_S); /* once */
    assert_int_equal(told(f, METRIC_chat_states_paused), 2);
    assert_int_equal(f->s->unconfirmed.count, 0); /* the client's counters know nothing of it */
}

static void test_not_of_one_that_has_stopped(void **state)
{
    struct fixture *f = *state;
    composing(f, JULIET);
    tell(f, JULIET, " type='chat'", STATE("paused"));
    composing(f, "nurse@example.org/x");
    tell(f, "nurse@example.org/y", " type='chat'", "<body>x</body>" STATE("active"));
    composing(f, "tybalt@example.org/x");
    tell(f, "tybalt@example.org/x", " type='chat'", "<body>x</body>");
    composing(f, "paris@example.org/x");
    tell(f, "paris@example.org/x", " type='chat'", STATE("gone"));
    cut(f);
    wait_nothing(f, 100 * USEC_S);
}

static void test_not_when_it_is_back(void **state)
{
    struct fixture *f = *state;
    composing(f, JULIET);
    cut(f);
    world_wait(&f->w, AFTER / 2);
    client_resume(&f->c, 0, "romeo", f->c.h);
    world_wait(&f->w, AFTER);
    cut(f); /* the time begins anew */
    heard_clear(&f->conn->heard);
    wait_nothing(f, AFTER - USEC_MS);
    world_wait(&f->w, USEC_MS);
    expect(f, JULIET, " type='chat'", STATE("paused"));
    client_resume(&f->c, 0, "romeo", f->c.h);
    tell(f, JULIET, " type='chat'", STATE("active"));
    cut(f);
    wait_nothing(f, 100 * USEC_S);
}

static void look_at_the_last_words(void *ctx, struct server_conn *conn)
{
    struct fixture *f = ctx;
    expect(f, "nurse@example.org/x", " type='chat'", STATE("gone"));
    expect(f, JULIET, " type='chat'", STATE("gone"));
    heard_expect(&conn->heard, "the server", "END");
    f->conn = NULL;
}

static void test_gone_with_the_session(void **state)
{
    struct fixture *f = *state;
    f->server.gone = look_at_the_last_words;
    f->server.ctx = f;
    tell(f, "tybalt@example.org/x", " type='chat'", "<body>x</body>" STATE("active")); /* who may not know states */
    tell(f, "nurse@example.org/x", " type='chat'", STATE("inactive"));
    composing(f, JULIET);
    cut(f);
    world_wait(&f->w, AFTER);
    expect(f, JULIET, " type='chat'", STATE("paused"));
    world_wait(&f->w, 700 * USEC_S);
    assert_null(f->conn);
    assert_int_equal(told(f, METRIC_session_end_expired), 1);
    assert_int_equal(told(f, METRIC_chat_states_gone), 2);
}

static void look_for_the_end(void *ctx, struct server_conn *conn)
{
    struct fixture *f = ctx;
    heard_expect(&conn->heard, "the server", "END");
    f->conn = NULL;
}

static void test_not_at_a_clean_end(void **state)
{
    struct fixture *f = *state;
    f->server.gone = look_for_the_end;
    f->server.ctx = f;
    composing(f, JULIET);
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_null(f->conn);
    assert_int_equal(told(f, METRIC_chat_states_gone) + told(f, METRIC_chat_states_paused), 0);
}

static void test_not_to_rooms_and_the_account(void **state)
{
    struct fixture *f = *state;
    client_send(&f->c, "<presence to='room@muc.example.org/r'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    tell(f, "room@muc.example.org", " type='groupchat'", STATE("composing"));
    tell(f, "room@muc.example.org/tybalt", " type='chat'", STATE("composing"));
    tell(f, "romeo@example.org/y", " type='chat'", STATE("composing"));
    tell(f, JULIET, " type='headline'", STATE("composing"));
    cut(f);
    heard_clear(&f->conn->heard);
    wait_nothing(f, 100 * USEC_S);
}

static void test_off(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.paused_after = 0;
    composing(f, JULIET);
    cut(f);
    wait_nothing(f, 100 * USEC_S);
}

/* Those that were spoken in last. */
static void test_bounded(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 18; i++) {
        char to[32];
        snprintf(to, sizeof to, "j%u@example.org/x", i);
        composing(f, to);
    }
    composing(f, "j2@example.org/x");
    cut(f);
    world_wait(&f->w, AFTER);
    assert_int_equal(told(f, METRIC_chat_states_paused), 16);
    expect(f, "j3@example.org/x", " type='chat'", STATE("paused"));
    heard_clear(&f->conn->heard);
}

static void test_errors_are_swallowed(void **state)
{
    struct fixture *f = *state;
    composing(f, JULIET);
    cut(f);
    world_wait(&f->w, AFTER);
    char *got = heard_take(&f->conn->heard, "the server", "<message "), id[40];
    assert_int_equal(sscanf(got, "<message to='juliet@example.org/x' type='chat' id='%38[^']'", id), 1);
    free(got);
    uint64_t before = f->s->out.queue.last_number;
#define ERROR "<message from='%s' id='%s' type='error'><error type='cancel'/></message>"
    server_printf(f->conn, ERROR, JULIET, id);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.last_number, before);
    server_printf(f->conn, ERROR, "mallory@example.org", id);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.last_number, before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHAT(test_paused_after_a_while),
        CHAT(test_not_of_one_that_has_stopped),
        CHAT(test_not_when_it_is_back),
        CHAT(test_gone_with_the_session),
        CHAT(test_not_at_a_clean_end),
        CHAT(test_not_to_rooms_and_the_account),
        CHAT(test_off),
        CHAT(test_bounded),
        CHAT(test_errors_are_swallowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
