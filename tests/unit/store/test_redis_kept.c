/* A session kept in Redis by one owner: its queues, its record, its high-water mark, its end. */
#include "redis_scene.h"

#define KEY(kind) "hf:{" TAG_R "}:" kind ":" REST

static void test_life(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 3);
    assert_int_equal(counted(&f->a, METRIC_store_uncommitted), 3);
    run(f);
    owner_add(&o, KEPT_UP, 2);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 3);
    assert_int_equal(o.committed[KEPT_UP], 2);
    assert_true(o.reserved >= 3 + KEPT_BLOCK / 2);
    assert_int_equal(o.records, 1);
    assert_int_equal(counted(&f->a, METRIC_store_uncommitted), 0);
    assert_int_equal(counted(&f->a, METRIC_store_commits_down), 3);
    assert_int_equal(counted(&f->a, METRIC_store_commits_up), 2);
    assert_int_equal(counted(&f->a, METRIC_store_sessions), 1);
    assert_in_range(counted(&f->a, METRIC_store_commit_time), 1, 5); /* not each stanza is measured */
    owner_release(&o, KEPT_DOWN, 2);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 1);
    owner_release(&o, KEPT_DOWN, 3);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 0);
    owner_end(&o, true); /* two uplink messages that may be lost */
    run(f);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s") " " KEY("d") " " KEY("u") " " KEY("j")), 0);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:out"), 2);
    assert_int_equal(server_number(&f->server, "ZCARD hf:exp:39"), 0); /* 0x67 */
    assert_int_equal(counted(&f->a, METRIC_store_sessions), 0);
    assert_int_equal(counted(&f->a, METRIC_outbox_kept), 2);
    owner_free(&o);
}

static void test_nothing_is_in_clear(void **state)
{
    struct scene *f = *state;
    struct owner o = {.record = "the record"};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    redisReply *all = server_ask(&f->server, "HGETALL " KEY("s"));
    for (size_t i = 0; i < all->elements; i++)
        assert_null(strstr(all->element[i]->str, "romeo"));
    freeReplyObject(all);
    redisReply *entries = server_ask(&f->server, "XRANGE " KEY("d") " - +");
    assert_int_equal(entries->elements, 1);
    redisReply *fields = entries->element[0]->element[1];
    assert_int_equal(fields->elements, 2); /* class and payload */
    assert_string_equal(fields->element[0]->str, "0");
    assert_null(memmem(fields->element[1]->str, (size_t)fields->element[1]->len, "down", 4));
    freeReplyObject(entries);
    redisReply *record = server_ask(&f->server, "GET " KEY("j"));
    assert_null(memmem(record->str, (size_t)record->len, "record", 6));
    freeReplyObject(record);
    owner_free(&o);
}

static void test_record_waits_unless_urgent(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    assert_int_equal(o.records, 1);
    f->a.s->kept->changed(o.k, false);
    run(f);
    assert_int_equal(o.records, 1);
    run_for(f, 4 * USEC_S);
    assert_int_equal(o.records, 2);
    f->a.s->kept->changed(o.k, false);
    f->a.s->kept->changed(o.k, true);
    run(f);
    assert_int_equal(o.records, 3);
    owner_free(&o);
}

/* An urgent record is in Redis ahead of any release of the same turn: if only one of them arrives, it is the record. */
static void test_urgent_record_goes_first(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_UP, 1);
    run(f);
    o.record = "with the room of <up/1>";
    f->a.s->kept->changed(o.k, true);
    owner_release(&o, KEPT_UP, 1);
    adapter_fault(f->a.r, FAULT_NOT_SENT, "XTRIM", 0);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 1);
    assert_int_equal(server_number(&f->server, "STRLEN " KEY("j")),
                     strlen("sealed for " TAG_R ":with the room of <up/1>"));
    owner_free(&o);
}

static void test_high_water_mark_moves_ahead(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    assert_int_equal(o.reserved, 0); /* nothing may be written before Redis knows */
    run(f);
    uint64_t first = o.reserved;
    assert_int_equal(first, KEPT_BLOCK);
    owner_add(&o, KEPT_DOWN, KEPT_BLOCK / 2);
    run(f);
    assert_int_equal(o.reserved, first);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    assert_true(o.reserved > first);
    assert_int_equal(server_number(&f->server, "HGET " KEY("s") " hw"), o.reserved);
    owner_free(&o);
}

static void test_released_before_it_was_written(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    owner_add(&o, KEPT_UP, 3);
    owner_release(&o, KEPT_UP, 2);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 3);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 1);
    owner_add(&o, KEPT_UP, 1);
    owner_release(&o, KEPT_UP, 4);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 4);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 0);
    struct seen seen = look(f, &f->a);
    struct owner next = {0};
    owner_claim(f, &next, &f->b, seen, 0);
    assert_int_equal(next.claim.last[KEPT_UP], 4); /* the number is known, though its bytes never were */
    owner_free(&o);
    owner_free(&next);
}

