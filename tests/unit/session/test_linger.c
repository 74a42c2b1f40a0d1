/* sm.confirm_linger: what a server has confirmed, it may lose if it dies soon; and the outbox, where that goes. */
#include "rebuild.h"

#define CONFIRMED(h) "<a xmlns='urn:xmpp:sm:3' h='" h "'/>"

static int setup_linger(void **state)
{
    setup(state);
    struct fixture *f = *state;
    f->w.settings.sm.confirm_linger = 6 * USEC_S;
    return 0;
}

static size_t in_outbox(struct fixture *f)
{
    return memory_store_figures(f->w.memory_store).outbox;
}

static void say_confirmed(struct fixture *f)
{
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, CONFIRMED("2"));
}

static void leave(struct fixture *f)
{
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_null(client_session(&f->c));
    client_forget_heard(&f->c);
}

/* Juliet's connection will be there to notice that the server dies. */
static void say_and_leave(struct fixture *f)
{
    client_enter(&f->other, 1, "juliet");
    say_confirmed(f);
    leave(f);
}

static void lose_server(struct fixture *f)
{
    server_die(&f->server);
    world_wait(&f->w, USEC_S);
}

/* It comes back as another session, which says from the outbox what was lost. */
static void enter_and_say(struct fixture *f, int worker)
{
    client_login(&f->c, worker, "romeo");
    f->conn = server_newest(&f->server);
    client_send(&f->c, CLIENT_BIND CLIENT_PRESENCE);
    world_run(&f->w);
    char *first = heard_take(&f->conn->heard, "the server", "<message to='juliet@example.org' type='chat' id='u1'>");
    assert_non_null(strstr(first, "<delay xmlns='urn:xmpp:delay'"));
    free(first);
    server_hears(f, "<presence/>");
    assert_int_equal(in_outbox(f), 0); /* a barrier was behind it */
}

/* ---- of sessions that have ended ---- */

static void test_outlives_its_session(void **state)
{
    struct fixture *f = *state;
    say_and_leave(f);
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(in_outbox(f), 0);
    assert_true(f->w.memory > 0);
    lose_server(f);
    assert_int_equal(in_outbox(f), 1);
    enter_and_say(f, 0);
}

static void test_not_for_ever(void **state)
{
    struct fixture *f = *state;
    say_and_leave(f);
    world_wait(&f->w, 7 * USEC_S);
    assert_true(list_is_empty(&f->w.worker[0].leftovers));
    lose_server(f);
    assert_int_equal(in_outbox(f), 0);
}

/* The server dies before it has answered the session's own end, and nobody else is there to notice. */
static void test_dies_at_the_end(void **state)
{
    struct fixture *f = *state;
    say_confirmed(f);
    f->conn->wire->stuck = true;
    leave(f);
    lose_server(f);
    assert_int_equal(in_outbox(f), 1);
    enter_and_say(f, 0);
}

/* Who has come back before it is known that the server has died gets it said all the same. */
static void test_the_account_is_here(void **state)
{
    struct fixture *f = *state;
    say_and_leave(f);
    server_die(&f->server);
    client_enter(&f->c, 1, "romeo");
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    world_wait(&f->w, USEC_S);
    server_hears(f, "<message to='juliet@example.org' type='chat' id='u1'>");
    assert_int_equal(in_outbox(f), 0);
}

/* What is said from the outbox may be lost again. */
static void test_twice(void **state)
{
    struct fixture *f = *state;
    say_and_leave(f);
    for (int i = 0; i < 3; i++) {
        lose_server(f);
        if (f->c.wire)
            client_cut(&f->c);
        client_forget_heard(&f->c);
        world_wait(&f->w, USEC_S);
        enter_and_say(f, 0);
    }
    world_wait(&f->w, 7 * USEC_S);
    lose_server(f);
    assert_int_equal(in_outbox(f), 0);
}

/* ---- of sessions that expire without a server ---- */

static void lose_what_was_confirmed(struct fixture *f)
{
    say_confirmed(f);
    client_cut(&f->c);
    server_die(&f->server);
    world_wait(&f->w, 601 * USEC_S);
    assert_null(client_session(&f->c));
    assert_int_equal(in_outbox(f), 1);
}

static void test_the_outbox_goes_first(void **state)
{
    struct fixture *f = *state;
    lose_what_was_confirmed(f);
    enter_and_say(f, 1);
    assert_int_equal(memory_store_figures(f->w.memory_store).box[BOX_OUT].done, 1);
}

static void test_the_outbox_waits_for_its_confirmation(void **state)
{
    struct fixture *f = *state;
    lose_what_was_confirmed(f);
    f->server.silent = true;
    client_login(&f->c, 1, "romeo");
    client_send(&f->c, CLIENT_BIND);
    world_run(&f->w);
    assert_int_equal(in_outbox(f), 1);
    server_die(&f->server);
    client_forget_heard(&f->c);
    f->server.silent = false;
    if (f->c.wire)
        client_cut(&f->c);
    client_login(&f->c, 0, "romeo");
    f->conn = server_newest(&f->server);
    client_send(&f->c, CLIENT_BIND);
    world_run(&f->w);
    heard_expect(&f->conn->heard, "the server", "<message to='juliet@example.org' type='chat' id='u1'>");
    assert_int_equal(in_outbox(f), 0);
}

/* ---- of sessions that are rebuilt ---- */

static void test_is_sent_again_on_a_rebuild(void **state)
{
    struct fixture *f = *state;
    say_confirmed(f);
    world_wait(&f->w, 7 * USEC_S); /* long enough */
    up(f, 2);
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, CONFIRMED("3"));
    lose_server(f);
    heard_clear(&f->c.heard);
    come_back(f, 3);
    server_hears(f, "<presence/>");
    server_hears(f, "<message to='juliet@example.org' type='chat' id='u2'>");
    server_hears_nothing(f);
}

#define LINGER(name) cmocka_unit_test_setup_teardown(name, setup_linger, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINGER(test_outlives_its_session),
        LINGER(test_not_for_ever),
        LINGER(test_dies_at_the_end),
        LINGER(test_the_account_is_here),
        LINGER(test_twice),
        LINGER(test_the_outbox_goes_first),
        LINGER(test_the_outbox_waits_for_its_confirmation),
        LINGER(test_is_sent_again_on_a_rebuild),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
