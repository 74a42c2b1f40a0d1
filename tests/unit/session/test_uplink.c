/* Client to server: barriers, answers, back-pressure, the order probe, mail ahead of the first presence. */
#include "fixture.h"

#define A(h) "<a xmlns='urn:xmpp:sm:3' h='" h "'/>"

/* ---- answers ---- */

static void test_ack_waits_for_the_barrier(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    client_hears_nothing(&f->c);
    expect_up(f, 1);
    assert_int_equal(world_sum(&f->w, METRIC_unconfirmed_stanzas), 1);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("2")); /* the presence was the first */
    client_hears_nothing(&f->c);
    assert_int_equal(world_sum(&f->w, METRIC_unconfirmed_stanzas), 0);
}

static void test_late_answer_then_the_rest(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    world_wait(&f->w, 999 * USEC_MS);
    heard_nothing(&f->c.heard, "the client");
    world_wait(&f->w, 2 * USEC_MS);
    client_expect(&f->c, A("1")); /* what is safe by then */
    server_answer_pings(&f->server);
    client_hears(&f->c, A("2")); /* unasked */
    client_hears_nothing(&f->c);
}

static void test_flood_of_requests(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    for (int i = 0; i < 200; i++)
        client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("2"));
    client_hears_nothing(&f->c);
    assert_int_equal(world_sum(&f->w, METRIC_ack_requests_received), 201);
}

static void test_one_barrier_at_a_time(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    unsigned before = f->conn->pings;
    for (unsigned i = 1; i <= 200; i++) {
        up(f, i);
        client_send(&f->c, CLIENT_R);
        world_run(&f->w);
    }
    assert_int_equal(f->conn->pings, before + 1);
    f->server.hold_pings = false;
    server_answer_pings(&f->server);
    world_run(&f->w);
    assert_int_equal(f->conn->pings, before + 2);
    assert_true(f->s->in.safe == 201);
}

static void test_barrier_by_count_and_by_time(void **state)
{
    struct fixture *f = *state;
    unsigned before = f->conn->pings;
    for (unsigned i = 1; i < 50; i++)
        up(f, i);
    world_run(&f->w);
    assert_int_equal(f->conn->pings, before); /* nobody waits for it */
    up(f, 50);
    world_run(&f->w);
    assert_int_equal(f->conn->pings, before + 1);
    up(f, 51);
    world_wait(&f->w, 990 * USEC_MS);
    assert_int_equal(f->conn->pings, before + 1);
    world_wait(&f->w, 20 * USEC_MS);
    assert_int_equal(f->conn->pings, before + 2);
    assert_true(f->s->in.safe == 52);
    client_hears_nothing(&f->c); /* nobody had asked */
}

/* Only the answer of the domain to this very ping counts. */
static void test_forged_answers(void **state)
{
    struct fixture *f = *state;
    f->server.silent = true;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    char id[48];
    snprintf(id, sizeof id, "hfb-%s-%" PRIu32, f->s->tag, f->s->barriers);
    server_printf(f->conn, "<iq type='result' id='%s' from='juliet@example.org/x'/>", id);
    server_printf(f->conn, "<iq type='result' id='%s0' from='example.org'/>", id);
    server_printf(f->conn, "<iq type='get' id='%s' from='example.org'/>", id);
    client_hears(&f->c, "<iq type='result'"); /* passed on: it is the client's own business */
    client_expect(&f->c, "<iq type='result'");
    client_expect(&f->c, "<iq type='get'");
    client_hears_nothing(&f->c);
    server_printf(f->conn, "<iq type='error' id='%s' from='Example.Org'/>", id); /* an error is as good */
    client_hears(&f->c, A("2"));
}

/* ---- barrier timeouts ---- */