static void test_secret_stanza_is_never_written(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_UP, 1);
    struct entry *e = stanza("<password/>", CLASS_PRESENCE, NULL);
    e->secret = true;
    owner_add_entry(&o, KEPT_UP, e);
    owner_add(&o, KEPT_UP, 1);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 1); /* what is behind it waits, too */
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 1);
    owner_release(&o, KEPT_UP, 2);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 3);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 1);
    e = stanza("<password/>", CLASS_KEEP, NULL);
    e->secret = true;
    owner_add_entry(&o, KEPT_UP, e);
    owner_end(&o, true);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:out"), 1);
    owner_free(&o);
}

/* Another key: account, proof and record are written again. */
static void test_reseal(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    owner_open(&o, &f->a);
    run(f);
    freeReplyObject(server_ask(&f->server, "HSET " KEY("s") " ac old pr old"));
    freeReplyObject(server_ask(&f->server, "SET " KEY("j") " old KEEPTTL"));
    assert_false(look(f, &f->b).found);
    redis_store_reseal(f->a.rs);
    run(f);
    struct seen seen = look(f, &f->b);
    assert_string_equal(seen.account, ROMEO "/balcony");
    assert_string_equal(seen.proof, "proof");
    owner_claim(f, &next, &f->b, seen, 0);
    assert_string_equal(next.claimed_record, "record");
    owner_free(&o);
    owner_free(&next);
}

/* A session is let go with one that the server has not confirmed: its number was never told. */
static void test_secret_stanza_does_not_hold_up_a_release(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_UP, 1);
    struct entry *e = stanza("<password/>", CLASS_PRESENCE, NULL);
    e->secret = true;
    owner_add_entry(&o, KEPT_UP, e);
    owner_add(&o, KEPT_UP, 1);
    run(f);
    f->a.s->kept->release(o.k, on_let_go, &o);
    run(f);
    assert_int_equal(o.let_go, 1);
    struct seen seen = look(f, &f->b);
    assert_true(seen.released);
    owner_claim(f, &next, &f->b, seen, 0);
    assert_int_equal(next.claim.last[KEPT_UP], 1);
    owner_free(&o);
    owner_free(&next);
}

static void test_what_queues_hold_already_is_kept(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_add(&o, KEPT_DOWN, 5);
    entry_free(queue_take(&o.q[KEPT_DOWN], 1));
    owner_open(&o, &f->a);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 5);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 4);
    struct seen seen = look(f, &f->b);
    assert_true(seen.found);
    assert_false(seen.mine);
    assert_int_equal(seen.acked, 1);
    assert_string_equal(seen.node, "a");
    assert_string_equal(seen.boot, "boot1");
    assert_string_equal(seen.account, ROMEO "/balcony");
    assert_string_equal(seen.proof, "proof");
    assert_true(look(f, &f->a).mine);
    owner_free(&o);
}

/* More than one turn may write. */
static void test_many_stanzas_take_several_turns(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    owner_add(&o, KEPT_DOWN, 2500);
    f->a.s->turn(f->a.s);
    assert_true(o.committed[KEPT_DOWN] < 1500);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 2500);
    owner_release(&o, KEPT_DOWN, 2499);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 1);
    owner_free(&o);
}

/* The command was done, and its answer was lost: it is not taken for a fence, nor done twice. */
static void test_lost_answers(void **state)
{
    static const char *const command[] = {"open", "XADD", "XTRIM", "note", "record", "check"};
    struct scene *f = *state;
    for (size_t i = 0; i < sizeof command / sizeof *command; i++) {
        for (int lost = 0; lost < 2; lost++) {
            struct owner o = {0};
            char sid[SID_SIZE];
            snprintf(sid, sizeof sid, TAG_R "0123456789abcdef0123456%c", (char)('0' + 2 * i + (size_t)lost));
            enum fault fault = lost ? FAULT_ANSWER_LOST : FAULT_NOT_SENT;
            if (strcmp(command[i], "open") == 0)
                adapter_fault(f->a.r, fault, command[i], 0);
            owner_open_as(&o, &f->a, sid);
            owner_add(&o, KEPT_DOWN, 4);
            run(f);
            if (strcmp(command[i], "open") != 0)
                adapter_fault(f->a.r, fault, command[i], 0);
            if (strcmp(command[i], "check") == 0)
                adapter_back(f->a.r, false);
            owner_add(&o, KEPT_DOWN, 4);
            if (o.committed[KEPT_DOWN] >= 2)
                owner_release(&o, KEPT_DOWN, 2);
            f->a.s->kept->changed(o.k, true);
            f->a.s->kept->detached(o.k, MAX);
            run(f);
            uint64_t before = o.committed[KEPT_DOWN];
            assert_true(before <= 8);
            adapter_back(f->a.r, false);
            run(f);
            assert_int_equal(o.committed[KEPT_DOWN], 8);
            assert_int_equal(o.fenced, 0);
            if (o.q[KEPT_DOWN].first->number == 1)
                owner_release(&o, KEPT_DOWN, 2);
            run(f);
            char ask[128];
            snprintf(ask, sizeof ask, "XLEN hf:{" TAG_R "}:d:%s", sid + 24);
            assert_int_equal(server_number(&f->server, ask), 6);
            owner_free(&o);
        }
    }
}

