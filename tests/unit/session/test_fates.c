/* Where is a message: the ring, and what sessions note in it. */
#include "fixture.h"

/* ---- the ring ---- */

static void collect(void *ctx, const struct fate_note *note)
{
    uint64_t **end = ctx;
    *(*end)++ = note->number;
}

static size_t numbers_of(const struct fates *f, uint64_t id, uint64_t *numbers)
{
    uint64_t *end = numbers;
    fates_each(f, id, collect, &end);
    return (size_t)(end - numbers);
}

static void test_the_oldest_is_forgotten(void **state)
{
    (void)state;
    struct hash_key key = hash_key_new();
    struct fates *f = fates_new(&key, 3);
    uint64_t a = fates_hash(&key, SLICE_LIT("a")), b = fates_hash(&key, SLICE_LIT("b")), numbers[3];
    assert_true(a && b && a != b);
    assert_int_equal(fates_each(f, a, NULL, NULL), 0);
    for (uint64_t i = 1; i <= 3; i++)
        fates_add(f, &(struct fate_note){.at = (usec)i * 10, .id = i == 2 ? b : a, .number = i});
    uint64_t *end = numbers;
    assert_int_equal(fates_each(f, a, collect, &end), 0); /* nothing was forgotten */
    assert_int_equal(end - numbers, 2);
    fates_add(f, &(struct fate_note){.at = 40, .id = a, .number = 4});
    end = numbers;
    assert_int_equal(fates_each(f, a, collect, &end), 20);
    assert_int_equal(end - numbers, 2);
    assert_true(numbers[0] == 3 && numbers[1] == 4);
    assert_int_equal(numbers_of(f, b, numbers), 1);
    assert_int_equal(fates_size(f), 3);
    assert_int_equal(fates_size(NULL), 0);
    fates_free(f);
}

/* ---- what sessions note ---- */

static void add_word(void *ctx, const struct fate_note *note)
{
    struct buf *out = ctx;
    buf_printf(out, "%s%s", out->n ? " " : "", fate_step_name(note->step));
    if (note->reason != CLOSE_REASON_COUNT)
        buf_printf(out, "(%s)", close_reason_name((enum close_reason)note->reason));
}

/* The steps on both workers, as words. */
static void expect_steps(struct fixture *f, const char *id, const char *words)
{
    struct buf out = {0};
    world_run(&f->w);
    for (int i = 0; i < WORLD_WORKERS; i++)
        fates_each(f->w.worker[i].fates, fates_hash(&f->w.fates_key, slice_str(id)), add_word, &out);
    char *text = buf_steal(&out);
    assert_string_equal(text, words);
    free(text);
}

static void take_note(void *ctx, const struct fate_note *note)
{
    *(struct fate_note *)ctx = *note;
}

static struct fate_note last_note(struct fixture *f, const char *id)
{
    struct fate_note note = {0};
    fates_each(f->w.worker[0].fates, fates_hash(&f->w.fates_key, slice_str(id)), take_note, &note);
    return note;
}

static void test_a_message_to_the_server(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    expect_steps(f, "u1", "forwarded");
    struct fate_note note = last_note(f, "u1");
    assert_string_equal(note.sid, f->s->sid);
    assert_true(note.number == 2 && note.leg == f->s->client->number && note.class == CLASS_KEEP);
    assert_true(note.at == f->w.clock.wall);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    server_answer_pings(&f->server);
    expect_steps(f, "u1", "forwarded confirmed");
}

static void test_a_message_to_the_client(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    expect_steps(f, "d1", "queued written");
    ack(&f->c, f->c.h);
    expect_steps(f, "d1", "queued written acked");
    struct fate_note note = last_note(f, "d1");
    assert_true(note.number == f->s->out.acked && note.leg == f->s->client->number);
}

static void test_through_a_resumption(void **state)
{
    struct fixture *f = *state;
    uint32_t h = f->c.h;
    client_cut(&f->c);
    world_run(&f->w);
    down(f, 1);
    expect_steps(f, "d1", "queued");
    client_resume(&f->c, 1, "romeo", h);
    expect_steps(f, "d1", "queued written");
}

