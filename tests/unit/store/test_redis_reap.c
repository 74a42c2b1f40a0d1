/* Sessions whose node is gone: another one ends them, when their time is up. */
#include "redis_scene.h"

#define KEY(kind) "hf:{" TAG_R "}:" kind ":" REST

/* Until the store of node b has looked through the lists of deadlines once more. */
#define A_LOOK (16 * USEC_S)

static void test_dead_owner(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    char origin[128];
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 4);
    owner_add_entry(&o, KEPT_DOWN, stanza("<presence/>", CLASS_PRESENCE, NULL));
    owner_add_entry(&o, KEPT_DOWN, stanza("<iq/>", CLASS_IQ_REQUEST, NULL));
    owner_add(&o, KEPT_UP, 2);
    owner_add_entry(&o, KEPT_UP, stanza("<iq/>", CLASS_IQ_REPLY, NULL));
    run(f);
    owner_release(&o, KEPT_DOWN, 1);
    run(f);
    uint64_t epoch = look(f, &f->b).epoch;
    place_stop(&f->a);
    o.k = NULL;
    run_for(f, MAX + A_LOOK); /* by the clock of Redis no time has passed */
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s")), 1);
    expire(f, SID);
    run_for(f, A_LOOK);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s") " " KEY("d") " " KEY("u") " " KEY("j")), 0);
    assert_int_equal(server_number(&f->server, "ZCARD hf:exp:39"), 0);
    assert_int_equal(counted(&f->b, METRIC_store_reaped), 1);
    assert_int_equal(counted(&f->b, METRIC_mailbox_kept), 3);
    assert_int_equal(counted(&f->b, METRIC_down_mailbox), 3);
    assert_int_equal(counted(&f->b, METRIC_outbox_kept), 2);
    assert_int_equal(counted(&f->b, METRIC_down_discarded_presence), 1);
    assert_int_equal(counted(&f->b, METRIC_down_discarded_iq), 1);
    assert_int_equal(counted(&f->b, METRIC_store_reaped_up_discarded), 1);
    struct taken t = take(f, &f->b, BOX_MAIL, SID);
    assert_int_equal(t.n, 3);
    snprintf(origin, sizeof origin, SID "/%" PRIu64 "-2", epoch);
    assert_string_equal(t.first->origin, origin);
    assert_memory_equal(t.first->bytes, "<down/2>", 8);
    drop(&t);
    t = take(f, &f->b, BOX_OUT, SID);
    assert_int_equal(t.n, 2);
    snprintf(origin, sizeof origin, SID "/up/%" PRIu64 "-1", epoch);
    assert_string_equal(t.first->origin, origin);
    drop(&t);
    assert_false(look(f, &f->b).found);
    owner_claim(f, &o, &f->b, (struct seen){.epoch = 1}, 0);
    assert_true(o.claimed_none);
    owner_free(&o);
}

static void on_tombstone(void *ctx, const struct tombstone *t)
{
    struct tombstone *found = ctx;
    assert_non_null(t);
    found->h = t->h;
    assert_string_equal(t->account, ROMEO "/balcony");
    assert_string_equal(t->proof, "proof");
    assert_string_equal(t->reason, "expired");
}

static void test_tombstone_tells_what_was_safe(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_UP, 7);
    run(f);
    owner_release(&o, KEPT_UP, 7);
    run(f);
    place_stop(&f->a);
    o.k = NULL;
    expire(f, SID);
    run_for(f, MAX + A_LOOK);
    struct tombstone found = {0};
    f->b.s->ops->tombstone_get(f->b.s, SID, ROMEO, NULL, on_tombstone, &found);
    run(f);
    assert_int_equal(found.h, 7);
    owner_free(&o);
}