static void test_silent_server(void **state)
{
    struct fixture *f = *state;
    f->server.silent = true;
    up(f, 1);
    world_wait(&f->w, 30 * USEC_S);
    assert_false(f->c.closed);
    world_wait(&f->w, 2 * USEC_S);
    assert_true(f->c.closed && !f->c.ended); /* cut: it is to come back */
    assert_int_equal(world_sum(&f->w, METRIC_close_upstream_confirm_timeout), 1);
    assert_int_equal(world_sum(&f->w, METRIC_barriers_timeout), 1);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    assert_int_equal(f->s->unconfirmed.count, 1); /* kept: the next server gets it */
}

static void keep_client_alive(struct fixture *f, usec span)
{
    for (usec done = 0; done < span; done += 5 * USEC_S) {
        world_wait(&f->w, 5 * USEC_S);
        client_send(&f->c, " ");
    }
}

/* While we do not listen to the server its silence says nothing, however long that was. */
static void test_silence_while_not_listening(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    assert_non_null(f->s->barrier);
    leg_stop(&f->s->up->leg, STOP_SLOW);
    session_dirty(f->s);
    keep_client_alive(f, 55 * USEC_S);
    leg_go(&f->s->up->leg, STOP_SLOW);
    world_wait(&f->w, 29 * USEC_S);
    assert_false(f->c.closed);
    server_answer_pings(&f->server);
    world_run(&f->w);
    assert_true(f->s->in.safe == 2);
}

/* The time runs from when the ping has left our buffer. */
static void test_silence_before_the_ping_has_left(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    f->conn->wire->stuck = true;
    f->conn->wire->window = 10;
    up(f, 1);
    keep_client_alive(f, 58 * USEC_S);
    f->conn->wire->stuck = false;
    f->conn->wire->window = 0;
    world_wait(&f->w, 29 * USEC_S);
    assert_false(f->c.closed);
    world_wait(&f->w, 3 * USEC_S);
    assert_true(f->c.closed);
}

/* ---- sm.confirm = none ---- */

static void test_confirm_none(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.confirm = CONFIRM_NONE;
    unsigned before = f->conn->pings;
    f->conn->wire->stuck = true;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    client_hears_nothing(&f->c);
    f->conn->wire->stuck = false;
    world_wait(&f->w, 50 * USEC_MS);
    client_expect(&f->c, A("2"));
    assert_int_equal(f->conn->pings, before);
}

/* What was held back ends the session while it is let go: by a stream error, here. */
static void test_held_bytes_end_the_session(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.confirm = CONFIRM_NONE;
    f->w.settings.sm.queue_stanzas = 2;
    f->conn->wire->stuck = true;
    up(f, 1);
    up(f, 2);
    client_send(&f->c, "<message></nonsense>");
    world_run(&f->w);
    assert_true(f->s->client->leg.stopped & STOP_QUEUE);
    f->conn->wire->stuck = false;
    world_wait(&f->w, USEC_S);
    assert_int_equal(world_sum(&f->w, METRIC_session_end_bad_stream), 1);
    assert_true(f->c.closed);
}

/* ---- back-pressure ---- */

static void test_full_queue_stops_the_client(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    f->server.hold_pings = true;
    for (unsigned i = 1; i <= 30; i++)
        up(f, i);
    world_run(&f->w);
    assert_int_equal(f->s->unconfirmed.count, 10);
    assert_int_equal(world_sum(&f->w, METRIC_backpressure_client), 1);
    f->server.hold_pings = false;
    server_answer_pings(&f->server);
    world_run(&f->w);
    for (unsigned i = 1; i <= 30; i++)
        expect_up(f, i);
    assert_true(f->s->in.safe == 31);
    assert_false(f->s->client->leg.stopped);
}