/* One append is refused (Redis was full), those behind it are taken: nothing above the gap counts until it is closed.
 */
static void test_gap(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_UP, 2);
    run(f);
    adapter_fault(f->a.r, FAULT_REFUSED, "XADD", 1);
    owner_add(&o, KEPT_UP, 4); /* 3, 4 refused, 5, 6 */
    f->a.s->turn(f->a.s);
    assert_int_equal(o.committed[KEPT_UP], 3);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 5);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 3);
    run_for(f, 3 * USEC_S); /* it is tried again without being told */
    assert_int_equal(o.committed[KEPT_UP], 6);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 6);
    assert_int_equal(counted(&f->a, METRIC_store_resyncs_rewritten), 1);
    owner_release(&o, KEPT_UP, 2); /* in the epoch of what is left, not in the newest */
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 4);
    struct seen seen = look(f, &f->b);
    struct owner next = {0};
    owner_claim(f, &next, &f->b, seen, 0);
    assert_int_equal(next.claim.first[KEPT_UP]->number, 3);
    assert_int_equal(next.q[KEPT_UP].count, 4);
    owner_release(&next, KEPT_UP, 3); /* three epochs by now */
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 3);
    owner_release(&next, KEPT_UP, 5);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 1);
    owner_free(&o);
    owner_free(&next);
}

/* The last append alone is refused: no gap, it is only sent again. */
static void test_refused_at_the_end(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    adapter_fault(f->a.r, FAULT_REFUSED, "XADD", 1);
    owner_add(&o, KEPT_UP, 2);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 1);
    run_for(f, 3 * USEC_S);
    assert_int_equal(o.committed[KEPT_UP], 2);
    assert_int_equal(counted(&f->a, METRIC_store_resyncs_rewritten), 0);
    assert_int_equal(counted(&f->a, METRIC_store_resyncs_same), 1);
    owner_free(&o);
}

/* "Attached" counts when Redis has the newest word of it. */
static void test_attached_is_told(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    int before = o.attached;
    f->a.s->kept->detached(o.k, MAX);
    run(f);
    assert_int_equal(o.attached, before);
    f->a.s->kept->attached(o.k, MAX);
    assert_int_equal(o.attached, before);
    run(f);
    assert_int_equal(o.attached, before + 1);
    f->a.s->kept->attached(o.k, MAX);
    adapter_fault(f->a.r, FAULT_NOT_SENT, "note", 0);
    run(f);
    assert_int_equal(o.attached, before + 1);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(o.attached, before + 2);
    owner_free(&o);
}

/* A server that hung does what it was told behind what it has been told since. */
static void test_late_commands(void **state)
{
    static const char *const command[] = {"open", "note", "record", "XADD"};
    struct scene *f = *state;
    for (size_t i = 0; i < sizeof command / sizeof *command; i++) {
        struct owner o = {.record = "old"};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        if (i == 0)
            adapter_fault(f->a.r, FAULT_HELD, command[i], 0);
        owner_open(&o, &f->a);
        run(f);
        adapter_fault(f->a.r, i ? FAULT_HELD : FAULT_NONE, command[i], 0);
        owner_add(&o, KEPT_UP, 3);
        f->a.s->kept->changed(o.k, true);
        f->a.s->kept->detached(o.k, 0);
        run(f);
        adapter_back(f->a.r, false);
        o.record = "new";
        f->a.s->kept->changed(o.k, true);
        f->a.s->kept->attached(o.k, MAX);
        run(f);
        owner_add(&o, KEPT_UP, 2);
        run(f);
        adapter_let_go(f->a.r);
        owner_add(&o, KEPT_UP, 1);
        run(f);
        assert_int_equal(o.committed[KEPT_UP], 6);
        assert_int_equal(o.fenced, 0);
        assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 6);
        assert_int_equal(server_number(&f->server, "STRLEN " KEY("j")), strlen("sealed for " TAG_R ":new"));
        assert_true(server_number(&f->server, "HGET " KEY("s") " dl") > f->clock.wall / 1000 + MAX / 1000);
        owner_free(&o);
    }
}