static void test_many_parts(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 450);
    owner_add(&o, KEPT_UP, 230);
    run(f);
    place_stop(&f->a);
    o.k = NULL;
    expire(f, SID);
    adapter_fault(f->b.r, FAULT_ANSWER_LOST, "reap", 1); /* and breaks in the middle */
    run_for(f, MAX + A_LOOK);
    adapter_back(f->b.r, false);
    assert_int_equal(counted(&f->b, METRIC_store_reaped), 0);
    expire(f, SID);
    run_for(f, MAX - USEC_S); /* nothing is reaped for so long after an outage */
    assert_int_equal(counted(&f->b, METRIC_store_reaped), 0);
    run_for(f, A_LOOK + USEC_S);
    assert_int_equal(counted(&f->b, METRIC_store_reaped), 1);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 450);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:out"), 230);
    owner_free(&o);
}

/* Its owner was only asleep: what was moved is moved once, and what it alone has is not lost. */
static void test_owner_wakes_up(void **state)
{
    struct scene *f = *state;
    for (int ends = 0; ends < 2; ends++) {
        struct owner o = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        owner_open(&o, &f->a);
        owner_add(&o, KEPT_DOWN, 3);
        run(f);
        struct place asleep = f->a;
        f->a.rs = NULL;
        expire(f, SID);
        for (int i = 0; i < 700 && counted(&f->b, METRIC_store_reaped) == ends; i++)
            run_for(f, USEC_S);
        f->a = asleep;
        assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 3);
        owner_add(&o, KEPT_DOWN, 2);
        if (ends)
            owner_end(&o, false);
        run(f);
        run_for(f, 40 * USEC_S);
        if (ends) {
            assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 5);
        } else {
            assert_int_equal(o.fenced, 1);
            assert_int_equal(o.fenced_upto, 3);
            assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 3);
        }
        owner_free(&o);
    }
}

/* On the list it looks due; the hash knows better. */
static void test_list_is_only_a_hint(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    place_stop(&f->a);
    o.k = NULL;
    freeReplyObject(server_ask(&f->server, "ZADD hf:exp:39 1 " SID));
    freeReplyObject(server_ask(&f->server, "ZADD hf:exp:39 1 " TAG_R "aaaaaaaaaaaaaaaaaaaaaa67")); /* unknown */
    freeReplyObject(server_ask(&f->server, "ZADD hf:exp:39 1 nonsense")); /* none of ours: stays */
    run_for(f, MAX + A_LOOK);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s")), 1);
    assert_true(server_number(&f->server, "ZSCORE hf:exp:39 " SID) > 1);
    assert_int_equal(server_number(&f->server, "ZCARD hf:exp:39"), 2);
    owner_free(&o);
}

/* Messages of boxes that the dead session had: in its queue, or on the way to it. */
static void test_lent_messages(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    put(f, &f->a, BOX_MAIL, "<one/>", "x/1");
    put(f, &f->a, BOX_MAIL, "<two/>", "x/2");
    struct taken t = take(f, &f->a, BOX_MAIL, SID);
    struct entry *two = t.first->next;
    owner_add_entry(&o, KEPT_DOWN, t.first);
    entry_free(two);
    run(f);
    place_stop(&f->a);
    o.k = NULL;
    t = take(f, &f->b, BOX_MAIL, SID);
    assert_int_equal(t.n, 0);
    expire(f, SID);
    run_for(f, MAX + A_LOOK);
    assert_int_equal(counted(&f->b, METRIC_mailbox_kept), 0); /* they were there all the time */
    t = take(f, &f->b, BOX_MAIL, SID);
    assert_int_equal(t.n, 2);
    drop(&t);
    owner_free(&o);
}

static void test_nothing_is_reaped_behind_an_outage(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    run(f);
    place_stop(&f->a);
    o.k = NULL;
    run_for(f, MAX + A_LOOK);
    adapter_away(f->b.r);
    expire(f, SID);
    adapter_back(f->b.r, false);
    run_for(f, MAX - USEC_S);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s")), 1);
    run_for(f, A_LOOK + USEC_S);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s")), 0);
    owner_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dead_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tombstone_tells_what_was_safe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_owner_wakes_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_is_only_a_hint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lent_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_reaped_behind_an_outage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