/* While the server is stopped for want of the client's acks, those are read, though they come behind stanzas. */
static void test_acks_are_read_though_full(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    for (unsigned i = 1; i <= 30; i++)
        down(f, i);
    world_run(&f->w);
    assert_true(f->s->up->leg.stopped & STOP_QUEUE);
    for (unsigned i = 1; i <= 15; i++)
        up(f, i);
    ack(&f->c, 10);
    world_run(&f->w);
    assert_true(f->s->out.acked == 10);
    for (int i = 0; i < 3; i++) {
        world_run(&f->w);
        ack(&f->c, f->c.h);
    }
    world_run(&f->w);
    assert_true(f->s->out.acked == 30);
    world_wait(&f->w, 2 * USEC_S);
    assert_true(f->s->in.safe == 16);
}

/* The same when the client was stopped before the server was. */
static void test_client_stopped_first(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    f->conn->wire->delayed = true;
    for (unsigned i = 1; i <= 15; i++)
        up(f, i);
    world_run(&f->w);
    assert_true(f->s->client->leg.stopped & STOP_QUEUE);
    assert_non_null(f->s->barrier);
    buf_clear(&f->conn->wire->in); /* the pong would come first; so many messages come instead */
    for (unsigned i = 1; i <= 30; i++)
        down(f, i);
    f->conn->wire->delayed = false;
    world_run(&f->w);
    assert_true(f->s->up->leg.stopped & STOP_QUEUE);
    ack(&f->c, 20);
    world_run(&f->w);
    assert_true(f->s->out.acked == 20);
}

/* Up to twice the bytes, no further: then the client must come back and begin with its h. */
static void test_hard_limit(void **state)
{
    struct fixture *f = *state;
    char body[1001] = {0};
    memset(body, 'x', sizeof body - 1);
    f->w.settings.sm.queue_stanzas = 10;
    f->w.settings.sm.queue_bytes = 20000;
    for (unsigned i = 1; i <= 30; i++)
        down(f, i);
    world_run(&f->w);
    assert_true(f->s->up->leg.stopped & STOP_QUEUE);
    for (unsigned i = 1; i <= 60; i++)
        client_printf(&f->c, "<message to='juliet@example.org' type='chat' id='u%u'><body>%s</body></message>", i,
                      body);
    ack(&f->c, 10);
    world_run(&f->w);
    assert_true(f->s->unconfirmed.bytes >= 40000 && f->s->unconfirmed.bytes < 42000);
    assert_true(f->c.closed && !f->c.ended);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    uint32_t taken = (uint32_t)f->s->in.received;
    heard_clear(&f->c.heard);
    client_resume(&f->c, 0, "romeo", 10);
    char resumed[160];
    snprintf(resumed, sizeof resumed, "<resumed xmlns='urn:xmpp:sm:3' previd='%s' h='%u'/>", f->c.previd,
             (unsigned)taken);
    client_expect(&f->c, resumed);
    assert_true(f->s->in.safe == taken);
}

static void stall_server(struct fixture *f)
{
    f->conn->wire->stuck = true;
    f->conn->wire->window = 1000;
}

/* The client was held for that long, and no longer. */
static void expect_held_until_it_reads(struct fixture *f)
{
    world_run(&f->w);
    assert_true(f->s->client->leg.stopped & STOP_SLOW);
    assert_true(f->conn->wire->out.n > TRANSPORT_HIGH_WATER / 2 && f->conn->wire->out.n < 2 * TRANSPORT_HIGH_WATER);
    f->conn->wire->stuck = false;
    f->conn->wire->window = 0;
    world_run(&f->w);
    assert_int_equal(f->s->client->leg.stopped, 0);
}

/* What is no stanza waits for it, too. */
static void test_slow_server_and_nonzas(void **state)
{
    struct fixture *f = *state;
    stall_server(f);
    for (unsigned i = 1; i <= 20000; i++)
        client_send(&f->c, "<x xmlns='urn:example:x'/>");
    expect_held_until_it_reads(f);
}

static void test_slow_server(void **state)
{
    struct fixture *f = *state;
    stall_server(f);
    for (unsigned i = 1; i <= 2000; i++)
        up(f, i);
    expect_held_until_it_reads(f);
    for (unsigned i = 1; i <= 2000; i++)
        expect_up(f, i);
}