static void test_deadline_of_attached_is_pushed(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    f->a.s->kept->attached(o.k, 60 * USEC_S);
    run(f);
    long long before = server_number(&f->server, "ZSCORE hf:exp:39 " SID);
    run_for(f, 70 * USEC_S);
    assert_true(server_number(&f->server, "ZSCORE hf:exp:39 " SID) >= before + 45000);
    f->a.s->kept->detached(o.k, 20 * USEC_S);
    run(f);
    assert_int_equal(server_number(&f->server, "EXISTS hf:n:a"), 1);
    long long after = server_number(&f->server, "ZSCORE hf:exp:39 " SID);
    assert_in_range(after - f->clock.wall / 1000, 20000, 30000);
    assert_true(server_number(&f->server, "ZSCORE hf:{" TAG_R "}:a " SID) > 1000);
    owner_free(&o);
}

static void test_release(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    adapter_listen(f->a.r, redis_store_channel(f->a.rs), f->b.r);
    adapter_listen(f->b.r, redis_store_channel(f->b.rs), f->a.r);
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    f->b.s->kept->ask_release(f->b.s, SID, "a");
    run(f);
    assert_int_equal(o.asked, 1);
    owner_add(&o, KEPT_DOWN, 1); /* not committed yet */
    f->a.s->kept->changed(o.k, false);
    f->a.s->kept->release(o.k, on_let_go, &o);
    assert_int_equal(o.let_go, 0);
    run(f);
    assert_int_equal(o.let_go, 1);
    assert_int_equal(o.committed[KEPT_DOWN], 2);
    assert_int_equal(o.records, 2);
    assert_string_equal(f->b.released, SID);
    struct seen seen = look(f, &f->b);
    assert_true(seen.released);
    owner_claim(f, &next, &f->b, seen, 0);
    assert_int_equal(next.q[KEPT_DOWN].count, 2);
    assert_false(look(f, &f->b).released);
    owner_free(&o);
    owner_free(&next);
}

/* Ends of sessions with more than fits into one call; each answer is lost once. */
static void test_end_in_parts(void **state)
{
    struct scene *f = *state;
    for (int lost = 0; lost < 2; lost++) {
        struct owner o = {0};
        owner_open(&o, &f->a);
        owner_add(&o, KEPT_DOWN, 250);
        owner_add(&o, KEPT_UP, 20);
        run(f);
        uint64_t epoch = look(f, &f->b).epoch;
        owner_end(&o, true);
        for (unsigned part = 0; lost && part < 3; part++) {
            adapter_fault(f->a.r, FAULT_ANSWER_LOST, "end", part ? 1 : 0); /* behind the one that is repeated */
            run_for(f, part ? 40 * USEC_S : USEC_S);
            assert_int_equal(redis_store_waiting(f->a.rs).operations, 1);
            adapter_back(f->a.r, false);
            run_for(f, 29 * USEC_S);
            assert_int_equal(redis_store_waiting(f->a.rs).operations, 1); /* not yet: Redis may be behind */
        }
        run_for(f, 40 * USEC_S);
        assert_int_equal(redis_store_waiting(f->a.rs).operations, 0);
        assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 250);
        assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:out"), 20);
        assert_int_equal(server_number(&f->server, "EXISTS " KEY("s") " " KEY("d") " " KEY("u") " " KEY("j")), 0);
        struct taken taken = take(f, &f->b, BOX_MAIL, SID);
        assert_int_equal(taken.n, 250);
        int number = 1;
        for (struct entry *e = taken.first; e; e = e->next) {
            char origin[SID_SIZE + 32];
            snprintf(origin, sizeof origin, SID "/%" PRIu64 "-%d", epoch, number++);
            assert_string_equal(e->origin, origin);
            assert_int_equal(e->arrived, 1234567);
            assert_int_equal(e->close_at, 4);
            assert_true(e->delayed);
            f->b.s->ops->box_done(f->b.s, BOX_MAIL, SLICE_LIT(ROMEO), slice_str(e->origin));
        }
        drop(&taken);
        taken = take(f, &f->b, BOX_OUT, SID);
        assert_int_equal(taken.n, 20);
        for (struct entry *e = taken.first; e; e = e->next)
            f->b.s->ops->box_done(f->b.s, BOX_OUT, SLICE_LIT(ROMEO), slice_str(e->origin));
        drop(&taken);
        run(f);
        freeReplyObject(server_ask(&f->server, "DEL hf:{" TAG_R "}:t:" REST));
        owner_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_in_clear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_waits_unless_urgent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_urgent_record_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_high_water_mark_moves_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_released_before_it_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secret_stanza_is_never_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reseal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secret_stanza_does_not_hold_up_a_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_queues_hold_already_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_stanzas_take_several_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attached_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_of_attached_is_pushed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_in_parts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