static void test_into_the_mailbox_and_out(void **state)
{
    struct fixture *f = *state;
    client_cut(&f->c);
    world_run(&f->w);
    down(f, 1);
    server_send(f->conn, "<iq type='get' from='juliet@example.org/x' id='q1'><query xmlns='jabber:iq:version'/></iq>");
    server_send(f->conn, "<message from='juliet@example.org/x' type='headline' id='n1'><body>x</body></message>");
    server_send(f->conn, "<presence from='juliet@example.org/x' id='p1'/>");
    expect_steps(f, "p1", "parked");
    world_wait(&f->w, f->w.settings.sm.max + USEC_S);
    expect_steps(f, "d1", "queued mailbox(expired)");
    expect_steps(f, "q1", "queued bounced(expired)");
    expect_steps(f, "n1", "queued discarded(expired)");
    expect_steps(f, "p1", "parked discarded");
    client_enter(&f->c, 0, "romeo");
    world_run(&f->w);
    ack(&f->c, f->c.h);
    expect_steps(f, "d1", "queued mailbox(expired) fetched written acked");
}

static void test_a_receipt_of_ours(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.synthesize = true;
    f->w.settings.receipts.to = RECEIPTS_TO_ANYONE;
    server_send(f->conn, "<message from='juliet@example.org/x' type='chat' id='r1'><body>?</body>"
                         "<request xmlns='urn:xmpp:receipts'/></message>");
    world_run(&f->w);
    ack(&f->c, f->c.h);
    world_wait(&f->w, f->w.settings.receipts.grace + USEC_S);
    expect_steps(f, "r1", "queued written acked receipt");
}

static void test_without_stream_management(void **state)
{
    struct fixture *f = *state;
    client_login(&f->other, 1, "mercutio");
    client_send(&f->other, CLIENT_BIND);
    world_run(&f->w);
    struct server_conn *conn = server_newest(&f->server);
    server_send(conn, "<message from='juliet@example.org/x' type='chat' id='w1'><body>1</body></message>");
    client_send(&f->other, "<message to='juliet@example.org' id='w2'><body>2</body></message>");
    expect_steps(f, "w1", "relayed");
    expect_steps(f, "w2", "forwarded");
}

static void test_when_the_server_is_away(void **state)
{
    struct fixture *f = *state;
    server_cut(f->conn);
    world_run(&f->w);
    up(f, 1);
    expect_steps(f, "u1", "received");
    world_wait(&f->w, 2 * USEC_S); /* the client is sent away, to come again */
    client_forget_wire(&f->c);
    client_resume(&f->c, 0, "romeo", f->c.h);
    world_wait(&f->w, 2 * USEC_S);
    expect_steps(f, "u1", "received repeated confirmed");
}

static void test_nothing_is_noted_when_it_is_off(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < WORLD_WORKERS; i++) {
        fates_free(f->w.worker[i].fates);
        f->w.worker[i].fates = NULL;
    }
    up(f, 1);
    down(f, 1);
    world_run(&f->w);
    expect_up(f, 1);
    expect_down(&f->c, 1);
    assert_int_equal(f->s->out.queue.last->id, 0);
}

static void test_what_has_no_id_is_not_noted(void **state)
{
    struct fixture *f = *state;
    client_send(&f->c, "<message to='juliet@example.org' id=''><body>1</body></message>");
    client_send(&f->c, "<message to='juliet@example.org'><body>1</body></message>");
    world_run(&f->w);
    assert_int_equal(f->s->unconfirmed.last->id, 0);
    expect_steps(f, "", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_oldest_is_forgotten),
        TEST(test_a_message_to_the_server),
        TEST(test_a_message_to_the_client),
        TEST(test_through_a_resumption),
        TEST(test_into_the_mailbox_and_out),
        TEST(test_a_receipt_of_ours),
        TEST(test_without_stream_management),
        TEST(test_when_the_server_is_away),
        TEST(test_nothing_is_noted_when_it_is_off),
        TEST(test_what_has_no_id_is_not_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