/* A full node lets every session go on a stanza at a time. */
static void test_full_node(void **state)
{
    struct fixture *f = *state;
    f->w.settings.limits.memory = 1000;
    f->w.memory += 2000;
    for (unsigned i = 1; i <= 20; i++)
        up(f, i);
    world_run(&f->w);
    assert_true(f->s->in.safe == 21);
    f->server.hold_pings = true;
    for (unsigned i = 21; i <= 40; i++)
        up(f, i);
    world_run(&f->w);
    assert_int_equal(f->s->unconfirmed.count, 1);
    f->w.memory -= 2000;
    f->server.hold_pings = false;
    server_answer_pings(&f->server);
    world_wait(&f->w, 2 * USEC_S);
    assert_true(f->s->in.safe == 41);
}

/* ---- the order probe ---- */

static int setup_untried(void **state)
{
    setup_world(state);
    struct fixture *f = *state;
    f->w.upstream.order = ORDER_UNTRIED;
    return 0;
}

static void enter(struct fixture *f)
{
    client_enter(&f->c, 0, "romeo");
    f->s = client_session(&f->c);
    f->conn = server_newest(&f->server);
}

static void test_order_good(void **state)
{
    struct fixture *f = *state;
    enter(f);
    assert_int_equal(f->w.upstream.order, ORDER_GOOD);
    client_hears_nothing(&f->c); /* the headline was ours */
}

static void test_order_bad(void **state)
{
    struct fixture *f = *state;
    f->server.order = SERVER_OVERTAKES;
    enter(f);
    assert_int_equal(f->w.upstream.order, ORDER_TRYING);
    server_hears(f, "<presence/>");
    char *headline = heard_take(&f->conn->heard, "the server", "LATER <message type='headline'");
    server_send(f->conn, headline + 6);
    free(headline);
    client_hears_nothing(&f->c);
    assert_int_equal(f->w.upstream.order, ORDER_BAD);
    unsigned before = f->conn->pings;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    world_wait(&f->w, 100 * USEC_MS);
    client_expect(&f->c, A("2"));
    assert_int_equal(f->conn->pings, before); /* as with sm.confirm = none */
}

static void test_order_inconclusive(void **state)
{
    struct fixture *f = *state;
    f->server.order = SERVER_SWALLOWS;
    enter(f);
    assert_int_equal(f->w.upstream.order, ORDER_TRYING);
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    assert_int_equal(f->w.upstream.order, ORDER_UNTRIED); /* another session may try */
}

/* Who was trying is gone: another one tries. */
static void test_order_abandoned(void **state)
{
    struct fixture *f = *state;
    f->server.silent = true;
    f->server.order = SERVER_SWALLOWS;
    enter(f);
    assert_int_equal(f->w.upstream.order, ORDER_TRYING);
    server_cut(f->conn);
    world_run(&f->w);
    assert_int_equal(f->w.upstream.order, ORDER_UNTRIED);
    f->server.silent = false;
    f->server.order = SERVER_IN_ORDER;
    client_cut(&f->c);
    client_forget_heard(&f->c);
    enter(f);
    assert_int_equal(f->w.upstream.order, ORDER_GOOD);
}

/* ---- mail ahead of the first presence ---- */

struct late_store {
    struct store store;
    struct store *real;
    store_mail_fn *done;
    void *ctx;
    char *account;
    char sid[SID_SIZE];
};

static void late_put(struct store *s, enum store_box box, struct slice account, struct entry *e)
{
    struct store *real = ((struct late_store *)s)->real;
    real->ops->box_put(real, box, account, e);
}

static void late_take(struct store *s, enum store_box box, struct slice account, const char *sid, store_mail_fn *done,
                      void *ctx)
{
    struct late_store *late = (struct late_store *)s;
    if (box != BOX_MAIL) {
        late->real->ops->box_take(late->real, box, account, sid, done, ctx);
        return;
    }
    assert_null(late->done);
    late->done = done;
    late->ctx = ctx;
    late->account = mem_dup(account);
    memcpy(late->sid, sid, SID_SIZE);
}

