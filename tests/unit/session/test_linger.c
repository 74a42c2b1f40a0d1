/* sm.confirm_linger: what a server has confirmed, it may lose if it dies soon; and the outbox, where that goes. */
#include "fixture.h"

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

/* It comes back as another session, which says from the outbox what was lost. */
static void enter_and_say(struct fixture *f)
{
    client_login(&f->c, 0, "romeo");
    f->conn = server_newest(&f->server);
    client_send(&f->c, CLIENT_BIND CLIENT_PRESENCE);
    world_run(&f->w);
    char *first = heard_take(&f->conn->heard, "the server", "<message to='juliet@example.org' type='chat' id='u1'>");
    assert_non_null(strstr(first, "<delay xmlns='urn:xmpp:delay'"));
    free(first);
    server_hears(f, "<presence/>");
    assert_int_equal(in_outbox(f), 0); /* a barrier was behind it */
}

static void test_outlives_its_session(void **state)
{
    struct fixture *f = *state;
    client_enter(&f->other, 1, "juliet");
    say_confirmed(f);
    leave(f);
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(in_outbox(f), 0);
    assert_true(f->w.memory > 0);
    server_die(&f->server);
    world_wait(&f->w, USEC_S);
    assert_int_equal(in_outbox(f), 1);
    enter_and_say(f);
}

static void test_not_for_ever(void **state)
{
    struct fixture *f = *state;
    client_enter(&f->other, 1, "juliet");
    say_confirmed(f);
    leave(f);
    world_wait(&f->w, 7 * USEC_S);
    assert_true(list_is_empty(&f->w.worker[0].leftovers));
    server_die(&f->server);
    world_wait(&f->w, USEC_S);
    assert_int_equal(in_outbox(f), 0);
}

/* The server dies before it has answered the session's own end, and nobody else is there to notice. */
static void test_dies_at_the_end(void **state)
{
    struct fixture *f = *state;
    say_confirmed(f);
    f->conn->wire->stuck = true;
    leave(f);
    server_die(&f->server);
    world_wait(&f->w, USEC_S);
    assert_int_equal(in_outbox(f), 1);
    enter_and_say(f);
}

/* Who has come back before it is known that the server has died gets it said all the same. */
static void test_the_account_is_here(void **state)
{
    struct fixture *f = *state;
    client_enter(&f->other, 1, "juliet");
    say_confirmed(f);
    leave(f);
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
    client_enter(&f->other, 1, "juliet");
    say_confirmed(f);
    leave(f);
    for (int i = 0; i < 3; i++) {
        server_die(&f->server);
        world_wait(&f->w, USEC_S);
        if (f->c.wire)
            client_cut(&f->c);
        client_forget_heard(&f->c);
        world_wait(&f->w, USEC_S);
        enter_and_say(f);
    }
    world_wait(&f->w, 7 * USEC_S);
    server_die(&f->server);
    world_wait(&f->w, USEC_S);
    assert_int_equal(in_outbox(f), 0);
}

#define LINGER(name) cmocka_unit_test_setup_teardown(name, setup_linger, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINGER(test_outlives_its_session), LINGER(test_not_for_ever), LINGER(test_dies_at_the_end),
        LINGER(test_the_account_is_here),  LINGER(test_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