static void late_done(struct store *s, enum store_box box, struct slice account, struct slice origin)
{
    struct store *real = ((struct late_store *)s)->real;
    real->ops->box_done(real, box, account, origin);
}

static void late_tombstone_put(struct store *s, const char *sid, const struct tombstone *t)
{
    struct store *real = ((struct late_store *)s)->real;
    real->ops->tombstone_put(real, sid, t);
}

static void late_tombstone_get(struct store *s, const char *sid, const char *account, const char *proof,
                               store_tombstone_fn *done, void *ctx)
{
    struct store *real = ((struct late_store *)s)->real;
    real->ops->tombstone_get(real, sid, account, proof, done, ctx);
}

static const struct store_ops late_ops = {.box_put = late_put,
                                          .box_take = late_take,
                                          .box_done = late_done,
                                          .tombstone_put = late_tombstone_put,
                                          .tombstone_get = late_tombstone_get};

static void late_answer(struct late_store *late)
{
    store_mail_fn *done = late->done;
    late->done = NULL;
    late->real->ops->box_take(late->real, BOX_MAIL, slice_str(late->account), late->sid, done, late->ctx);
    free(late->account);
    late->account = NULL;
}

static void begin_late(struct fixture *f, struct late_store *late)
{
    *late = (struct late_store){.store.ops = &late_ops, .real = f->w.worker[0].store};
    f->w.worker[0].store = &late->store;
    struct entry *e = entry_copy(SLICE_LIT("<message from='old@example.org'><body>x</body></message>"), WORLD_WALL);
    e->class = CLASS_KEEP;
    e->name_end = 8;
    e->open_end = 31;
    e->close_at = e->n - 10;
    e->origin = mem_strdup("earlier/1");
    late->real->ops->box_put(late->real, BOX_MAIL, SLICE_LIT("romeo@example.org"), e);
    count(f->w.counters[0], METRIC_stanzas_down_message); /* as if it had come to an earlier session */
    count(f->w.counters[0], METRIC_down_mailbox);
    client_login(&f->c, 0, "romeo");
    f->conn = server_newest(&f->server);
    client_send(&f->c, CLIENT_BIND);
    client_forget_heard(&f->c);
}

static void test_presence_waits_for_mail(void **state)
{
    struct fixture *f = *state;
    struct late_store late;
    begin_late(f, &late);
    client_send(&f->c, CLIENT_ENABLE);
    client_forget_heard(&f->c);
    client_send(&f->c, CLIENT_PRESENCE CLIENT_R "<message to='juliet@example.org' type='chat' id='u1'/>");
    world_wait(&f->w, 5 * USEC_S);
    server_hears_nothing(f);
    heard_nothing(&f->c.heard, "the client");
    assert_int_equal(f->conn->pings, 0); /* a barrier would prove nothing of what was not sent */
    late_answer(&late);
    server_hears(f, "<presence/>");
    server_hears(f, "<message to='juliet@example.org'");
    server_send(f->conn, "<message from='new@example.org'/>");
    char *mail;
    for (;;) { /* acks may come anywhere */
        world_run(&f->w);
        mail = heard_take(&f->c.heard, "the client", "<");
        if (strncmp(mail, "<message", 8) == 0)
            break;
        free(mail);
    }
    assert_string_equal(mail, "<message from='old@example.org'><body>x</body><delay xmlns='urn:xmpp:delay' "
                              "from='example.org' stamp='2023-11-14T22:13:20.000Z'/></message>");
    free(mail);
    client_send(&f->c, "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    world_run(&f->w);
    assert_int_equal(memory_store_figures(f->w.memory_store).messages, 0);
    assert_int_equal(memory_store_figures(f->w.memory_store).box[BOX_MAIL].done, 1);
    f->w.worker[0].store = late.real;
}

/* The session is gone when the store answers: the mail goes back. */
static void test_mail_comes_too_late(void **state)
{
    struct fixture *f = *state;
    struct late_store late;
    begin_late(f, &late);
    client_send(&f->c, CLIENT_PRESENCE);
    world_run(&f->w);
    client_cut(&f->c);
    world_run(&f->w);
    assert_int_equal(world_sum(&f->w, METRIC_session_end_client_gone), 1);
    late_answer(&late);
    world_run(&f->w);
    heard_clear(&f->c.heard);
    assert_int_equal(memory_store_figures(f->w.memory_store).messages, 1);
    f->w.worker[0].store = late.real;
    client_enter(&f->c, 0, "romeo");
    assert_int_equal(f->c.h, 1);
}

/* Without stream management it counts as delivered when the leg has lived on for a while. */
static void test_mail_without_stream_management(void **state)
{
    struct fixture *f = *state;
    struct late_store late;
    for (int round = 0; round < 2; round++) {
        if (round == 0) {
            begin_late(f, &late);
            f->w.worker[0].store = late.real;
        } else {
            client_login(&f->c, 0, "romeo");
            client_send(&f->c, CLIENT_BIND);
            client_forget_heard(&f->c);
        }
        client_send(&f->c, CLIENT_PRESENCE);
        client_hears(&f->c, "<message from='old@example.org'><body>x</body><delay ");
        world_wait(&f->w, (round ? 6 : 4) * USEC_S);
        client_cut(&f->c);
        world_run(&f->w);
        assert_int_equal(memory_store_figures(f->w.memory_store).messages, !round);
    }
}

/* ---- the wire's counter wraps ---- */

static void test_wrap(void **state)
{
    struct fixture *f = *state;
    preset(f, (UINT64_C(1) << 32) - 3, 0);
    static const char *const wanted[] = {A("4294967294"), A("4294967295"), A("0"), A("1")};
    for (unsigned i = 0; i < 4; i++) {
        up(f, i);
        client_send(&f->c, CLIENT_R);
        client_hears(&f->c, wanted[i]);
    }
    up(f, 4);
    world_run(&f->w);
    client_cut(&f->c);
    world_run(&f->w);
    heard_clear(&f->c.heard);
    client_resume(&f->c, 0, "romeo", 0);
    char *resumed = heard_take(&f->c.heard, "the client", "<resumed ");
    assert_non_null(strstr(resumed, "h='2'/>"));
    free(resumed);
}

int main(void)
{
#define UNTRIED(name) cmocka_unit_test_setup_teardown(name, setup_untried, teardown)
#define EMPTY(name)   cmocka_unit_test_setup_teardown(name, setup_world, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ack_waits_for_the_barrier),
        TEST(test_late_answer_then_the_rest),
        TEST(test_flood_of_requests),
        TEST(test_one_barrier_at_a_time),
        TEST(test_barrier_by_count_and_by_time),
        TEST(test_forged_answers),
        TEST(test_silent_server),
        TEST(test_silence_while_not_listening),
        TEST(test_silence_before_the_ping_has_left),
        TEST(test_confirm_none),
        TEST(test_held_bytes_end_the_session),
        TEST(test_full_queue_stops_the_client),
        TEST(test_acks_are_read_though_full),
        TEST(test_client_stopped_first),
        TEST(test_hard_limit),
        TEST(test_slow_server),
        TEST(test_slow_server_and_nonzas),
        TEST(test_full_node),
        UNTRIED(test_order_good),
        UNTRIED(test_order_bad),
        UNTRIED(test_order_inconclusive),
        UNTRIED(test_order_abandoned),
        EMPTY(test_presence_waits_for_mail),
        EMPTY(test_mail_comes_too_late),
        EMPTY(test_mail_without_stream_management),
        TEST(test_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
